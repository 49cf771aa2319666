"""Two servers in this process over one session store, and a wire that leads to one or the other:
the first dies at a given write to the store, and the wire leads to the second from then on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final
from unittest import mock

from streamgate.server.ports import Ports
from streamgate.server.server import Server
from streamgate.server.settings import ResumeSettings, Settings, SpeechSettings
from streamgate.session.stored.takeover import StoredSequences
from streamgate.snapshot.memory import MemoryShelf
from tests.frontends.mortal_store import Fate, MortalStore

SECRET = b"a secret that both servers have"


@final
class Wire:
    """A port that leads to another one."""

    def __init__(self) -> None:
        self.target = 0
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            inner_reader, inner = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers += [writer, inner]
            await asyncio.gather(_copy(reader, inner), _copy(inner_reader, writer))
        writer.close()

    def lead_to(self, port: int) -> None:
        """From now on; all connections that there are break."""
        self.target = port
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
    """The servers, the wire to the one that serves, and when each dies."""

    servers: Sequence[Server]
    ports: Sequence[Ports]
    fates: Sequence[Fate]
    wire: Wire
    shelf: MemoryShelf
    port_name: str = ""
    deaths: int = field(default=0)

    def port_of(self, number: int) -> int:
        ports = self.ports[number]
        return (ports.dialects[self.port_name] if self.port_name else ports.http) or 0

    def die(self) -> None:
        """Whoever serves is dead: the next one does."""
        self.deaths += 1
        self.wire.lead_to(self.port_of(self.deaths))


@asynccontextmanager
async def two_houses(
    repositories: Sequence[Path],
    speech: SpeechSettings | None = None,
    port_name: str = "",
    count: int = 2,
    **changes: Any,
) -> AsyncIterator[Houses]:
    shelf = MemoryShelf()
    fates = [Fate() for _ in range(count)]
    servers: list[Server] = []
    wire = Wire()
    listener = await asyncio.start_server(wire._lead, "127.0.0.1", 0)
    wire.port = listener.sockets[0].getsockname()[1]
    async with AsyncExitStack() as stack:
        ports = []
        for number, fate in enumerate(fates):
            settings = Settings(
                list(repositories),
                host="127.0.0.1",
                http_port=0,
                websocket_port=0,
                allow_grpc=False,
                allow_metrics=False,
                exit_timeout_seconds=0.5,
                speech=speech or SpeechSettings(),
                resume=ResumeSettings(30.0, SECRET),
                **changes,
            )
            stored = StoredSequences(MortalStore(shelf, f"server {number}", fate))
            with mock.patch(
                "streamgate.server.server.stored_sequences_of", lambda _, stored=stored: stored
            ):
                server = Server(settings)
            stack.push_async_callback(server.stop)
            ports.append(await server.start())
            servers.append(server)
        houses = Houses(servers, ports, fates, wire, shelf, port_name)
        for fate in fates:
            fate.on_death = houses.die
        wire.target = houses.port_of(0)
        try:
            yield houses
        finally:
            wire.lead_to(0)
            listener.close()
