"""Where clients put the API key that says whose they are."""

from collections.abc import Iterable
from typing import Final

API_KEY: Final = "x-api-key"


def bearer(authorization: str, scheme: str = "Bearer") -> str:
    """The key in an `Authorization` header of this scheme; "" when it is of another one."""
    word, _, key = authorization.partition(" ")
    return key.strip() if word.lower() == scheme.lower() else ""


def key_of(authorization: str | None, api_key: str | None) -> str:
    """The key in `Authorization: Bearer KEY`, else the one in `X-Api-Key: KEY`, else ""."""
    return (bearer(authorization) if authorization else "") or api_key or ""


def key_in(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The same, in the metadata of a gRPC call, whose names are in lower case."""
    authorization = api_key = ""
    for name, value in metadata:
        if isinstance(value, str):
            if name == "authorization":
                authorization = value
            elif name == API_KEY:
                api_key = value
    return key_of(authorization, api_key)
