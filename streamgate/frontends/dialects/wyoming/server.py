"""Wyoming's port: TCP connections, each with a voice."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.dialects.line import Line
from streamgate.frontends.dialects.wyoming.events import LINE_BYTES_MAX, Event, read_event
from streamgate.frontends.dialects.wyoming.voice import WyomingVoice
from streamgate.frontends.listening import listen_tcp
from streamgate.frontends.sockets.connection import GONE_SECONDS
from streamgate.frontends.sockets.contract import Message
from streamgate.frontends.speech import SpeechContext

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WyomingLimits:
    """How many connections there may be, how long one may be silent outside of an utterance (in
    one, the model's own limit holds), and how much and how long an answer may wait for its reader.
    """

    connections: int = 1000
    idle_seconds: float = 300.0
    unsent_bytes: int = 2**20
    send_seconds: float = 60.0


@final
class WyomingServer:
    """Serves the protocol on a port. Started and stopped once, on its event loop."""

    def __init__(
        self,
        context: SpeechContext,
        is_accepting: Callable[[], bool],
        limits: WyomingLimits | None = None,
    ) -> None:
        """Raises StreamGateError (INVALID_ARG) when clients must bring a key, for which this
        protocol has no place."""
        if context.access.keys:
            raise StreamGateError(
                Code.INVALID_ARG,
                "Wyoming's clients can't bring an API key, expected no --api-key-file beside it",
            )
        self._context = context
        self._is_accepting = is_accepting
        self._limits = limits or WyomingLimits()
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    async def start(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen; returns the port. Raises StreamGateError (UNAVAILABLE) when it can't be bound."""
        listener = listen_tcp(host, port, "Wyoming", shared=shared)
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=LINE_BYTES_MAX)
        bound: int = listener.getsockname()[1]
        return bound

    async def stop(self, grace_seconds: float) -> None:
        """Close the port, then each connection behind what is queued for it."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        tasks = list(self._connections)
        for connection in self._connections.values():
            connection.close(1001, "the server is going away")
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_accepting() or len(self._connections) >= self._limits.connections:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(self._context, writer, self._limits)
        self._connections[task] = connection
        try:
            await connection.run(reader)
        finally:
            del self._connections[task]


@final
class _Connection:
    """One client. An `Outlet`, too, whose sessions end with it."""

    grant = None

    def __init__(
        self, context: SpeechContext, writer: asyncio.StreamWriter, limits: WyomingLimits
    ) -> None:
        self._writer = writer
        self._limits = limits
        self._line = Line(context.gateway, self)
        self._voice = WyomingVoice(context, self._line)
        self._room = asyncio.Event()
        self._ending = asyncio.Event()
        self._emitted = 0

    @property
    def next_event(self) -> int:
        return self._emitted + 1

    def emit(self, message: Message) -> None:
        if self._writer.is_closing():
            return
        self._emitted += 1
        self._writer.write(message.encode() if isinstance(message, str) else message)
        if self._writer.transport.get_write_buffer_size() > self._limits.unsent_bytes:
            log.info("a client has too many answers unread: given up")
            self._writer.transport.abort()

    def close(self, code: int, reason: str) -> None:
        """There are no codes on this wire."""
        self._ending.set()

    def room(self) -> None:
        self._room.set()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Serve the client until either side ends the connection."""
        reading = asyncio.create_task(self._read(reader))
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            self._line.on_gone()
            for task in (reading, ending):
                task.cancel()
            await asyncio.gather(reading, ending, return_exceptions=True)
            await self._say_goodbye()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while not self._ending.is_set():
            while not self._voice.has_room:
                self._room.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(GONE_SECONDS):
                        await self._room.wait()
                if self._writer.is_closing():
                    return
            try:
                event = await self._next(reader)
                if event is None:
                    return
                wait = self._voice.on_event(event)
                if wait is not None:
                    await wait
            except StreamGateError as error:
                self._voice.on_trouble(error.failure)

    async def _next(self, reader: asyncio.StreamReader) -> Event | None:
        """The next event; None at the end, or when the client said nothing for too long."""
        seconds = None if self._voice.is_listening else self._limits.idle_seconds
        try:
            async with asyncio.timeout(seconds):
                return await read_event(reader)
        except TimeoutError:
            return None

    async def _say_goodbye(self) -> None:
        """Close behind what was said; without it, if the client doesn't read."""
        self._writer.close()
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await self._writer.wait_closed()
        except (TimeoutError, ConnectionError):
            self._writer.transport.abort()
