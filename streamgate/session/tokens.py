"""Tokens that a client brings to come back to what it has lost: signed, and good for a while.

A token is `text.signature`, both base64url without padding, so that it fits into a URL, a header
and gRPC metadata. The text is the time it expires at and a subject, which the client can read but
not change. Who signs says what for: a token for one purpose is forged to every other.
"""

import base64
import binascii
import enum
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

from streamgate.errors import Code, ConfigError

SECRET_BYTES_MIN: Final = 16
"""What can't be tried out. Shorter secrets are refused."""

TOKEN_CHARS_MAX: Final = 1024
"""A longer one is none of ours: it is not even looked at."""

_EXPIRY_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 16


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
                f"a secret for tokens has {len(secret)} bytes, expected {SECRET_BYTES_MIN} or more"
            )
        self._secret = secret
        self._clock = clock

    @classmethod
    def random(cls) -> "TokenSigner":
        """Its tokens are good in this process only, and not after it."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def from_file(cls, path: Path) -> "TokenSigner":
        """The secret is the file's content without the white space around it. Raises ConfigError
        for a file that can't be read or is too short."""
        try:
            secret = path.read_bytes().strip()
        except OSError as error:
            raise ConfigError(
                f"{path}: the secret for tokens can't be read: {error.strerror or error}",
                Code.UNAVAILABLE,
            ) from None
        try:
            return cls(secret)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error.message}") from None

    def sign(self, purpose: str, subject: str, seconds: float) -> str:
        """A token for the subject that is good for so many seconds, in whole milliseconds."""
        expires_ms = max(0, int((self._clock() + seconds) * 1e3))
        text = expires_ms.to_bytes(_EXPIRY_BYTES, "big") + subject.encode()
        return f"{_encoded(text)}.{_encoded(self._signature(purpose, text))}"

    def verify(self, purpose: str, token: str) -> str:
        """The subject. Raises TokenError for what this secret did not sign for this purpose, or
        signed too long ago."""
        text, signature = _parts(token)
        if not hmac.compare_digest(self._signature(purpose, text), signature):
            raise TokenError(TokenFault.FORGED)
        if int.from_bytes(text[:_EXPIRY_BYTES], "big") <= self._clock() * 1e3:
            raise TokenError(TokenFault.EXPIRED)
        return text[_EXPIRY_BYTES:].decode()

    def _signature(self, purpose: str, text: bytes) -> bytes:
        # The length keeps purpose and text apart: ("ab", "c") is not ("a", "bc").
        name = purpose.encode()
        message = len(name).to_bytes(4, "big") + name + text
        return hmac.new(self._secret, message, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


def _parts(token: str) -> tuple[bytes, bytes]:
    if len(token) > TOKEN_CHARS_MAX or not token.isascii():
        raise TokenError(TokenFault.FORGED)
    text, _, signature = token.partition(".")
    return _decoded(text), _decoded(signature)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenError(TokenFault.FORGED) from None
    # One text for each token: what decodes to the same bytes by another spelling is none.
    if _encoded(data) != text:
        raise TokenError(TokenFault.FORGED)
    return data
