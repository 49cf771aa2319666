"""The WebSocket front end: sockets and tasks around `SequenceStream`."""

import asyncio
import http
import logging
from collections import deque
from dataclasses import dataclass
from typing import final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streamgate.errors import Code
from streamgate.frontends.listening import listen_tcp
from streamgate.frontends.websocket.answers import error_message
from streamgate.frontends.websocket.stream import SequenceStream
from streamgate.session.gateway import Gateway

log = logging.getLogger(__name__)

PATH = "/v1/sequence"
READ_AHEAD_FRAMES = 4
"""Frames that are read from a socket before somebody asks for them."""


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """How many connections there may be, what one may hold, and how long its client may take.

    Beyond `in_flight` steps or `in_flight_bytes` of them that wait for their answer, or beyond
    `unsent_pause_bytes` of answers that wait for a slow reader, its socket is not read. Beyond the
    latter, none of its steps begins either, and its model is held up where it can be, until it is
    down to half; beyond `unsent_bytes` the client is given up. A client that
    sends no `open` for `open_seconds`, takes no answer for `send_seconds`, or does not answer a
    ping within `ping_seconds` (one is sent that often), is given up.
    """

    connections: int = 10_000
    in_flight: int = 256
    in_flight_bytes: int = 64 * 2**20
    unsent_pause_bytes: int = 8 * 2**20
    unsent_bytes: int = 64 * 2**20
    frame_bytes: int = 64 * 2**20
    open_seconds: float = 10.0
    send_seconds: float = 60.0
    ping_seconds: float = 20.0


@final
class _Connection:
    """One client: a reader that feeds the stream, a writer that empties its queue, and a watch
    that finds out when the client is gone without a word."""

    def __init__(self, gateway: Gateway, socket: ServerConnection, limits: WebSocketLimits) -> None:
        self._socket = socket
        self._limits = limits
        self._outgoing: deque[str | bytes] = deque()
        self._unsent_bytes = 0
        self._is_congested = False
        self._closing: tuple[int, str] | None = None
        self._to_write = asyncio.Event()
        self._room = asyncio.Event()
        self._heard = False
        self._stream = SequenceStream(gateway, self._emit, self.close)

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
        works = (self._read(), self._write(), self._watch())
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stream.on_gone()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionClosed):
                raise result

    def close(self, code: int, reason: str) -> None:
        """End the connection after what is queued. The first call counts."""
        if self._closing is None:
            self._closing = (code, reason)
            self._to_write.set()
            self._room.set()

    def abort(self) -> None:
        """End the connection without a word."""
        self._socket.transport.abort()

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._limits.open_seconds):
                while not self._stream.is_open:
                    await self._read_frame()
        except TimeoutError:
            seconds = f"{self._limits.open_seconds:g} s"
            self._emit(error_message(Code.INVALID_ARG, f"no 'open' within {seconds}"))
            self.close(1008, "no open")
        while True:
            await self._read_frame()

    async def _read_frame(self) -> None:
        """Feed the stream with the next frame once there is room for what may come of it."""
        while not self._has_room():
            self._room.clear()
            await self._room.wait()
            self._heard = True
        frame = await self._socket.recv()
        self._heard = True
        if self._closing is not None:
            return
        if isinstance(frame, str):
            self._stream.on_text(frame)
        else:
            self._stream.on_binary(frame)

    def _has_room(self) -> bool:
        if self._closing is not None:
            # Nothing comes of what is read now, but the client's goodbye is behind it.
            return True
        limits = self._limits
        return (
            self._stream.in_flight < limits.in_flight
            and self._stream.in_flight_bytes < limits.in_flight_bytes
            and not self._is_congested
        )

    def _emit(self, message: str | bytes) -> None:
        if self._socket.transport.is_closing():
            return
        limits = self._limits
        waits_already = bool(self._outgoing)
        self._outgoing.append(message)
        self._unsent_bytes += len(message)
        self._to_write.set()
        if self._unsent_bytes < limits.unsent_pause_bytes:
            return
        if waits_already and self._unsent_bytes > limits.unsent_bytes:
            log.info("a client has %d bytes of answers unread: given up", self._unsent_bytes)
            self._outgoing.clear()
            self.abort()
        elif not self._is_congested:
            self._is_congested = True
            self._stream.pause()

    async def _write(self) -> None:
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            while self._outgoing:
                message = self._outgoing.popleft()
                try:
                    async with asyncio.timeout(self._limits.send_seconds):
                        await self._socket.send(message)
                except TimeoutError:
                    log.info("a client has not read for %g s: given up", self._limits.send_seconds)
                    self.abort()
                    return
                self._unsent_bytes -= len(message)
                if self._is_congested and self._unsent_bytes * 2 <= self._limits.unsent_pause_bytes:
                    self._is_congested = False
                    self._stream.resume()
                    self._room.set()
            if self._has_room():
                self._room.set()
            if self._closing is not None:
                await self._socket.close(*self._closing)
                return

    async def _watch(self) -> None:
        """Ping the client. One that neither answers nor sends is gone, unless we don't listen:
        its answer may stand in line behind frames that we have no room for. But for the pings,
        nobody would then find out that the connection is lost."""
        while True:
            await asyncio.sleep(self._limits.ping_seconds)
            self._heard = not self._has_room()
            ping = asyncio.create_task(self._ping())
            try:
                await asyncio.wait((ping,), timeout=self._limits.ping_seconds)
                if ping.done():
                    ping.result()
                elif not self._heard and self._has_room():
                    log.info("a client does not answer: given up")
                    self.abort()
                    return
            finally:
                ping.cancel()

    async def _ping(self) -> None:
        """Send a ping and wait for its pong. Raises ConnectionClosed when the connection is."""
        await asyncio.shield(await self._socket.ping())


