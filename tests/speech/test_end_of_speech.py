"""The end-pointer for ensembles: events, the flush that it gives on, and silence within a step."""

import numpy as np
import pytest

from streamgate.engine.runtime import ModelRuntime
from tests.speech.demo_models import Sequence, demo_models

MODEL = "end_of_speech"
LOUD, QUIET = [0.9] * 5, [0.1] * 5
Told = tuple[bool, int, object]


async def told(sequence: Sequence, *chunks: list[float], flush: bool = False) -> list[Told]:
    """ENDED, SPEECH_EVENT and EVENT_TIME of each step; the client's own FLUSH goes with each."""
    found: list[Told] = []
    for chunk in chunks:
        (event,) = await sequence.step(PROBABILITIES=chunk, FLUSH=flush)
        assert event.error == ""
        assert event.outputs["SPEECH_PROBABILITY"].item() == np.float32(max(chunk))
        names = ("ENDED", "SPEECH_EVENT", "EVENT_TIME")
        ended, kind, at = (event.outputs[name].item() for name in names)
        found.append((ended, kind, pytest.approx(at, abs=1e-4)))
    return found


async def test_speech_begins_and_ends_after_600_ms_of_silence() -> None:
    async with demo_models(MODEL) as house:
        sequence = Sequence(house, MODEL)
        assert await told(sequence, QUIET, [0.1, 0.1, 0.9, 0.9, 0.9], LOUD) == [
            (False, 0, -1),
            (False, 1, 7 * 0.032),
            (False, 0, -1),
        ]
        # 19 parts of 32 ms end it; a word of one part in between begins them anew.
        quiet = [QUIET, QUIET, [0.1, 0.6, 0.1, 0.1, 0.1], QUIET, QUIET]
        assert await told(sequence, *quiet) == [(False, 0, -1)] * 5
        assert await told(sequence, QUIET, QUIET) == [(False, 0, -1), (True, 2, 27 * 0.032)]


async def test_an_end_and_a_beginning_in_one_step_are_told_one_after_the_other() -> None:
    async with demo_models(MODEL) as house:
        sequence = Sequence(house, MODEL)
        await told(sequence, LOUD, QUIET, QUIET, QUIET)
        assert await told(sequence, [0.1, 0.1, 0.1, 0.1, 0.9]) == [(True, 2, 5 * 0.032)]
        assert await told(sequence, LOUD) == [(False, 1, 24 * 0.032)]
        # With parts enough in a step, both lie in one.
        await told(sequence, QUIET, QUIET, QUIET)
        both = [0.1] * 4 + [0.9] * 3
        assert await told(sequence, both) == [(True, 2, 30 * 0.032)]
        assert await told(sequence, LOUD) == [(False, 1, 49 * 0.032)]


async def test_the_clients_own_flush_is_passed_on() -> None:
    async with demo_models(MODEL) as house:
        sequence = Sequence(house, MODEL)
        assert await told(sequence, LOUD, flush=True) == [(True, 1, 0)]
        assert await told(sequence, LOUD) == [(False, 0, -1)]


async def test_it_can_be_moved() -> None:
    async with demo_models(MODEL) as house:
        runtime = house.runtime(MODEL)
        assert isinstance(runtime, ModelRuntime)
        here, there = (Sequence(house, MODEL) for _ in range(2))
        await told(here, LOUD, QUIET, QUIET, QUIET)
        await told(there, QUIET)
        snapshot = await runtime.places.snapshot(here.key, position=3)
        await runtime.places.restore(there.key, snapshot)
        assert await told(there, QUIET) == await told(here, QUIET) == [(True, 2, 5 * 0.032)]
