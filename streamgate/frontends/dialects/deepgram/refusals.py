"""Deepgram's refusals at the handshake: a JSON body, and the request's ID in a header."""

from streamgate.errors import Code, Failure
from streamgate.frontends.dialects.plain import retry_headers
from streamgate.frontends.sockets.contract import Handshake, Refusal
from streamgate.frontends.speech import bearer

HEADER_MAX = 500

_STATUSES = {
    Code.INVALID_ARG: (400, "INVALID_QUERY_PARAMETER"),
    Code.UNSUPPORTED: (400, "INVALID_QUERY_PARAMETER"),
    Code.NOT_FOUND: (400, "INVALID_QUERY_PARAMETER"),
    Code.UNAVAILABLE: (429, "TOO_MANY_REQUESTS"),
}


def refusal_of(failure: Failure, request_id: str) -> Refusal:
    """429 for a server that is full, 400 for a request that can't be served."""
    status, code = _STATUSES.get(failure.code, (500, "INTERNAL_SERVER_ERROR"))
    return _refusal(status, code, failure.message, request_id)


def unauthorized(request_id: str) -> Refusal:
    return _refusal(401, "INVALID_AUTH", "Invalid credentials.", request_id)


def _refusal(status: int, code: str, message: str, request_id: str) -> Refusal:
    body = {"err_code": code, "err_msg": message, "request_id": request_id}
    headers = {"dg_request_id": request_id, "dg_error": _one_line(message)}
    return Refusal.of_json(status, body, **headers, **retry_headers(status))


def _one_line(text: str) -> str:
    """As a header's value: printable ASCII, and not too long for one."""
    shown = (each if each.isascii() and each.isprintable() else "?" for each in text[:HEADER_MAX])
    return "".join(shown)


def brought_key(handshake: Handshake) -> str:
    """The key in `Authorization: Token KEY` or `Bearer KEY`, or, from browsers, in the subprotocols
    `token, KEY` or `bearer, KEY`; "" for none."""
    authorization = handshake.headers.get("authorization", "")
    offered = handshake.subprotocols
    in_protocol = len(offered) == 2 and offered[0].lower() in ("token", "bearer")
    if not authorization and in_protocol:
        return offered[1]
    return bearer(authorization, "Token") or bearer(authorization)


def subprotocol(handshake: Handshake) -> str | None:
    """A browser wants one of those that it offered; never the key."""
    return handshake.subprotocols[0] if handshake.subprotocols else None
