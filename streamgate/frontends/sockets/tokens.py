"""Tokens of sessions: who holds one may resume the session that it names, and nobody can make one.

A token is base64url of a claim and its HMAC-SHA256. To clients it is opaque.
"""

import base64
import binascii
import hashlib
import hmac
import re
import struct
from dataclasses import dataclass
from typing import Final, final

from streamgate.errors import Code, StreamGateError

SECRET_BYTES_MIN: Final = 16
SESSION_BYTES: Final = 16
OWNER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
"""The names that a process may have: one is the name of a file, too."""

_VERSION: Final = 1
_HEAD: Final = struct.Struct(f"<B{SESSION_BYTES}sQI")
_SEAL_BYTES: Final = hashlib.sha256().digest_size
_TOKEN_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token says: which session of which process it opens, since when (Unix seconds), and
    for how many seconds from the loss of its connection on."""

    owner: str
    session: bytes
    issued_at: int
    seconds: int


@final
class Tokens:
    """Seals claims, and reads them from tokens that it or another holder of the secret sealed."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SECRET_BYTES_MIN:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"the secret of resume tokens has {len(secret)} bytes, expected at least "
                f"{SECRET_BYTES_MIN}",
            )
        self._secret = secret

    def issue(self, claim: Claim) -> str:
        """The token of a claim."""
        if OWNER.fullmatch(claim.owner) is None or len(claim.session) != SESSION_BYTES:
            raise ValueError(f"no token can name {claim}")
        head = _HEAD.pack(_VERSION, claim.session, claim.issued_at, claim.seconds)
        body = head + claim.owner.encode()
        return base64.urlsafe_b64encode(body + self._seal(body)).rstrip(b"=").decode()

    def read(self, token: str) -> Claim:
        """What a token says. Raises StreamGateError (INVALID_ARG), always with the same words, for
        what was not sealed with this secret."""
        sealed = _decoded(token)
        body, seal = sealed[:-_SEAL_BYTES], sealed[-_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(body)) or body[:1] != bytes([_VERSION]):
            raise StreamGateError(
                Code.INVALID_ARG, "the resume token is not valid, expected one that was given here"
            )
        _, session, issued_at, seconds = _HEAD.unpack_from(body)
        return Claim(body[_HEAD.size :].decode(), session, issued_at, seconds)

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")


def _decoded(token: str) -> bytes:
    """The bytes of a token; none for what is no base64url."""
    if len(token) > _TOKEN_CHARS_MAX:
        return b""
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
