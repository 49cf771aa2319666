"""Processes that wait beside engines, over toys: who takes over, and that none is left."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from streamgate.server.processes import spare
from streamgate.server.processes.keeper import Keeper
from tests.server.processes.test_supervisor import ROOT, no_children_left, process
from tests.server.processes.toy_server import toys
from tests.waiting import until

__all__ = ["no_children_left"]

pytestmark = pytest.mark.usefixtures("no_children_left")


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="sg-") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(spare, "DELAY_SECONDS", 0.01)


def pids_of(keeper: Keeper) -> list[int]:
    """The process that serves and its spare, once there is one that is ready."""
    assert keeper._spare is not None
    return keeper.pids if keeper._spare.is_ready else []


async def test_a_spare_takes_over_and_another_takes_its_place(
    directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with toys(directory, engines=1, front_ends=1, spare_engines=True) as supervisor:
        (engine,) = supervisor.engines
        (front_end,) = supervisor.front_ends
        for count in (1, 2):
            await until(lambda: pids_of(engine))
            first, second = pids_of(engine)
            os.kill(first, signal.SIGKILL)
            await until(lambda: process(supervisor, "engine-0").restarts == count)  # noqa: B023
            await until(lambda: process(supervisor, "engine-0").is_accepting)
            assert process(supervisor, "engine-0").pid == second
        assert len(front_end.pids) == 1
    assert capfd.readouterr().err.count("ready to be an engine") >= 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_spare_that_is_of_no_use_is_none(directory: Path, number: int) -> None:
    async with toys(directory, engines=1, front_ends=1, spare_engines=True) as supervisor:
        (engine,) = supervisor.engines
        await until(lambda: pids_of(engine))
        first, second = pids_of(engine)
        os.kill(second, number)
        if number == signal.SIGSTOP:
            assert engine._spare is not None
            waiting = engine._spare._child
            assert waiting is not None
            # As if it had been so for long.
            await until(lambda: psutil.Process(second).status() == psutil.STATUS_STOPPED)
            waiting.heard -= 2 * spare.SILENCE_SECONDS
        else:
            await until(lambda: not psutil.pid_exists(second))
        os.kill(first, signal.SIGKILL)
        await until(lambda: process(supervisor, "engine-0").restarts == 1)
        await until(lambda: process(supervisor, "engine-0").is_accepting)
        assert process(supervisor, "engine-0").pid not in {first, second}
        await until(lambda: not psutil.pid_exists(second))


async def test_a_drained_engine_is_followed_by_its_spare(directory: Path) -> None:
    async with toys(directory, engines=1, front_ends=1, spare_engines=True) as supervisor:
        (engine,) = supervisor.engines
        await until(lambda: pids_of(engine))
        _, second = pids_of(engine)
        assert (await supervisor.drain("engine-0", 5.0))["pid"] == second
