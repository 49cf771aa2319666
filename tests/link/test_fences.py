"""Engines that were given up and wake up: what they say is refused and counted, and they let go."""

import asyncio
from pathlib import Path

import pytest

from streamgate.errors import EndReason
from streamgate.link import fence
from streamgate.link.channel import Channel
from streamgate.link.client import EngineLink
from streamgate.link.messages import Ended, HandedOver, Snapped
from streamgate.link.steps import encode_result
from streamgate.model.request import Request, Response
from streamgate.model.snapshot import Snapshot
from streamgate.session.gateway import ServerInfo
from streamgate.session.remote import RemoteGateway
from tests.durable.house import Client
from tests.durable.models import HANG_ONCE, hashes, marks_of, write_objects
from tests.link.engine_process import engine_process
from tests.link.pair import QUICK, Engine, FrontEnd, engine
from tests.waiting import until

WAIT_SECONDS = 20.0
MODEL = "hash_objects"
SNAPSHOT = Snapshot(4, "schema")
LATE = Response(Request("m"), "m", "1")


class Sleeper:
    """The engine's end of a connection, which neither hears nor says anything by itself."""

    def __init__(self, there: Engine) -> None:
        ((self.channel, _),) = there.server._peers.values()
        assert isinstance(self.channel, Channel)
        self.channel._stop()
        self._loop = asyncio.get_running_loop()
        self._loop.remove_reader(self.channel.socket._socket)

    def wake(self) -> None:
        self._loop.add_reader(self.channel.socket._socket, self.channel.socket._read)


async def given_up(there: Engine) -> tuple[FrontEnd, Sleeper, int]:
    """A front end that has given up its engine while a step was under way, the engine, and the
    step's number."""
    here = await there.connect(heartbeat=QUICK)
    number = here.send(5, start=True)
    await until(lambda: there.fake.submitted)
    await there.server._door.stop()
    sleeper = Sleeper(there)
    await until(lambda: here.responses)
    assert here.responses[0].lost
    return here, sleeper, number


async def test_what_an_engine_says_that_was_given_up_is_refused_and_counted(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here, sleeper, number = await given_up(there)
        assert here.link.counts.losses == 1
        channel = sleeper.channel
        channel.send_frame(*encode_result(number, LATE))
        channel.send_frame(*encode_result(number, LATE))
        channel.send(Snapped(1, 1, 5, SNAPSHOT, False))
        channel.send(HandedOver(77, SNAPSHOT))
        channel.send(Ended(1, 1, 5, EndReason.IDLE, unstarted=False))
        stale = here.link.counts.stale
        await until(lambda: (stale.results, stale.snapshots) == (2, 2))
        assert stale.results_of == stale.snapshots_of | {("m", "1"): 2}
        assert stale.snapshots_of == {("m", "1"): 1}, "nobody asked for a hand-over"
        assert len(here.responses) == 1
        assert here.snapshots == []
        assert [reason for _, reason, _ in here.ends] == [EndReason.ENGINE_LOST]
        assert there.fake.hung_up == []
        sleeper.wake()
        await until(lambda: there.fake.hung_up)
        assert there.fake.cancelled == [1]
        assert not channel.is_open
        await until(lambda: len(here.link._fences) == 0)


async def test_what_it_says_when_it_is_told_reaches_the_front_end(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here, sleeper, _ = await given_up(there)
        # In the very turn in which it reads that it was given up.
        sleeper.wake()
        there.fake.answer(0)
        await until(lambda: len(here.link._fences) == 0)
        assert here.link.counts.stale.results == 1
        assert len(here.responses) == 1


async def test_who_says_nothing_or_too_much_is_not_listened_to_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "FENCE_SECONDS", 0.1)
    async with engine(tmp_path / "a") as there:
        here, _, _ = await given_up(there)
        await until(lambda: len(here.link._fences) == 0)
    monkeypatch.setattr(fence, "FENCE_SECONDS", 60.0)
    monkeypatch.setattr(fence, "FENCE_BYTES_MAX", 2**10)
    async with engine(tmp_path / "b") as there:
        here, sleeper, number = await given_up(there)
        for _ in range(100):
            sleeper.channel.send_frame(*encode_result(number, LATE))
        await until(lambda: len(here.link._fences) == 0)
        assert 0 < here.link.counts.stale.results < 100


async def test_a_front_end_that_stops_listens_to_nobody(tmp_path: Path) -> None:
    async with engine(tmp_path) as there:
        here, sleeper, _ = await given_up(there)
        assert len(here.link._fences) == 1
        await here.link.stop()
        assert len(here.link._fences) == 0
        sleeper.wake()
        await until(lambda: not sleeper.channel.is_open)


async def test_an_engine_gives_up_a_silent_front_end_and_counts_what_it_says(
    tmp_path: Path,
) -> None:
    async with engine(tmp_path, heartbeat=QUICK) as there:
        here = await there.connect()
        here.send(5, start=True)
        await until(lambda: there.fake.submitted)
        channel = here.link._channel
        assert channel is not None
        channel._stop()
        loop = asyncio.get_running_loop()
        loop.remove_reader(channel.socket._socket)
        await until(lambda: there.fake.hung_up)
        assert there.server.peers == 0
        assert len(there.server._fences) == 1
        here.send(5)
        here.send(6, start=True)
        await until(lambda: there.server.counts.stale_steps == 2)
        assert len(there.fake.submitted) == 1
        loop.add_reader(channel.socket._socket, channel.socket._read)
        await until(lambda: len(there.server._fences) == 0)
        await until(lambda: there.server.peers == 1)


async def test_a_zombie_is_seen_in_the_figures_of_its_model(tmp_path: Path) -> None:
    """Its loop stands still in a step, and goes on when its sequence lives at another engine."""
    repository = tmp_path / "models"
    write_objects(repository, execution="inline", parameters={"streamgate.snapshot_steps": "1"})
    marks = marks_of(repository, MODEL)
    with (
        engine_process(repository, tmp_path / "sockets" / "a") as a,
        engine_process(repository, tmp_path / "sockets" / "b") as b,
    ):
        links = [EngineLink(each.address) for each in (a, b)]
        gateway = RemoteGateway(links, ServerInfo("front end", "0", ()))
        gateway.start()
        for link in links:
            link.start()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                for link in links:
                    await link.wait_connected()
            client = Client.of(gateway)
            values = [3, 1, HANG_ONCE, 4]
            # The other engine runs the step, which hangs only once.
            answers = await client.sequence(MODEL, 1, values)
            assert [each for (each,) in answers] == hashes(values)
            assert (marks / "hangs").exists()
            assert sum(link.counts.losses for link in links) >= 1
            (marks / "wake").touch()

            def counted() -> bool:
                found = gateway.durability()[MODEL, "1"]
                return found.stale_results >= 1 and found.stale_snapshots >= 1

            await until(counted)
            await until(lambda: all(link.is_connected for link in links))
            found = gateway.durability()[MODEL, "1"]
            assert found.mismatches == found.lost == 0
        finally:
            await gateway.close()
            for link in links:
                await link.stop()
