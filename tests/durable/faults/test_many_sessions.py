"""Ten times more sessions than slots, each busy for a tenth of the time: results are those of a
server with a slot for each, and nobody waits for good."""

import asyncio
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.durable.faults.crowd import ANSWERS, TONGUES, percentile, write_models
from tests.durable.faults.ground import Ground, ground
from tests.durable.faults.tongues import Tongue, tongues
from tests.model.settings import LONG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SLOTS = 8 if LONG else 4
"""Of each of the two models that have any; of each, ten times as many sessions."""
BURSTS = 12 if LONG else 3
BURST_STEPS = 5
STEP_SECONDS = 0.02
ASLEEP_SECONDS = 9 * BURST_STEPS * STEP_SECONDS
PARAMETERS = {"streamgate.hibernate_after_ms": "10"}


class Session:
    """Bursts of steps, and nine times as long nothing. `waits` are the seconds in which the first
    step of each burst but the first was answered."""

    def __init__(self, tongue: str, model: str, key: int) -> None:
        self.tongue, self.model, self.key = tongue, model, key
        self.values = [key * 1000 + place for place in range(BURSTS * BURST_STEPS)]
        self.waits: list[float] = []
        self.answers: list[int] = []

    async def run(self, spoken: Mapping[str, Tongue], chance: random.Random) -> None:
        talk = spoken[self.tongue](self.model, self.key)
        await asyncio.sleep(chance.uniform(0, ASLEEP_SECONDS))
        for place, value in enumerate(self.values):
            wakes = place % BURST_STEPS == 0
            if wakes and place:
                await asyncio.sleep(ASLEEP_SECONDS * chance.uniform(0.8, 1.2))
            begin = time.monotonic()
            first, last = place == 0, place == len(self.values) - 1
            self.answers.append(await talk.step(value, start=first, end=last))
            if wakes and place:
                self.waits.append(time.monotonic() - begin)
            await asyncio.sleep(STEP_SECONDS)


async def all_sessions(house: Ground) -> list[Session]:
    chance = random.Random(3)
    sessions = [
        Session(TONGUES[number % 4], model, 1 + 2 * number + half)
        for number in range(10 * SLOTS)
        for half, model in enumerate(("hash", "hash_objects"))
    ]
    async with tongues(house.addresses) as spoken, asyncio.TaskGroup() as group:
        for session in sessions:
            group.create_task(session.run(spoken, chance))
    return sessions


async def test_ten_sessions_share_a_slot(tmp_path: Path) -> None:
    crowded, roomy = tmp_path / "crowded", tmp_path / "roomy"
    crowded.mkdir()
    write_models(crowded, SLOTS, PARAMETERS)
    async with ground(crowded) as house:
        shared = await all_sessions(house)
        metrics = await house.metrics()
        assert metrics.sum("streamgate_hibernations_total") >= 2 * SLOTS * BURSTS
        assert metrics.sum("streamgate_sequences_hibernated") == 0
        assert metrics.sum("streamgate_hibernated_bytes") == 0
        assert metrics.sum("streamgate_sequences_lost_total") == 0
    told = [f"with {SLOTS} slots: {waits_text(shared)}"]
    for session in shared:
        assert session.answers == ANSWERS[session.model](session.values), session.key
    if LONG:
        roomy.mkdir()
        write_models(roomy, 10 * SLOTS)
        async with ground(roomy) as house:
            alone = await all_sessions(house)
        assert [each.answers for each in alone] == [each.answers for each in shared]
        told.append(f"with {10 * SLOTS}: {waits_text(alone)}")
    sys.stdout.write(
        f"2 x {10 * SLOTS} sessions, first answer of a burst {'; '.join(told)}; "
        f"{metrics.sum('streamgate_hibernations_total'):.0f} hibernations\n"
    )


def waits_text(sessions: list[Session]) -> str:
    waits = [wait for session in sessions for wait in session.waits]
    told = [f"p{share} {percentile(waits, share / 100) * 1000:.1f} ms" for share in (50, 90, 99)]
    return f"{', '.join(told)}, longest {max(waits) * 1000:.1f} ms"
