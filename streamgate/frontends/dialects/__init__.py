"""The dialects of other speech services, each in its own package or module.

A dialect over WebSocket is a `Dialect` that decides at the handshake, and a `Voice` for each
connection that translates. What all of them need around the streams is the `Line`'s.
"""
