"""The handshake of dialects that have no refusal and no key of their own: plain HTTP."""

from streamgate.errors import Code, Failure
from streamgate.frontends.sockets.contract import Handshake, Refusal
from streamgate.frontends.speech import Access, bearer

_STATUSES = {Code.INVALID_ARG: 400, Code.NOT_FOUND: 404, Code.UNAVAILABLE: 503}


RETRY_SECONDS = 1
"""When a client that found no slot may come again. Nobody knows when one will be free."""


def retry_headers(status: int) -> dict[str, str]:
    """The hint when to come again, for a server that is full."""
    return {"Retry-After": str(RETRY_SECONDS)} if status in (429, 503) else {}


def refusal_of(failure: Failure) -> Refusal:
    status = _STATUSES.get(failure.code, 500)
    return Refusal(status, f"{failure.message}\n", headers=retry_headers(status))


def brought_key(handshake: Handshake) -> str:
    """The key in `Authorization: Bearer KEY` or `?api_key=KEY`; "" for none."""
    return bearer(handshake.headers.get("authorization", "")) or handshake.value("api_key")


def unauthorized(access: Access, handshake: Handshake) -> Refusal | None:
    """The refusal of a wrong key."""
    if access.allows(brought_key(handshake)):
        return None
    expected = "expected 'Authorization: Bearer KEY' or '?api_key=KEY'"
    return Refusal(401, f"no API key, or a wrong one; {expected}\n", headers=_CHALLENGE)


_CHALLENGE = {"WWW-Authenticate": "Bearer"}
