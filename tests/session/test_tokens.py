"""Tokens: what was signed comes back, and nothing else does."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.errors import ConfigError
from streamgate.session.tokens import TOKEN_CHARS_MAX, TokenError, TokenFault, TokenSigner

SECRET = b"0123456789abcdef"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def fault(signer: TokenSigner, token: str, purpose: str = "ws") -> TokenFault:
    with pytest.raises(TokenError) as caught:
        signer.verify(purpose, token)
    return caught.value.fault


@given(subject=st.text(max_size=200), purpose=st.text(max_size=20))
def test_what_was_signed_comes_back(subject: str, purpose: str) -> None:
    signer = TokenSigner(SECRET)
    token = signer.sign(purpose, subject, 60)
    assert signer.verify(purpose, token) == subject
    assert token.isascii()
    assert not set(token) & set("+/= &?#%,;")


def test_it_expires() -> None:
    clock = Clock()
    signer = TokenSigner(SECRET, clock)
    token = signer.sign("ws", "7", 30)
    clock.now += 29.9
    assert signer.verify("ws", token) == "7"
    clock.now += 0.2
    assert fault(signer, token) is TokenFault.EXPIRED


def test_each_changed_character_is_seen() -> None:
    signer = TokenSigner(SECRET)
    token = signer.sign("ws", "session-7", 60)
    for place, character in enumerate(token):
        for other in "AB_.":
            if other != character:
                changed = token[:place] + other + token[place + 1 :]
                assert fault(signer, changed) is TokenFault.FORGED


@pytest.mark.parametrize("purpose", ["grpc", "", "ws "])
def test_another_purpose_is_forged(purpose: str) -> None:
    signer = TokenSigner(SECRET)
    assert fault(signer, signer.sign("ws", "7", 60), purpose) is TokenFault.FORGED


def test_a_purpose_can_not_lend_its_end_to_the_text() -> None:
    """The signature of purpose and text is not that of both shifted against each other."""
    signer = TokenSigner(SECRET, Clock())
    one, other = signer.sign("ab", "c", 60), signer.sign("a", "c", 60)
    assert one.partition(".")[0] == other.partition(".")[0]
    assert one != other


def test_another_secret_is_forged() -> None:
    token = TokenSigner.random().sign("ws", "7", 60)
    assert fault(TokenSigner.random(), token) is TokenFault.FORGED


@pytest.mark.parametrize(
    "token", ["", ".", "a", "a.b", "é.é", "....", "A" * (TOKEN_CHARS_MAX + 1), "AAAA.AAAA", "a=.b="]
)
def test_nonsense_is_forged(token: str) -> None:
    assert fault(TokenSigner(SECRET), token) is TokenFault.FORGED


def test_servers_that_share_a_file_accept_each_others(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"  a secret of some length\n")
    token = TokenSigner.from_file(path).sign("grpc", "7", 60)
    assert TokenSigner(b"a secret of some length").verify("grpc", token) == "7"


def test_a_secret_must_be_there_and_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(ConfigError, match=r"secret: the secret for tokens can't be read"):
        TokenSigner.from_file(path)
    path.write_bytes(b"short\n")
    with pytest.raises(ConfigError, match=r"secret: .* has 5 bytes, expected 16 or more"):
        TokenSigner.from_file(path)
