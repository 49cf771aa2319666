"""Tokens of what a client may come back to: who holds one gets the session or stream that it names.

A token is base64url of a claim, when it expires, and their HMAC-SHA256, so that it fits into a URL,
a header and gRPC metadata. To clients it is opaque. Who signs says what for: a token for one
purpose is forged to every other.
"""

import base64
import binascii
import enum
import hashlib
import hmac
import re
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from streamgate.errors import ConfigError

SECRET_BYTES: Final = 32
SECRET_BYTES_MIN: Final = 16
"""What can't be tried out. Shorter secrets are refused."""

SESSION_BYTES: Final = 16
OWNER: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,31})?")
"""The names that a process may have: one is the name of a file, too."""

TOKEN_CHARS_MAX: Final = 200
"""A longer one is none of ours: it is not even looked at."""

_HEAD: Final = struct.Struct(f">Q{SESSION_BYTES}s")
_NEVER: Final = 2**64 - 1
_SEAL_BYTES: Final = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token says: which session, and of which process; "" where that does not matter."""

    session: bytes
    owner: str = ""

    def __post_init__(self) -> None:
        if OWNER.fullmatch(self.owner) is None or len(self.session) != SESSION_BYTES:
            raise ValueError(f"no token can name {self}")


class TokenFault(enum.Enum):
    """Why a token is refused. Who forged one is not told more than that."""

    FORGED = "forged"
    EXPIRED = "expired"


class TokenError(Exception):
    """A token that is not accepted."""

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(f"the token is {fault.value}")
        self.fault = fault


@final
class TokenSigner:
    """Signs and verifies with one secret. Servers that share the secret accept each other's."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970. Raises ConfigError for a secret that is too short."""
        if len(secret) < SECRET_BYTES_MIN:
            raise ConfigError(
                f"a secret for tokens has {len(secret)} bytes, expected at least {SECRET_BYTES_MIN}"
            )
        self._secret = secret
        self._clock = clock

    @classmethod
    def random(cls) -> "TokenSigner":
        """Its tokens are good in this process only, and not after it."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    def sign(self, purpose: str, claim: Claim, seconds: float | None = None) -> str:
        """A token of the claim that is good for so many seconds, in whole milliseconds; None: for
        as long as there is what it names."""
        expires_ms = _NEVER
        if seconds is not None:
            expires_ms = max(0, int((self._clock() + seconds) * 1e3))
        text = _HEAD.pack(expires_ms, claim.session) + claim.owner.encode()
        return _encoded(text + self._seal(purpose, text))

    def verify(self, purpose: str, token: str) -> Claim:
        """The claim. Raises TokenError for what this secret did not sign for this purpose, or
        signed too long ago."""
        sealed = _decoded(token)
        text, seal = sealed[:-_SEAL_BYTES], sealed[-_SEAL_BYTES:]
        if not hmac.compare_digest(self._seal(purpose, text), seal):
            raise TokenError(TokenFault.FORGED)
        expires_ms, session = _HEAD.unpack_from(text)
        if expires_ms <= self._clock() * 1e3:
            raise TokenError(TokenFault.EXPIRED)
        return Claim(session, text[_HEAD.size :].decode())

    def _seal(self, purpose: str, text: bytes) -> bytes:
        # The length keeps purpose and text apart: ("ab", "c") is not ("a", "bc").
        name = purpose.encode()
        return hmac.digest(self._secret, len(name).to_bytes(4, "big") + name + text, "sha256")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decoded(token: str) -> bytes:
    if len(token) > TOKEN_CHARS_MAX:
        raise TokenError(TokenFault.FORGED)
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenError(TokenFault.FORGED) from None
    # One text for each token: what decodes to the same bytes by another spelling is none.
    if _encoded(data) != token:
        raise TokenError(TokenFault.FORGED)
    return data
