"""How late loops are, and what admission makes of it."""

import asyncio
import time
from itertools import count
from pathlib import Path

import pytest

from streamgate.engine.host import AsyncioHost
from streamgate.engine.lateness import LOOK_SECONDS, RECENT, Lateness
from streamgate.errors import Code, StreamGateError
from streamgate.link.channel import Heartbeat
from streamgate.model.config import OldestStrategy, SequenceBatching
from tests.engine.house import Client, House, open_house, samples
from tests.engine.test_engine_sequences import tensor_model
from tests.link.pair import engine
from tests.waiting import until

LATE_NS = 50_000_000
PACED = SequenceBatching(OldestStrategy(4), 4, max_idle_ns=60_000_000_000, pace_ns=10_000_000_000)


def busy() -> None:
    """Keep the loop from everything else, for longer than what it looks at is apart."""
    time.sleep(1.5 * LOOK_SECONDS)


def test_one_pause_is_none() -> None:
    lateness = Lateness()
    assert lateness.ns == 0
    for late_ns in (5, 900, 7, -3):
        lateness.note(late_ns)
    assert lateness.ns == 7
    lateness.note(800)
    assert lateness.ns == 800
    for _ in range(RECENT - 1):
        lateness.note(1)
    assert lateness.ns == 1


async def test_a_host_knows_how_late_its_loop_is() -> None:
    host = AsyncioHost(asyncio.get_running_loop())

    def is_late() -> bool:
        busy()
        return host.late_ns() >= LATE_NS

    await until(is_late)
    host.elsewhere_ns = lambda: 10**12
    assert host.late_ns() >= 10**12 + LATE_NS


async def test_front_ends_say_how_late_they_are(tmp_path: Path) -> None:
    heartbeat = Heartbeat(0.01, 60.0)
    async with engine(tmp_path, heartbeat=heartbeat) as there:
        assert there.server.late_ns() == 0
        await there.connect(heartbeat=heartbeat)

        def is_late() -> bool:
            busy()
            return there.server.late_ns() >= LATE_NS

        await until(is_late)


def headroom(house: House) -> int:
    sequences = house.runtime.statistics().sequences
    assert sequences is not None
    return sequences.headroom


async def steps(client: Client, number: int) -> None:
    for _ in range(number):
        client.send(samples(1))
        await client.answers[-1]


@pytest.fixture
def _ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's clock goes on by ten milliseconds with each look."""
    ticks = count(1)
    monkeypatch.setattr(AsyncioHost, "now", lambda _: next(ticks) * 10_000_000)


@pytest.mark.usefixtures("_ticking")
async def test_a_late_host_lets_nobody_in() -> None:
    late = [0]
    async with open_house(tensor_model(PACED)) as house:
        house.runtime._host.late_ns = lambda: late[0]  # type: ignore[method-assign]
        client, other = Client(house.connect(), 1), house.connect()
        client.send(samples(1), start=True)
        for late[0], expected in ((0, 3), (9_000_000_000, 0)):
            await steps(client, 80)
            assert headroom(house) == expected
        with pytest.raises(StreamGateError, match="the pace of one more") as refused:
            await other.reserve("fake", "", 2)
        assert refused.value.code is Code.UNAVAILABLE
        late[0] = 0
        await steps(client, 400)
        assert headroom(house) == 3
        await other.reserve("fake", "", 2)
