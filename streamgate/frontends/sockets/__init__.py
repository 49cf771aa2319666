"""WebSocket connections, whatever is spoken over them and whatever library carries them.

A `Dialect` decides at the handshake and gives a `Conversation` for each connection; a
`SocketConnection` reads, writes and watches for it. They are mounted on a port of their own
(`WebSocketServer`) or on the HTTP front end's.
"""