@final
class WebSocketFrontEnd:
    """Serves sequences over WebSocket at `/v1/sequence`."""

    def __init__(self, gateway: Gateway, limits: WebSocketLimits | None = None) -> None:
        self._gateway = gateway
        self._limits = limits or WebSocketLimits()
        self._server: Server | None = None
        self._connections: set[_Connection] = set()
        self._is_stopping = False

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises StreamGateError when it can't be bound."""
        listener = listen_tcp(host, port, "WebSocket")
        self._server = await serve(
            self._handle,
            sock=listener,
            process_request=self._check_request,
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
        away) unless its sequence has ended otherwise."""
        if self._server is None:
            return
        self._is_stopping = True
        server, self._server = self._server, None
        server.close(close_connections=False)
        for connection in self._connections:
            connection.close(1001, "the server is going away")
        try:
            async with asyncio.timeout(grace_seconds):
                await server.wait_closed()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
            await server.wait_closed()

    def _check_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse at the handshake what can be refused there."""
        path = request.path.partition("?")[0]
        if path != PATH:
            return connection.respond(
                http.HTTPStatus.NOT_FOUND, f"no such path: {path}, expected {PATH}\n"
            )
        if self._is_stopping or not self._gateway.is_live():
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE, "the server is not accepting sequences\n"
            )
        if len(self._connections) >= self._limits.connections:
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE,
                f"there are {self._limits.connections} connections already, come again later\n",
            )
        return None

    async def _handle(self, socket: ServerConnection) -> None:
        connection = _Connection(self._gateway, socket, self._limits)
        self._connections.add(connection)
        try:
            if self._is_stopping:
                connection.close(1001, "the server is going away")
            await connection.run()
        finally:
            self._connections.discard(connection)


def _wire_log() -> logging.Logger:
    """Where the library writes: connections that come and go are not news, nor are those who try
    whether the port is open."""
    logger = logging.getLogger(f"{__name__}.wire")
    logger.setLevel(max(logger.level, logging.WARNING))
    logger.addFilter(_is_news)
    return logger


def _is_news(record: logging.LogRecord) -> bool:
    return record.msg != "opening handshake failed"
