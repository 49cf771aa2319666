"""The owner's side of a relay: other processes bring clients whose sessions live here."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from streamgate.errors import Code, Failure
from streamgate.frontends.sockets.connection import ConnectionLimits, SocketConnection
from streamgate.frontends.sockets.contract import (
    Accepted,
    Dialect,
    Message,
    Refusal,
    SocketClosed,
)
from streamgate.frontends.sockets.reception import Reception
from streamgate.frontends.sockets.relay_wire import (
    HANDSHAKE_BYTES_MAX,
    Kind,
    RelayStream,
    answer_frame,
    farewell_bytes,
    farewell_of,
    handshake_of,
    message_of,
)

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 12.0
"""How long the other process may take to tell that its client has answered a goodbye."""


@final
class RelayPost:
    """Listens on a Unix socket. Only sessions that are resumed are served there."""

    def __init__(
        self,
        dialects: Mapping[str, Dialect],
        reception: Reception,
        limits: ConnectionLimits | None = None,
    ) -> None:
        """`dialects` by their names."""
        self._dialects = dialects
        self._reception = reception
        self._limits = limits or ConnectionLimits()
        self._server: asyncio.Server | None = None
        self._connections: set[SocketConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Listen. What is left there of a process that is gone is taken away."""
        await asyncio.to_thread(path.unlink, missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def stop(self, grace_seconds: float) -> None:
        """Close each connection behind what is queued for it."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in list(self._connections):
            connection.close(1001, "the server is going away")
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        stream = RelayStream(reader, writer)
        connection = SocketConnection(self._limits)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                answer = await self._answer(stream, connection)
                stream.write(*answer_frame(answer))
            if isinstance(answer, Accepted):
                self._connections.add(connection)
                await connection.run(_Relayed(stream))
        except (ConnectionError, TimeoutError, ValueError) as error:
            log.info("a relayed connection has failed: %s", error)
        except asyncio.CancelledError:
            """The server stops."""
        finally:
            self._connections.discard(connection)
            self._tasks.discard(task)
            stream.finish()

    async def _answer(
        self, stream: RelayStream, connection: SocketConnection
    ) -> Accepted | Refusal:
        kind, payload = await stream.read(HANDSHAKE_BYTES_MAX)
        if kind is not Kind.HANDSHAKE:
            raise ConnectionError(f"a frame {kind.name}, expected HANDSHAKE first")
        name, handshake = handshake_of(payload)
        dialect = self._dialects.get(name)
        if dialect is None:
            return Refusal(400, f"no dialect '{name}' in the process that has the session\n")
        if self._server is None or len(self._connections) >= self._limits.connections:
            return dialect.refuse(Failure(Code.UNAVAILABLE, "there are too many connections"))
        return await self._reception.resume_here(dialect, handshake, connection)


@final
class _Relayed:
    """A `Socket` whose wire ends in another process."""

    def __init__(self, stream: RelayStream) -> None:
        self._stream = stream
        self._pings = 0
        self._pong = asyncio.Event()
        self._closed = asyncio.Event()
        self._farewell: int | None = None

    async def recv(self) -> Message:
        while True:
            try:
                kind, payload = await self._stream.read()
            except ConnectionError:
                self._closed.set()
                raise SocketClosed from None
            if kind in (Kind.TEXT, Kind.BINARY):
                return message_of(kind, payload)
            if kind is Kind.PONG and payload == self._ping:
                self._pong.set()
            elif kind is Kind.CLOSED:
                self._farewell = farewell_of(payload)[0]
                self._closed.set()
                raise SocketClosed

    async def send(self, message: Message) -> None:
        self._stream.write_message(message)
        if not self._stream.has_room:
            try:
                await self._stream.drain()
            except ConnectionError:
                raise SocketClosed from None

    async def ping(self) -> None:
        self._pings += 1
        self._pong.clear()
        self._stream.write(Kind.PING, self._ping)
        await self._pong.wait()

    async def close(self, code: int, reason: str) -> None:
        self._stream.write(Kind.CLOSE, farewell_bytes(code, reason))
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._closed.wait()

    def abort(self) -> None:
        self._stream.abort()

    @property
    def is_closing(self) -> bool:
        return self._stream.is_closing

    @property
    def farewell(self) -> int | None:
        return self._farewell

    @property
    def _ping(self) -> bytes:
        return str(self._pings).encode()
