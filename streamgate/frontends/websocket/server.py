"""The WebSocket front end: sockets and tasks around `SequenceStream`."""

import asyncio
import contextlib
import http
import logging
from collections import deque

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streamgate.errors import Code
from streamgate.frontends.listening import listen_tcp
from streamgate.frontends.websocket.messages import error_message
from streamgate.frontends.websocket.stream import SequenceStream
from streamgate.session.gateway import Gateway

log = logging.getLogger(__name__)

PATH = "/v1/sequence"
IN_FLIGHT_MAX = 256
"""Steps of one connection that may wait for their answer; beyond, its socket is not read."""
UNSENT_BYTES_MAX = 8 * 2**20
"""Answers of one connection that may wait for a slow reader; beyond, its socket is not read."""
FRAME_BYTES_MAX = 64 * 2**20
OPEN_SECONDS = 10.0
"""How long a client may take to send `open`."""


class _Connection:
    """One client: a reader that feeds the stream and a writer that empties its queue."""

    def __init__(self, gateway: Gateway, socket: ServerConnection) -> None:
        self._socket = socket
        self._outgoing: deque[str | bytes] = deque()
        self._unsent_bytes = 0
        self._closing: tuple[int, str] | None = None
        self._to_write = asyncio.Event()
        self._room = asyncio.Event()
        self._stream = SequenceStream(gateway, self._emit, self._close)

    async def run(self) -> None:
        writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stream.on_gone()
            for task in (writer, reader):
                task.cancel()
            for task in (writer, reader):
                with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                    await task

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                while not self._stream.is_open:
                    self._feed(await self._socket.recv())
        except TimeoutError:
            self._emit(error_message(Code.INVALID_ARG, f"no 'open' within {OPEN_SECONDS:g} s"))
            self._close(1008, "no open")
            await asyncio.Event().wait()
        while True:
            self._feed(await self._socket.recv())
            if not self._has_room():
                self._room.clear()
                await self._room.wait()

    def _feed(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            self._stream.on_text(frame)
        else:
            self._stream.on_binary(frame)

    def _has_room(self) -> bool:
        return self._stream.in_flight < IN_FLIGHT_MAX and self._unsent_bytes < UNSENT_BYTES_MAX

    def _emit(self, message: str | bytes) -> None:
        self._outgoing.append(message)
        self._unsent_bytes += len(message)
        self._to_write.set()

    def _close(self, code: int, reason: str) -> None:
        self._closing = (code, reason)
        self._to_write.set()

    async def _write(self) -> None:
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            while self._outgoing:
                message = self._outgoing.popleft()
                await self._socket.send(message)
                self._unsent_bytes -= len(message)
            if self._has_room():
                self._room.set()
            if self._closing is not None:
                await self._socket.close(*self._closing)
                return


class WebSocketFrontEnd:
    """Serves sequences over WebSocket at `/v1/sequence`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._server: Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises StreamGateError when it can't be bound."""
        listener = listen_tcp(host, port, "WebSocket")
        self._server = await serve(
            self._handle,
            sock=listener,
            process_request=self._check_request,
            max_size=FRAME_BYTES_MAX,
            # Audio does not shrink, and deflate costs more than all the rest of a message.
            compression=None,
        )
        bound: int = listener.getsockname()[1]
        return bound

    async def stop(self, grace_seconds: float) -> None:
        """Close the port, then each connection with 1001 (going away)."""
        if self._server is None:
            return
        self._server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._server.wait_closed()
        self._server = None

    def _check_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse at the handshake what can be refused there."""
        path = request.path.partition("?")[0]
        if path != PATH:
            return connection.respond(
                http.HTTPStatus.NOT_FOUND, f"no such path: {path}, expected {PATH}\n"
            )
        if not self._gateway.is_live():
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE, "the server is not accepting sequences\n"
            )
        return None

    async def _handle(self, socket: ServerConnection) -> None:
        try:
            await _Connection(self._gateway, socket).run()
        except ConnectionClosed:
            log.debug("connection closed by the client")
