"""Steps on threads that run for too long."""

import logging
import threading
from dataclasses import dataclass, replace

import pytest

from streamgate.backend.fake import Plan
from streamgate.engine.step_watch import StepWatch
from streamgate.model.config import WorkerLimits
from tests.engine.house import Client, hashes, open_house, samples
from tests.engine.play_host import PlayHost
from tests.engine.test_engine_sequences import tensor_model
from tests.waiting import until

MS = 1_000_000


@dataclass(eq=False)
class Runner:
    name: str = "m_0"
    running_since: int = 0
    has_work: bool = False


def test_what_runs_for_too_long_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    host = PlayHost()
    one, other = Runner("one"), Runner("other")
    watch = StepWatch(host, 200 * MS, lambda: [(each, each.has_work) for each in (one, other)])
    one.running_since = other.running_since = host.now()
    one.has_work = other.has_work = True
    watch.begin()
    host.sleep(150 * MS)
    # The next step of the same instance has its own time.
    other.running_since = host.now()
    assert watch.hung == 0
    host.sleep(150 * MS)
    assert watch.hung == 1
    host.sleep(500 * MS)
    assert watch.hung == 2
    told = [record.message for record in caplog.records if "hangs" in record.message]
    assert len(told) == 2
    assert "model instance 'one' hangs" in told[0]
    one.running_since = other.running_since = 0
    one.has_work = other.has_work = False
    host.sleep(50 * MS)
    assert watch.hung == 0
    assert "model instance 'one' goes on" in caplog.text
    host.sleep(500 * MS)
    # Nobody has anything to do, so nobody looks.
    one.running_since = 1
    host.sleep(10_000 * MS)
    assert watch.hung == 0


def test_without_a_limit_nothing_is_looked_at() -> None:
    host = PlayHost()
    one = Runner(running_since=1, has_work=True)
    watch = StepWatch(host, 0, lambda: [(one, True)])
    watch.begin()
    host.sleep(10_000 * MS)
    assert watch.hung == 0


async def test_a_model_that_hangs_is_not_ready_until_it_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = threading.Event()
    plan = Plan(latency_ns=1, sleep=lambda _: assert_opened(gate))
    config = replace(tensor_model(), worker_limits=WorkerLimits(step_timeout_ns=100 * MS))
    async with open_house(config, plan) as house:
        client = Client(house.connect(), 7)
        client.send(samples(1), start=True)
        with caplog.at_level(logging.WARNING):
            await until(lambda: house.runtime.statistics().instances.hung == 1)
            assert not await house.runtime.is_ready()
            gate.set()
            await until(lambda: house.runtime.statistics().instances.hung == 0)
        assert await house.runtime.is_ready()
        client.send(samples(2), end=True)
        assert hashes(await client.collect()) == client.expected()
        assert "streamgate.step_timeout_seconds" in caplog.text


def assert_opened(gate: threading.Event) -> None:
    assert gate.wait(10)
