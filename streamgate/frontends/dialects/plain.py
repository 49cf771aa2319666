"""The handshake of dialects that have no refusal and no key of their own: plain HTTP."""

from streamgate.errors import Code, Failure
from streamgate.frontends.sockets.contract import Handshake, Refusal
from streamgate.frontends.speech import Access, bearer

_STATUSES = {Code.INVALID_ARG: 400, Code.NOT_FOUND: 404, Code.UNAVAILABLE: 503}


def refusal_of(failure: Failure) -> Refusal:
    return Refusal(_STATUSES.get(failure.code, 500), f"{failure.message}\n")


def unauthorized(access: Access, handshake: Handshake) -> Refusal | None:
    """The refusal of a wrong key, in `Authorization: Bearer KEY` or `?api_key=KEY`."""
    key = bearer(handshake.headers.get("authorization", "")) or handshake.value("api_key")
    if access.allows(key):
        return None
    expected = "expected 'Authorization: Bearer KEY' or '?api_key=KEY'"
    return Refusal(401, f"no API key, or a wrong one; {expected}\n", headers=_CHALLENGE)


_CHALLENGE = {"WWW-Authenticate": "Bearer"}
