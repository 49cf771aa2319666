"""StreamGate's own WebSocket dialect: one sequence on any model for each connection.

`docs/websocket.md` is its description for client authors.
"""

from streamgate.frontends.websocket.server import WebSocketFrontEnd, WebSocketLimits

__all__ = ["WebSocketFrontEnd", "WebSocketLimits"]
