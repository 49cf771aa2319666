"""Engines that die or freeze: their sequences go on at others, or when they are back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamgate.errors import EndReason
from streamgate.link.channel import Heartbeat
from streamgate.link.client import EngineLink
from streamgate.link.losses import Cause
from streamgate.session.gateway import ServerInfo
from streamgate.session.remote import RemoteGateway
from tests.durable.house import Client
from tests.durable.models import hashes, write_graph, write_objects
from tests.link.engine_process import EngineProcess, engine_process
from tests.waiting import until

WAIT_SECONDS = 20.0
QUICK = Heartbeat(0.1, 1.0)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_graph(folder)
    write_objects(folder)
    return folder


@asynccontextmanager
async def front_end(
    *engines: EngineProcess, keeps_log: bool = True
) -> AsyncIterator[tuple[RemoteGateway, list[EngineLink]]]:
    links = [EngineLink(engine.address, heartbeat=QUICK) for engine in engines]
    gateway = RemoteGateway(links, ServerInfo("front end", "0", ()), keeps_log=keeps_log)
    gateway.start()
    for link in links:
        link.start()
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            for link in links:
                await link.wait_connected()
        yield gateway, links
    finally:
        await gateway.close()
        for link in links:
            await link.stop()


async def run_paced(
    gateway: RemoteGateway, model: str, key: int, values: range, pause: float
) -> list[list[int]]:
    client = Client.of(gateway)
    answers = []
    for value in values:
        last = value == values[-1]
        answers.append(await client.step(model, key, value, start=value == 0, end=last))
        await asyncio.sleep(pause)
    client.connection.close(abort=True)
    return answers


@pytest.mark.parametrize("harm", ["kill", "freeze"])
async def test_sequences_go_on_at_another_engine(
    repository: Path, tmp_path: Path, harm: str
) -> None:
    with (
        engine_process(repository, tmp_path / "sockets" / "a") as a,
        engine_process(repository, tmp_path / "sockets" / "b") as b,
    ):
        async with front_end(a, b) as (gateway, links):
            values = range(40)
            runs = [
                asyncio.create_task(run_paced(gateway, "hash", key, values, 0.05))
                for key in range(1, 9)
            ]
            await asyncio.sleep(0.6)
            shared = [sum(model.sequences for model in link.models.values()) for link in links]
            assert all(shared), shared
            getattr(a, harm)()
            assert await asyncio.gather(*runs) == [[[each] for each in hashes(values)]] * 8
            assert links[0].counts.losses == 1
            assert links[0].loss is not None
            # Whoever was stopped did nothing; nobody says why the other one ended.
            assert links[0].loss.cause is (Cause.OUTSIDE if harm == "freeze" else Cause.ITS_OWN)
            durability = gateway.durability()["hash", "1"]
            assert durability.recovered == shared[0]
            if harm == "freeze":
                a.thaw()
                async with asyncio.timeout(WAIT_SECONDS):
                    await until(lambda: links[0].is_connected)
                    while await active(links[0]):  # noqa: ASYNC110, nothing tells of it
                        await asyncio.sleep(0.02)


async def test_without_logs_sequences_end_with_their_engine(
    repository: Path, tmp_path: Path
) -> None:
    with (
        engine_process(repository, tmp_path / "sockets" / "a") as a,
        engine_process(repository, tmp_path / "sockets" / "b") as b,
    ):
        async with front_end(a, b, keeps_log=False) as (gateway, links):
            client = Client.of(gateway)
            keys = range(1, 9)
            for value in range(3):
                for key in keys:
                    assert await client.step("hash", key, value, start=value == 0)
            durability = gateway.durability()["hash", "1"]
            assert durability.snapshots == 0
            assert durability.log_bytes <= len(keys) * 2**10, "more than the newest step of each"
            lost = sum(model.sequences for model in links[0].models.values())
            assert 0 < lost < len(keys)
            a.kill()
            async with asyncio.timeout(WAIT_SECONDS):
                await until(lambda: len(client.ends) == lost)
            assert {reason for *_, reason in client.ends} == {EndReason.ENGINE_LOST}
            gone = {key for _, key, _ in client.ends}
            for key in set(keys) - gone:
                assert await client.step("hash", key, 3) == [hashes(range(4))[-1]]


async def active(link: EngineLink) -> int:
    """How many sequences the engine itself counts."""
    (statistics,) = await link.statistics("hash", "")
    assert statistics.sequences is not None
    return statistics.sequences.active
