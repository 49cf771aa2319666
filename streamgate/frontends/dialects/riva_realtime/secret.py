"""Client secrets: what a session's `POST` gives, and its WebSocket brings.

They are signed, not kept: there is nothing to bound or to forget. Each process has a key of its
own.
"""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Final

SECRET_SECONDS: Final = 600
"""How long a client may take from the one to the other."""

_KEY: Final = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """`expires_at` is in seconds since 1970."""

    value: str
    expires_at: int


def new_secret() -> ClientSecret:
    """Letters, digits, points and underscores: it must fit into a subprotocol's name."""
    expires_at = int(time.time()) + SECRET_SECONDS
    text = f"{expires_at}.{secrets.token_hex(8)}"
    return ClientSecret(f"{text}.{_signature(text)}", expires_at)


def is_good(value: str) -> bool:
    """Whether it is one of ours, and not too old."""
    if not value.isascii():
        return False
    text, _, signature = value.rpartition(".")
    if not hmac.compare_digest(_signature(text).encode(), signature.encode()):
        return False
    return int(text.partition(".")[0]) > time.time()


def _signature(text: str) -> str:
    return hmac.new(_KEY, text.encode(), hashlib.sha256).hexdigest()
