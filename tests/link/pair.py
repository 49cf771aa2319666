"""A front end's link and an engine's server over a socket, around a model that the test plays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamgate.errors import EndReason, EndWarning
from streamgate.link.addresses import Address, UnixAddress
from streamgate.link.channel import Heartbeat
from streamgate.link.client import EngineLink
from streamgate.link.remote_model import RemoteModel
from streamgate.link.server import LinkServer
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.session.gateway import ServerInfo
from streamgate.session.local import LocalGateway
from streamgate.session.routing import READY, ModelTable, Route, VersionState
from tests.engine.house import NoModels
from tests.link.house import PATIENT
from tests.session.fake_link import FakeMovableLink
from tests.session.plain_models import zeros

WAIT_SECONDS = 20.0


@dataclass
class Engine:
    """The engine's side: what it is asked is found in `fake`, which answers when told to."""

    fake: FakeMovableLink
    route: Route
    table: ModelTable
    server: LinkServer
    path: Path
    links: list[EngineLink] = field(default_factory=list)

    @property
    def address(self) -> Address:
        return UnixAddress(self.path)

    async def connect(self, **options: Any) -> "FrontEnd":
        link = EngineLink(self.address, **{"heartbeat": PATIENT, **options})
        self.links.append(link)
        link.start()
        async with asyncio.timeout(WAIT_SECONDS):
            await link.wait_connected()
        (model,) = link.models.values()
        return FrontEnd(link, model)


@dataclass
class FrontEnd:
    """The front end's side, and what it is told."""

    link: EngineLink
    model: RemoteModel
    responses: list[Response] = field(default_factory=list)
    ends: list[tuple[SequenceKey, EndReason, int]] = field(default_factory=list)
    warnings: list[tuple[SequenceKey, EndWarning]] = field(default_factory=list)
    snapshots: list[tuple[SequenceKey, Snapshot, bool]] = field(default_factory=list)
    positions: dict[SequenceKey, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model.watch_sequences(
            lambda *end: self.ends.append(end), lambda *warned: self.warnings.append(warned)
        )

    def send(
        self,
        key: SequenceKey,
        *,
        start: bool = False,
        end: bool = False,
        owner: int = 1,
        size: int = 16,
    ) -> int:
        """A step with so many bytes, at the position behind the last one."""
        position = 0 if start else self.positions[key] + 1
        self.positions[key] = position
        tensor = zeros("I", size // 4)
        request = Request("m", inputs=[tensor], sequence=key, start=start, end=end)
        return self.model.submit(request, self.responses.append, owner, position)  # type: ignore[arg-type]


@asynccontextmanager
async def engine(
    folder: Path, fake: FakeMovableLink | None = None, **options: Any
) -> AsyncIterator[Engine]:
    fake = fake or FakeMovableLink()
    table = ModelTable()
    route = Route(fake)
    table.set("m", 1, VersionState(READY, route=route))
    gateway = LocalGateway(table, NoModels(), ServerInfo("engine", "0", ()))
    gateway.start()
    server = LinkServer(table, gateway, heartbeat=options.pop("heartbeat", PATIENT), **options)
    path = folder / "engine" / "link"
    server.listen_unix(path)
    house = Engine(fake, route, table, server, path)
    try:
        yield house
    finally:
        for link in house.links:
            await link.stop()
        await server.stop()


QUICK = Heartbeat(0.05, 0.3)
