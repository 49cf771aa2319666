"""Servers in this process over one session store, and a wire that leads to one or the other:
the one that serves dies at a given write to the store, and the wire leads to the next
one from then on."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import final
from unittest import mock

from websockets.asyncio.client import ClientConnection

from streamgate.server.ports import Ports
from streamgate.server.server import Server
from streamgate.server.settings import ResumeSettings, Settings, SpeechSettings
from streamgate.session.stored.takeover import StoredSequences
from streamgate.snapshot.memory import MemoryShelf
from tests.frontends.mortal_store import Life, MortalStore

SECRET = b"a secret that both servers have"


@final
class Wire:
    """A port that leads to another one."""

    def __init__(self) -> None:
        self._target = 0
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._lead, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.lead_to(0)
        await self._server.wait_closed()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            inner_reader, inner = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers += [writer, inner]
            await asyncio.gather(_copy(reader, inner), _copy(inner_reader, writer))
        writer.close()

    def lead_to(self, port: int) -> None:
        """From now on; all connections that there are break."""
        self._target = port
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@dataclass
class Houses:
    """The servers, their stores, and the wire to the one that serves."""

    servers: Sequence[Server]
    ports: Sequence[Ports]
    stores: Sequence[MortalStore]
    wire: Wire
    shelf: MemoryShelf
    serving: int = 0
    port_name: str = ""
    clients: list[ClientConnection] = field(default_factory=list)
    """Those of a test, to be closed behind it."""

    def kill(self) -> None:
        """Whoever serves dies now."""
        self.stores[self.serving].die()

    def begin(self, port_name: str = "", dies_after: Sequence[int] = ()) -> Life:
        """All live. One of them serves, at this port, and dies when so much is written, then the
        next one, and so on in turn; the life of the first. Who died knows not of it, so let there
        be one more than die."""
        lives = deque(dies_after)

        def next_life() -> int:
            return lives.popleft() if lives else 10**9

        def die() -> None:
            self.serving = (self.serving + 1) % len(self.stores)
            self.stores[self.serving].reborn(next_life())
            self.wire.lead_to(self._port)

        self.port_name = port_name
        for store in self.stores:
            store.on_death = die
        self.stores[self.serving].reborn(next_life())
        self.wire.lead_to(self._port)
        return self.stores[self.serving].life

    @property
    def taken(self) -> int:
        """How many sessions went on at one of them that had begun at another."""
        count = 0
        for server in self.servers:
            assert server._front_ends is not None
            counts = server._front_ends.resume_counts
            assert counts is not None
            count += counts.from_elsewhere
        return count

    @property
    def _port(self) -> int:
        ports = self.ports[self.serving]
        if self.port_name == "websocket":
            return ports.websocket or 0
        return (ports.dialects[self.port_name] if self.port_name else ports.http) or 0


@asynccontextmanager
async def mortal_houses(
    repositories: Sequence[Path], speech: SpeechSettings | None = None, count: int = 2
) -> AsyncIterator[Houses]:
    shelf = MemoryShelf()
    stores = [MortalStore(shelf, name) for name in map(str, range(count))]
    wire = Wire()
    await wire.start()
    servers: list[Server] = []
    ports: list[Ports] = []
    async with AsyncExitStack() as stack:
        for store in stores:
            settings = Settings(
                list(repositories),
                host="127.0.0.1",
                http_port=0,
                websocket_port=0,
                allow_grpc=False,
                allow_metrics=False,
                exit_timeout_seconds=0.1,
                speech=speech or SpeechSettings(),
                resume=ResumeSettings(30.0, SECRET),
            )
            with mock.patch("streamgate.server.server.stored_sequences_of") as stored_sequences:
                stored_sequences.return_value = StoredSequences(store)
                server = Server(settings)
            stack.push_async_callback(server.stop)
            ports.append(await server.start())
            servers.append(server)
        try:
            yield Houses(servers, ports, stores, wire, shelf)
        finally:
            await wire.stop()
