"""A client's key and subprotocol at the handshake."""

from streamgate.frontends.dialects.openai.names import KEY_PROTOCOL, PROTOCOL
from streamgate.frontends.sockets.contract import Handshake
from streamgate.frontends.speech import bearer


def api_key(handshake: Handshake) -> str:
    """From `Authorization: Bearer` or, as browsers do, from a subprotocol; "" for none."""
    key = bearer(handshake.headers.get("authorization", ""))
    offered = (
        each[len(KEY_PROTOCOL) :]
        for each in handshake.subprotocols
        if each.startswith(KEY_PROTOCOL)
    )
    return key or next(offered, "")


def subprotocol(handshake: Handshake) -> str | None:
    """The one that is answered."""
    return PROTOCOL if PROTOCOL in handshake.subprotocols else None
