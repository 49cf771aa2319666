"""Engines are killed at random moments under many live streams on all protocols, speech in all its
dialects among them."""

import asyncio
import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.durable.faults.crowd import Crowd, gaps_text, streams_of, write_models
from tests.durable.faults.ground import ground
from tests.durable.faults.speaker import write_numbers
from tests.durable.faults.speeches import FLAGS, SPEECH_SECONDS, Speech, hear_all, recordings
from tests.model.settings import ONLY_LONG

pytestmark = [ONLY_LONG, pytest.mark.slow, pytest.mark.timeout(900)]

STREAMS = 184
SPEAKERS = 20
"""So there are more than 200 streams."""
SPEECH_TIMES = 4
"""So often a speaker says all recordings, which are 15 s."""
PAUSE_SECONDS = 0.08
"""A speaker's, between two messages of 80 ms or so."""
KILLS = 4
STEPS = 160
PACE_SECONDS = 0.25


@pytest.mark.parametrize("engines", [1, 2])
async def test_streams_outlive_engines(tmp_path: Path, engines: int) -> None:
    write_models(tmp_path)
    write_numbers(tmp_path)
    seed = random.SystemRandom().randrange(10**9)
    chance = random.Random(seed)
    crowd = Crowd(streams_of(STREAMS), STEPS, PACE_SECONDS)
    kills: list[float] = []
    async with ground(tmp_path, "--engines", str(engines), *FLAGS) as house:
        speech = np.tile(np.concatenate(recordings()), SPEECH_TIMES)
        speeches = await hear_all(house.addresses, [speech])

        async def kill_some() -> None:
            for _ in range(KILLS):
                await asyncio.sleep(chance.uniform(0, 1))
                name = f"engine-{chance.randrange(engines)}"
                kills.append(time.monotonic())
                pid = await house.strike(name)
                kills[-1] = time.monotonic()
                await house.until_accepting(pid)
                await house.until_recovered()

        async with asyncio.TaskGroup() as group:
            for number in range(SPEAKERS):
                group.create_task(hear_over_one_connection(speeches[number % len(speeches)]))
            await crowd.live_through(house.addresses, kill_some)
        metrics = await house.metrics()
        recovered = metrics.sum("streamgate_sequences_recovered_total")
        for never in ("sequences_lost", "replay_mismatches", "sequences_quarantined"):
            assert metrics.sum(f"streamgate_{never}_total") == 0, never
        assert recovered >= STREAMS * KILLS // engines // 4
        assert metrics.sum("streamgate_sequences_recovering") == 0
    sys.stdout.write(
        f"seed {seed}, {engines} engines, {STREAMS} streams at {PACE_SECONDS} s a step and "
        f"{SPEAKERS} speakers, {KILLS} kills, {recovered:.0f} recoveries; kill to next answer, "
        f"the pace included: {gaps_text(crowd.streams, kills)}\n"
    )


async def hear_over_one_connection(speech: Speech) -> None:
    """One, by a client that need not come back."""
    client = speech.client(speech.port, PAUSE_SECONDS, SPEECH_SECONDS)
    await client.run()
    assert (client.restarts, client.resumes) == (1, 0)
    speech.check(client)
