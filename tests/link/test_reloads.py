"""Models that are reloaded or unloaded under the sequences of front ends."""

import asyncio
import os
import shutil
from pathlib import Path

from streamgate.errors import EndReason
from streamgate.link.client import EngineLink
from streamgate.session.gateway import ServerInfo
from streamgate.session.remote import RemoteGateway
from tests.durable.house import Client
from tests.durable.models import hashes, write_graph
from tests.link.house import PATIENT, LinkHouse, link_house
from tests.waiting import until

WAIT_SECONDS = 20.0


def touch(repository: Path) -> None:
    """Files that are new to the repository."""
    for path in (repository / "hash").rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))


def exports(house: LinkHouse) -> int:
    return len(house.server._exports)


async def test_a_reload_costs_a_sequence_nothing(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_graph(repository)
    async with link_house(repository, tmp_path) as house:
        gateway = await house.front_end()
        client = Client.of(gateway)
        answers = [await client.step("hash", 7, value, start=value == 0) for value in range(5)]
        touch(repository)
        await gateway.load_model("hash", None, {})
        # It moves to what was loaded, and what it lived on goes.
        await until(lambda: exports(house) == 1)
        await until(lambda: gateway.durability()["hash", "1"].moved == 1)
        new = Client.of(gateway)
        values = range(5, 10)
        answers += [await client.step("hash", 7, value, end=value == 9) for value in values]
        assert answers == [[each] for each in hashes(range(10))]
        assert await new.step("hash", 8, 0, start=True) == [hashes([0])[0]]
        await until(lambda: client.ends)
        assert client.ends == [("hash", 7, EndReason.CLIENT_END)]
        # What counted it goes, and the count stays.
        gateway._mirror.renew()
        assert len(gateway._mirror._services["hash", 1]) == 1
        assert gateway.durability()["hash", "1"].moved == 1


async def test_sequences_of_a_model_that_is_unloaded_end(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_graph(repository)
    async with link_house(repository, tmp_path) as house:
        gateway = await house.front_end()
        client = Client.of(gateway)
        await client.step("hash", 7, 0, start=True)
        last = client.send("hash", 7, 1)
        await gateway.unload_model("hash", unload_dependents=False)
        async with asyncio.timeout(WAIT_SECONDS):
            assert (await last)[-1].failure is None
        await until(lambda: client.ends)
        assert client.ends == [("hash", 7, EndReason.DRAINED)]
        await until(lambda: exports(house) == 0)


async def test_another_model_leaves_old_sequences_where_they_are(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_graph(repository)
    async with link_house(repository, tmp_path) as house:
        gateway = await house.front_end()
        client = Client.of(gateway)
        await client.step("hash", 7, 0, start=True)
        shutil.rmtree(repository / "hash")
        write_graph(repository, slots=7)
        await gateway.load_model("hash", None, {})
        assert gateway.model("hash", "").config.max_batch_size == 7
        for value in (1, 2):
            # As unary calls do it, too: over another connection.
            other = Client.of(gateway)
            assert await other.step("hash", 7, value) == [hashes(range(3))[value]]
            other.connection.close(abort=False)
        assert await client.step("hash", 8, 5, start=True) == hashes([5])
        # A new START takes the ID over.
        assert await client.step("hash", 7, 9, start=True) == hashes([9])
        await until(lambda: exports(house) == 1)
        assert gateway._table.lives("hash", 7)
        assert house.server.sequences == 2


async def test_sequences_leave_an_engine_that_drains(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    write_graph(repository)
    async with (
        link_house(repository, tmp_path / "a") as a,
        link_house(repository, tmp_path / "b") as b,
    ):
        links = [EngineLink(each.address, heartbeat=PATIENT) for each in (a, b)]
        gateway = RemoteGateway(links, ServerInfo("front end", "0", ()))
        gateway.start()
        async with asyncio.timeout(WAIT_SECONDS):
            for link in links:
                link.start()
                await link.wait_connected()
        client = Client.of(gateway)
        for key in range(1, 8):
            await client.step("hash", key, 0, start=True)
        assert a.server.sequences
        moving = a.server.sequences
        a.models.gateway.stop_admission()
        a.server.say_live()
        await until(lambda: gateway.durability()["hash", "1"].moved == moving)
        assert (a.server.sequences, b.server.sequences) == (0, 7)
        for key in range(1, 8):
            assert await client.step("hash", key, 1, end=True) == [hashes([0, 1])[1]]
        await gateway.close()
        for link in links:
            await link.stop()


async def test_what_was_left_is_wanted_again(tmp_path: Path) -> None:
    """One engine has been reloaded and is lost, while another still has what was there before:
    sequences go back there, and new ones begin there."""
    repository = tmp_path / "models"
    write_graph(repository, slots=32)
    async with (
        link_house(repository, tmp_path / "a") as a,
        link_house(repository, tmp_path / "b") as b,
    ):
        links = [EngineLink(each.address, heartbeat=PATIENT) for each in (a, b)]
        gateway = RemoteGateway(links, ServerInfo("front end", "0", ()))
        gateway.start()
        async with asyncio.timeout(WAIT_SECONDS):
            for link in links:
                link.start()
                await link.wait_connected()
        client = Client.of(gateway)
        for key in range(1, 8):
            await client.step("hash", key, 0, start=True)
        with (repository / "hash" / "config.pbtxt").open("a") as config:
            config.write('parameters { key: "edition" value { string_value: "2" } }\n')
        await a.models.gateway.load_model("hash", None, {})
        keys = range(1, 15)
        for key in keys[7:]:
            await client.step("hash", key, 0, start=True)
        # New ones begin at what is newer.
        await until(lambda: a.server.sequences >= 7)
        await links[0].stop()
        for value in (1, 2):
            for key in keys:
                last = value == 2
                answer = await client.step("hash", key, value, end=last)
                assert answer == [hashes(range(3))[value]]
        for key in range(20, 30):
            assert await client.step("hash", key, 5, start=True) == hashes([5])
        assert b.server.sequences == 10
        await gateway.close()
        await links[1].stop()
