"""WebSocket dialects on a port of their own."""

import asyncio
import http
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streamgate.frontends.listening import listen_tcp
from streamgate.frontends.sockets.connection import ConnectionLimits, SocketConnection
from streamgate.frontends.sockets.contract import (
    Accepted,
    Dialect,
    Handshake,
    Message,
    Refusal,
    SocketClosed,
)
from streamgate.frontends.sockets.reception import Reception
from streamgate.frontends.sockets.resumption import Resumption

log = logging.getLogger(__name__)

READ_AHEAD_FRAMES = 4
"""Frames that are read from a socket before somebody asks for them."""
BROKEN_CODES: Final = frozenset({1002, 1003, 1007, 1009, 1010})
"""How a connection is closed whose client breaks the protocol, by the library itself."""


@final
class WebSocketServer:
    """Serves dialects over WebSocket. Started and stopped once, on its event loop.

    The first dialect that matches a handshake gets it. `is_accepting` False refuses
    all but those who come back to their session.
    """

    def __init__(
        self,
        dialects: Sequence[Dialect],
        is_accepting: Callable[[], bool],
        limits: ConnectionLimits | None = None,
        purpose: str = "WebSocket",
        resumption: Resumption | None = None,
    ) -> None:
        self._dialects = dialects
        self._reception = Reception(is_accepting, resumption)
        self._limits = limits or ConnectionLimits()
        self._purpose = purpose
        self._server: Server | None = None
        # Connections from their handshake on.
        self._connections: dict[Any, SocketConnection] = {}
        self._admitted: dict[Any, Accepted] = {}
        self._is_stopping = False

    @property
    def dialects(self) -> Sequence[Dialect]:
        """Those that it serves."""
        return self._dialects

    @property
    def connections(self) -> list[SocketConnection]:
        """Those that are open."""
        return list(self._connections.values())

    async def start(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen; returns the port. Raises StreamGateError when it can't be bound."""
        listener = listen_tcp(host, port, self._purpose, shared=shared)
        self._server = await serve(
            self._handle,
            sock=listener,
            process_request=self._check_request,
            process_response=self._add_headers,
            select_subprotocol=self._subprotocol,
            max_size=self._limits.frame_bytes,
            max_queue=READ_AHEAD_FRAMES,
            # Audio does not shrink, and deflate costs more than all the rest of a message.
            compression=None,
            # Each connection has a watch of its own, which knows when the client can't be heard.
            ping_interval=None,
            logger=_wire_log(),
        )
        bound: int = listener.getsockname()[1]
        return bound

    async def stop(self, grace_seconds: float) -> None:
        """Close the port, then each connection behind what is queued for it, with 1001 (going
        away) unless its conversation has ended otherwise."""
        if self._server is None:
            return
        self._is_stopping = True
        server, self._server = self._server, None
        server.close(close_connections=False)
        for connection in self._connections.values():
            connection.close(1001, "the server is going away")
        try:
            async with asyncio.timeout(grace_seconds):
                await server.wait_closed()
        except TimeoutError:
            for connection in list(self._connections.values()):
                connection.abort()
            await server.wait_closed()

    async def _check_request(self, socket: ServerConnection, request: Request) -> Response | None:
        """Refuse at the handshake what can be refused there."""
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        handshake = Handshake.of(request.path, headers)
        answer = await self._admit(socket, handshake)
        if isinstance(answer, Accepted):
            self._admitted[socket] = answer
            return None
        response = socket.respond(http.HTTPStatus(answer.status), answer.body)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = answer.content_type
        for name, value in answer.headers.items():
            response.headers[name] = value
        return response

    async def _admit(self, socket: ServerConnection, handshake: Handshake) -> Accepted | Refusal:
        dialect = next((each for each in self._dialects if each.matches(handshake)), None)
        if dialect is None:
            paths = " or ".join(dict.fromkeys(each.path for each in self._dialects))
            return Refusal(404, f"no such path: {handshake.path}, expected {paths}\n")
        if self._is_stopping:
            return Refusal(503, "the server is not accepting connections\n")
        if len(self._connections) >= self._limits.connections:
            return Refusal(
                503, f"there are {self._limits.connections} connections already, come again later\n"
            )
        connection = SocketConnection(self._limits)
        self._connections[socket] = connection
        try:
            answer = await self._reception.receive(dialect, handshake, connection)
        except BaseException:
            del self._connections[socket]
            raise
        if isinstance(answer, Accepted):
            socket.connection_lost_waiter.add_done_callback(lambda _: self._abandon(socket))
        else:
            del self._connections[socket]
        return answer

    def _abandon(self, socket: ServerConnection) -> None:
        """The connection was lost, perhaps before it was upgraded."""
        answer = self._admitted.pop(socket, None)
        if answer is not None:
            del self._connections[socket]
            answer.conversation.on_gone()

    def _add_headers(self, socket: ServerConnection, _: Request, response: Response) -> None:
        answer = self._admitted.get(socket)
        if answer is not None:
            for name, value in answer.headers.items():
                response.headers[name] = value

    def _subprotocol(self, socket: ServerConnection, offered: Sequence[Any]) -> Any:
        answer = self._admitted.get(socket)
        return answer.subprotocol if answer is not None else None

    async def _handle(self, socket: ServerConnection) -> None:
        del self._admitted[socket]
        connection = self._connections[socket]
        try:
            if self._is_stopping:
                connection.close(1001, "the server is going away")
            await connection.run(_Carried(socket))
        finally:
            del self._connections[socket]


@final
class _Carried:
    """A `Socket` over the websockets library."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket

    async def recv(self) -> Message:
        try:
            return await self._socket.recv()
        except ConnectionClosed:
            raise SocketClosed from None

    async def send(self, message: Message) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            raise SocketClosed from None

    async def ping(self) -> None:
        try:
            await asyncio.shield(await self._socket.ping())
        except ConnectionClosed:
            raise SocketClosed from None

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code, reason)

    def abort(self) -> None:
        self._socket.transport.abort()

    @property
    def is_closing(self) -> bool:
        return self._socket.transport.is_closing()

    @property
    def farewell(self) -> int | None:
        protocol = self._socket.protocol
        if protocol.close_rcvd is not None:
            return int(protocol.close_rcvd.code)
        sent = protocol.close_sent
        return sent.code if sent is not None and sent.code in BROKEN_CODES else None


def _wire_log() -> logging.Logger:
    """Where the library writes: connections that come and go are not news, nor are those who try
    whether the port is open."""
    logger = logging.getLogger(f"{__name__}.wire")
    logger.setLevel(max(logger.level, logging.WARNING))
    logger.addFilter(_is_news)
    return logger


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg != "opening handshake failed"
