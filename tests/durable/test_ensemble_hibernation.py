"""Ensembles whose models have far fewer slots than there are sequences."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamgate.link.addresses import UnixAddress
from streamgate.link.client import EngineLink
from streamgate.link.server import LinkServer
from streamgate.session.gateway import Gateway, ServerInfo
from streamgate.session.remote import RemoteGateway
from tests.durable.house import Client, DurableHouse, durable_house
from tests.durable.models import ensemble_hashes, write_ensemble, write_graph, write_objects
from tests.link.house import PATIENT

SLOTS = 2
SEQUENCES = 12
STEPS = 8
IDLE = {"streamgate.hibernate_after_ms": "10"}


async def run(gateway: Gateway, key: int) -> list[int]:
    """What a sequence is answered that rests between its steps."""
    client = Client.of(gateway)
    rests = random.Random(key)
    answers: list[int] = []
    for value in range(STEPS):
        start, end = value == 0, value == STEPS - 1
        answers += await client.step("hash_ensemble", key, value, start=start, end=end)
        await asyncio.sleep(rests.uniform(0, 0.1))
    client.connection.close(abort=True)
    return answers


@asynccontextmanager
async def front_end(house: DurableHouse, folder: Path) -> AsyncIterator[RemoteGateway]:
    """A front end of this engine, which watches the snapshots of all of its models."""
    server = LinkServer(house.server._models.table, house.server.gateway, heartbeat=PATIENT)
    path = folder / "engine" / "link"
    server.listen_unix(path)
    link = EngineLink(UnixAddress(path), heartbeat=PATIENT)
    link.start()
    gateway = RemoteGateway([link], ServerInfo("front end", "0", ()))
    gateway.start()
    try:
        async with asyncio.timeout(20):
            await link.wait_connected()
        yield gateway
    finally:
        await gateway.close()
        await link.stop()
        await server.stop()


@pytest.mark.parametrize("place", ["here", "behind a front end"])
async def test_sequences_of_ensembles_share_slots_by_turns(tmp_path: Path, place: str) -> None:
    models = tmp_path / "models"
    write_graph(models, slots=SLOTS, parameters=IDLE)
    write_objects(models, slots=SLOTS, parameters=IDLE)
    write_ensemble(models, parameters={"streamgate.snapshot_steps": "3"})
    async with durable_house(models) as house, front_end(house, tmp_path) as remote:
        gateway: Gateway = house.server.gateway if place == "here" else remote
        async with asyncio.timeout(30):
            answers = await asyncio.gather(*(run(gateway, key) for key in range(1, SEQUENCES + 1)))
        assert answers == [ensemble_hashes(range(STEPS))] * SEQUENCES
        for model in ("hash", "hash_objects"):
            (statistics,) = await house.server.gateway.statistics(model, "")
            assert statistics.sequences is not None
            assert statistics.sequences.restored >= SEQUENCES - SLOTS
        # Nothing was lost on the way.
        assert {each.recovered for each in remote.durability().values()} == {0}
