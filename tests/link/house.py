"""An engine behind a link server, and front ends that reach it over a socket: all on one loop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from streamgate.link.addresses import Address, UnixAddress
from streamgate.link.channel import Heartbeat
from streamgate.link.client import EngineLink
from streamgate.link.server import LinkServer
from streamgate.server.settings import ControlMode
from streamgate.session.gateway import ServerInfo
from streamgate.session.remote import RemoteGateway
from tests.server.model_house import ModelHouse, model_house

WAIT_SECONDS = 20.0
PATIENT = Heartbeat(0.2, 10.0)
"""For tests of something else: the machine may have other things to do."""


@dataclass
class LinkHouse:
    """One engine with its models, and the front ends of the test."""

    models: ModelHouse
    server: LinkServer
    address: Address
    front_ends: list[RemoteGateway] = field(default_factory=list)
    links: list[EngineLink] = field(default_factory=list)

    async def front_end(self, heartbeat: Heartbeat = PATIENT) -> RemoteGateway:
        link = EngineLink(self.address, heartbeat=heartbeat)
        link.start()
        self.links.append(link)
        async with asyncio.timeout(WAIT_SECONDS):
            await link.wait_connected()
        gateway = RemoteGateway([link], ServerInfo("front end", "0", ()))
        gateway.start()
        self.front_ends.append(gateway)
        return gateway

    async def front(self) -> ModelHouse:
        """As the engine's own house, but from a front end."""
        gateway = await self.front_end()
        return ModelHouse(self.models.lifecycle, gateway, self.models.table)  # type: ignore[arg-type]


@asynccontextmanager
async def link_house(
    repository: Path,
    folder: Path,
    *,
    wanted: Sequence[str] = ("*",),
    heartbeat: Heartbeat = PATIENT,
) -> AsyncIterator[LinkHouse]:
    async with model_house(repository, ControlMode.EXPLICIT, wanted) as models:
        server = LinkServer(models.table, models.gateway, heartbeat=heartbeat)
        path = folder / "engine" / "link"
        server.listen_unix(path)
        house = LinkHouse(models, server, UnixAddress(path))
        try:
            yield house
        finally:
            for link in house.links:
                await link.stop()
            await server.stop()
