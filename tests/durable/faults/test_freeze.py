"""An engine stands still and goes on (SIGSTOP, SIGCONT) under live streams: each output comes once,
in order, and is what it would have been."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.durable.faults.crowd import Crowd, gaps_text, streams_of, write_models
from tests.durable.faults.ground import ground
from tests.model.settings import LONG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STREAMS = 48
FREEZES = 6 if LONG else 1
FROZEN_SECONDS = 2.5 if LONG else 1.6
STEPS = FREEZES * 24
PACE_SECONDS = 0.2


@pytest.mark.parametrize("engines", [1, 2] if LONG else [2])
async def test_an_engine_that_wakes_up_says_nothing_twice(tmp_path: Path, engines: int) -> None:
    write_models(tmp_path, parameters={"streamgate.snapshot_steps": "4"})
    crowd = Crowd(streams_of(STREAMS), STEPS, PACE_SECONDS)
    moments: list[float] = []
    flags = ("--engines", str(engines), "--freeze-limit-secs", "20")
    async with ground(tmp_path, *flags) as house:

        async def freeze_some() -> None:
            for number in range(FREEZES):
                pid = await house.strike(f"engine-{number % engines}", signal.SIGSTOP)
                moments.append(time.monotonic())
                await asyncio.sleep(FROZEN_SECONDS)
                os.kill(pid, signal.SIGCONT)
                await house.until_accepting()

        await crowd.live_through(house.addresses, freeze_some)
        metrics = await house.metrics()
        assert metrics.sum("streamgate_process_restarts_total") == 0, "it was only frozen"
        recovered = metrics.sum("streamgate_sequences_recovered_total")
        assert recovered >= STREAMS // engines // 2
        assert metrics.sum("streamgate_sequences_lost_total") == 0
        assert metrics.sum("streamgate_sequences_active") == 0, "the sleeper has let all go"
    sys.stdout.write(
        f"{engines} engines, {STREAMS} streams at {PACE_SECONDS} s a step, {FREEZES} freezes of "
        f"{FROZEN_SECONDS} s, {recovered:.0f} recoveries; freeze to next answer, the pace "
        f"included: {gaps_text(crowd.streams, moments)}\n"
    )
