"""An engine is killed at each step of a sequence, on every protocol: clients hear what they would
have heard without it, byte for byte."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.durable.faults.ground import Ground, ground
from tests.durable.faults.speaker import Message, hear, pieces_of, write_numbers
from tests.durable.faults.tongues import Tongue, tongues
from tests.durable.models import (
    ensemble_hashes,
    hashes,
    write_ensemble,
    write_graph,
    write_objects,
)
from tests.model.settings import LONG

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if LONG else 120)]

STEPS = 32
TONGUES = ("gRPC stream", "gRPC unary", "HTTP unary", "WebSocket")
ANSWERS = {"hash": hashes, "hash_objects": hashes, "hash_ensemble": ensemble_hashes}
RECORDING = "price_22k.wav"

ROUNDS: Sequence[Sequence[int]] = [[step] for step in range(STEPS)] if LONG else [range(STEPS)]
"""The steps at which sequences are when the engine is killed: one after the other, or all at
once."""


@dataclass(frozen=True)
class Victim:
    """A sequence whose engine is killed around the step at `index`."""

    tongue: str
    model: str
    key: int
    index: int

    @property
    def values(self) -> list[int]:
        return [self.key * 1000 + place for place in range(STEPS)]

    async def run(self, spoken: dict[str, Tongue], meeting: asyncio.Barrier) -> list[int]:
        talk = spoken[self.tongue](self.model, self.key)
        answers = []
        for place, value in enumerate(self.values):
            if place == self.index:
                await meeting.wait()
            last = place == STEPS - 1
            answers.append(await talk.step(value, start=place == 0, end=last))
        return answers


def victims_of(steps: Sequence[int]) -> list[Victim]:
    """On every protocol, at each of these steps; with few steps of every model, too."""
    models = sorted(ANSWERS)
    chosen = [
        (tongue, model, step)
        for step in steps
        for number, tongue in enumerate(TONGUES)
        for model in (models if len(steps) < STEPS else [models[(step + number) % len(models)]])
    ]
    return [Victim(tongue, model, key, step) for key, (tongue, model, step) in enumerate(chosen, 1)]


async def one_round(
    house: Ground, steps: Sequence[int], struck: str, delay: float, calm: list[Message]
) -> None:
    victims = victims_of(steps)
    speakers = steps if len(steps) == 1 else steps[::8]
    meeting = asyncio.Barrier(len(victims) + len(speakers) + 1)
    pid = int((await house.process(struck))["pid"])

    async def speak(step: int) -> list[Message]:
        async def before(index: int) -> None:
            if index == step:
                await meeting.wait()

        return await hear(house.addresses["websocket"], pieces_of(RECORDING), before, 0.005)

    async def strike() -> None:
        await meeting.wait()
        await asyncio.sleep(delay)
        os.kill(pid, signal.SIGKILL)

    async with tongues(house.addresses) as spoken:
        striking = asyncio.create_task(strike())
        heard = asyncio.gather(*(speak(step) for step in speakers))
        answers = await asyncio.gather(*(victim.run(spoken, meeting) for victim in victims))
        for victim, told in zip(victims, answers, strict=True):
            assert told == ANSWERS[victim.model](victim.values), victim
        for each in await heard:
            assert each == calm
        await striking
    await house.until_accepting(pid)


@pytest.mark.parametrize("engines", [1, 2])
async def test_an_engine_is_killed_at_every_step(tmp_path: Path, engines: int) -> None:
    write_graph(tmp_path, slots=256)
    write_objects(tmp_path, slots=256)
    write_ensemble(tmp_path)
    write_numbers(tmp_path)
    seed = random.SystemRandom().randrange(10**9) if LONG else engines
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    async with ground(tmp_path, "--engines", str(engines)) as house:
        calm = await hear(house.addresses["websocket"], pieces_of(RECORDING))
        assert len(calm) > STEPS, "each step of the recogniser says something"
        before = await house.metrics()
        for number, steps in enumerate(ROUNDS):
            struck = f"engine-{number % engines}"
            await one_round(house, steps, struck, chance.uniform(0, 0.01), calm)
        after = await house.metrics()
        assert after.sum("streamgate_sequences_recovered_total") >= len(ROUNDS)
        for never in ("sequences_lost", "replay_mismatches", "sequences_quarantined"):
            assert after.sum(f"streamgate_{never}_total") == 0, never
        restarts = "streamgate_process_restarts_total"
        assert after.sum(restarts) - before.sum(restarts) == len(ROUNDS)
