"""Tokens: what was claimed comes back, and nothing else does."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.errors import ConfigError
from streamgate.session.tokens import (
    OWNER,
    SESSION_BYTES,
    TOKEN_CHARS_MAX,
    Claim,
    TokenError,
    TokenFault,
    TokenSigner,
)

SECRET = b"0123456789abcdef"
CLAIM = Claim(bytes(range(SESSION_BYTES)), "front-0")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def fault(signer: TokenSigner, token: str, purpose: str = "ws") -> TokenFault:
    with pytest.raises(TokenError) as caught:
        signer.verify(purpose, token)
    return caught.value.fault


def seal_of(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[-32:]


@given(
    session=st.binary(min_size=SESSION_BYTES, max_size=SESSION_BYTES),
    owner=st.from_regex(OWNER, fullmatch=True),
    purpose=st.text(max_size=20),
    seconds=st.none() | st.floats(1, 1e9),
)
def test_what_was_claimed_comes_back(
    session: bytes, owner: str, purpose: str, seconds: float | None
) -> None:
    claim = Claim(session, owner)
    token = TokenSigner(SECRET).sign(purpose, claim, seconds)
    assert TokenSigner(SECRET).verify(purpose, token) == claim
    assert token.isascii()
    assert not set(token) & set("+/= &?#%,;")
    assert len(token) <= TOKEN_CHARS_MAX


def test_it_expires() -> None:
    clock = Clock()
    signer = TokenSigner(SECRET, clock)
    token = signer.sign("ws", CLAIM, 30)
    clock.now += 29.9
    assert signer.verify("ws", token) == CLAIM
    clock.now += 0.2
    assert fault(signer, token) is TokenFault.EXPIRED


def test_it_lasts_as_long_as_its_session_if_it_is_not_said_how_long() -> None:
    clock = Clock()
    signer = TokenSigner(SECRET, clock)
    token = signer.sign("ws", CLAIM)
    clock.now += 1e10
    assert signer.verify("ws", token) == CLAIM


def test_each_changed_character_is_seen() -> None:
    signer = TokenSigner(SECRET)
    token = signer.sign("ws", CLAIM, 60)
    for place, character in enumerate(token):
        for other in "AB_.":
            if other != character:
                changed = token[:place] + other + token[place + 1 :]
                assert fault(signer, changed) is TokenFault.FORGED


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_each_changed_bit_is_seen(place: int, bit: int) -> None:
    signer = TokenSigner(SECRET)
    text = signer.sign("ws", CLAIM)
    sealed = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    sealed[place % len(sealed)] ^= 1 << bit
    changed = base64.urlsafe_b64encode(bytes(sealed)).decode().rstrip("=")
    assert fault(signer, changed) is TokenFault.FORGED


@pytest.mark.parametrize("purpose", ["grpc", "", "ws "])
def test_another_purpose_is_forged(purpose: str) -> None:
    signer = TokenSigner(SECRET)
    assert fault(signer, signer.sign("ws", CLAIM, 60), purpose) is TokenFault.FORGED


def test_a_purpose_can_not_lend_its_end_to_the_text() -> None:
    """Purpose and text are the same bytes behind each other here, and the signatures are not."""
    signer = TokenSigner(SECRET, Clock())
    one = signer.sign("a\0", Claim(bytes(SESSION_BYTES - 1) + b"x"), -2_000)
    other = signer.sign("a", Claim(bytes(SESSION_BYTES), "x"), -2_000)
    assert seal_of(one) != seal_of(other)


def test_another_secret_is_forged() -> None:
    token = TokenSigner.random().sign("ws", CLAIM, 60)
    assert fault(TokenSigner.random(), token) is TokenFault.FORGED


@pytest.mark.parametrize(
    "token",
    [
        *("", ".", "a", "on", "a.b", "é.é", "....", "????", "AAAA.AAAA", "a=", "A" * 4),
        *("A" * 120, "A" * (TOKEN_CHARS_MAX + 1)),
    ],
)
def test_nonsense_is_forged(token: str) -> None:
    assert fault(TokenSigner(SECRET), token) is TokenFault.FORGED


def test_another_spelling_of_a_token_is_forged() -> None:
    """Bits behind the last byte are zeros, and there are no fillers."""
    signer = TokenSigner(SECRET)
    token = signer.sign("ws", Claim(bytes(SESSION_BYTES)))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = token[:-1] + letters[letters.index(token[-1]) + 1]
    fill = "=" * (-len(token) % 4)
    assert base64.urlsafe_b64decode(other + fill) == base64.urlsafe_b64decode(token + fill)
    assert fault(signer, other) is TokenFault.FORGED
    assert fault(signer, token + fill) is TokenFault.FORGED


def test_a_secret_that_is_too_short_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 15 bytes, expected at least 16"):
        TokenSigner(b"s" * 15)


@pytest.mark.parametrize("owner", ["../x", "a/b", "A", "x" * 33])
def test_an_owner_must_be_the_name_of_a_file(owner: str) -> None:
    with pytest.raises(ValueError, match="no token can name"):
        Claim(bytes(SESSION_BYTES), owner)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_session_has_its_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="no token can name"):
        Claim(bytes(size), "front-0")
