"""The WebSocket front end: all dialects that have a path, on one port."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from streamgate.frontends.sockets.connection import ConnectionLimits, SocketConnection
from streamgate.frontends.sockets.contract import Dialect
from streamgate.frontends.sockets.resumption import Resumption
from streamgate.frontends.sockets.server import WebSocketServer
from streamgate.frontends.websocket.dialect import SequenceDialect
from streamgate.session.gateway import Gateway


@dataclass(frozen=True, slots=True)
class WebSocketLimits(ConnectionLimits):
    """Those of each connection, and those of sequences: beyond `in_flight` steps or
    `in_flight_bytes` of them that wait for their answer, a socket is not read; a client that sends
    no `open` for `open_seconds` is given up."""

    in_flight: int = 256
    in_flight_bytes: int = 64 * 2**20
    open_seconds: float = 10.0


@final
class WebSocketFrontEnd:
    """Serves sequences over WebSocket at `/v1/sequence`, and `dialects` at their paths."""

    def __init__(
        self,
        gateway: Gateway,
        limits: WebSocketLimits | None = None,
        dialects: Sequence[Dialect] = (),
        resumption: Resumption | None = None,
    ) -> None:
        limits = limits or WebSocketLimits()
        sequences = SequenceDialect(
            gateway, limits.in_flight, limits.in_flight_bytes, limits.open_seconds
        )
        self._server = WebSocketServer(
            [sequences, *dialects], gateway.is_accepting, limits, resumption=resumption
        )

    @property
    def dialects(self) -> Sequence[Dialect]:
        """Those that it serves."""
        return self._server.dialects

    @property
    def connections(self) -> Sequence[SocketConnection]:
        """Those that are open."""
        return self._server.connections

    async def start(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen; returns the port. Raises StreamGateError when it can't be bound."""
        return await self._server.start(host, port, shared=shared)

    async def stop(self, grace_seconds: float) -> None:
        """Close the port, then each connection behind what is queued for it, with 1001 (going
        away) unless its sequence has ended otherwise."""
        await self._server.stop(grace_seconds)
