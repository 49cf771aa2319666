"""An engine stands still and goes on (SIGSTOP, SIGCONT) under live streams: each output comes once,
in order, and is what it would have been; what the one that wakes up still says is refused and
counted."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.durable.faults.crowd import Crowd, gaps_text, streams_of, write_models
from tests.durable.faults.ground import Ground, ground
from tests.durable.faults.tongues import tongues
from tests.durable.models import HANG_ONCE, hashes, marks_of, write_objects
from tests.model.settings import LONG
from tests.waiting import until_so

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STREAMS = 48
FREEZES = 6 if LONG else 1
FROZEN_SECONDS = 2.5 if LONG else 1.6
STEPS = FREEZES * 24
PACE_SECONDS = 0.2
SLEEPER = "hash_sleeper"
DREAM = (3, 1, HANG_ONCE, 4)


@pytest.mark.parametrize("engines", [1, 2] if LONG else [2])
async def test_an_engine_that_wakes_up_says_nothing_twice(tmp_path: Path, engines: int) -> None:
    write_models(tmp_path, parameters={"streamgate.snapshot_steps": "4"})
    # It runs on the engine's own loop, and stands still in a step: when the engine wakes up, it
    # tells the result of that and has a snapshot taken, before it hears anything.
    once = {"streamgate.snapshot_steps": "1"}
    write_objects(tmp_path, SLEEPER, execution="inline", parameters=once)
    crowd = Crowd(streams_of(STREAMS), STEPS, PACE_SECONDS)
    moments: list[float] = []
    flags = ("--engines", str(engines), "--freeze-limit-secs", "60")
    async with ground(tmp_path, *flags) as house:

        async def freeze_some() -> None:
            await freeze_in_a_step(house, tmp_path, moments)
            for number in range(1, FREEZES):
                pid = await house.strike(f"engine-{number % engines}", signal.SIGSTOP)
                moments.append(time.monotonic())
                await asyncio.sleep(FROZEN_SECONDS)
                os.kill(pid, signal.SIGCONT)
                await house.until_accepting()
                await house.until_recovered()

        await crowd.live_through(house.addresses, freeze_some)
        metrics = await house.metrics()
        of_sleeper = {"model": SLEEPER}
        assert metrics.sum("streamgate_stale_results_total", **of_sleeper) >= 1
        assert metrics.sum("streamgate_stale_snapshots_total", **of_sleeper) >= 1
        assert metrics.sum("streamgate_process_restarts_total") == 0, "it was only frozen"
        recovered = metrics.sum("streamgate_sequences_recovered_total")
        assert recovered >= STREAMS // engines // 2
        assert metrics.sum("streamgate_sequences_lost_total") == 0
        assert metrics.sum("streamgate_sequences_active") == 0, "the sleeper has let all go"
    sys.stdout.write(
        f"{engines} engines, {STREAMS} streams at {PACE_SECONDS} s a step, {FREEZES} freezes of "
        f"{FROZEN_SECONDS} s or a little more, {recovered:.0f} recoveries; freeze to next answer, "
        f"the pace included: {gaps_text(crowd.streams, moments)}\n"
    )


async def freeze_in_a_step(house: Ground, models: Path, moments: list[float]) -> None:
    """Freeze an engine while a step is under way on its loop, and have it wake up when all that it
    had has been given up."""
    marks = marks_of(models, SLEEPER)
    async with tongues(house.addresses) as spoken:
        talk = spoken["HTTP unary"](SLEEPER, 1)
        answers = [await talk.step(value, start=value == DREAM[0]) for value in DREAM[:2]]
        dreamt = asyncio.create_task(talk.step(DREAM[2]))

        async def is_in_its_step() -> bool:
            return (marks / "hangs").exists() and bool((marks / "hangs").read_text())

        async def is_given_up() -> bool:
            metrics = await house.metrics()
            names = ("streamgate_sequences_recovered_total", "streamgate_sequences_recovering")
            return sum(metrics.sum(name, model=SLEEPER) for name in names) >= 1

        async def has_been_refused() -> bool:
            metrics = await house.metrics()
            names = ("streamgate_stale_results_total", "streamgate_stale_snapshots_total")
            return all(metrics.sum(name, model=SLEEPER) >= 1 for name in names)

        await until_so(is_in_its_step)
        pid = int((marks / "hangs").read_text())
        os.kill(pid, signal.SIGSTOP)
        moments.append(time.monotonic())
        await until_so(is_given_up)
        (marks / "wake").touch()
        os.kill(pid, signal.SIGCONT)
        await until_so(has_been_refused)
        answers.append(await dreamt)
        answers.append(await talk.step(DREAM[3], end=True))
    assert answers == hashes(DREAM)
    await house.until_accepting()
