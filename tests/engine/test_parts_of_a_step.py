"""States of different shapes can't share a batch: a step runs in parts, and nobody notices."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate.backend.contract import LoadContext, ModelFiles, TensorStep
from streamgate.model.config import ControlInput, ControlKind, StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, TensorSpec
from tests.engine.python_stage import sequence_config
from tests.engine.stage import Answer, Stage, open_stage

INT32 = DataType.INT32
STATE = StateSpec("S", "N", INT32, (-1,))
CONTROLS = (
    ControlInput("READY", ControlKind.READY, INT32),
    ControlInput("ID", ControlKind.CORRID, DataType.UINT64),
)
SETTINGS: dict[str, Any] = {"controls": CONTROLS, "states": (STATE,), "slots": 4}


@dataclass
class Appender:
    """Appends IN to the state. A batch in which the states are 3 long fails."""

    batches: list[tuple[list[int], list[int], list[list[int]]]] = field(default_factory=list)
    """READY, ID and state by row."""

    def run(self, step: TensorStep) -> Mapping[str, Array]:
        inputs = step.inputs
        state = inputs["S"]
        ready, ids = inputs["READY"].ravel().tolist(), inputs["ID"].ravel().tolist()
        self.batches.append((ready, ids, state.tolist()))
        if state.shape[1] == 3:
            raise ValueError("three")
        return {"N": np.concatenate([state, inputs["IN"]], axis=1), "OUT": inputs["IN"] + 100}

    def close(self) -> None:
        """Nothing to free."""


@dataclass
class AppenderBackend:
    session: Appender
    default_model_filename: str = "appender"

    def auto_complete(self, config: dict[str, object], files: ModelFiles) -> dict[str, object]:
        return config

    def load(self, context: LoadContext) -> Appender:
        return self.session


def one(value: int) -> dict[str, Array]:
    return {"IN": np.array([value], np.int32)}


async def prepare(stage: Stage, appender: Appender) -> None:
    """Sequences 1 to 4 in slots 0 to 3, with states of 2, 3, 2 and 4 elements before the step."""
    for key, steps in ((1, 1), (2, 2), (3, 1), (4, 3)):
        for step in range(steps):
            # A state that is 3 long can't be stepped on: it is put there.
            if step == 2:
                snapshot = await stage.runtime.places.snapshot(key, 0)
                longer = np.array([0, 1, 1, 1], np.int32)
                snapshot = type(snapshot)(0, snapshot.schema, {"S": longer})
                await stage.runtime.places.restore(key, snapshot)
            else:
                await stage.step(key, one(1), start=step == 0)
    appender.batches.clear()


async def step_all(stage: Stage) -> tuple[list[int], dict[int, int | str]]:
    """One step with all four: in which order they are answered, and what."""
    order: list[int] = []
    answers: dict[int, Answer] = {}

    def note(key: int, _: Answer) -> None:
        order.append(key)

    for key in (1, 2, 3, 4):
        answers[key] = answer = stage.send(key, one(key))
        answer.add_done_callback(partial(note, key))
    found: dict[int, int | str] = {}
    for key, answer in answers.items():
        response = await stage.answered(answer)
        found[key] = (
            response.failure.message
            if response.failure is not None
            else int(stage.outputs(response)["OUT"][0])
        )
    await asyncio.sleep(0)
    return order, found


@pytest.mark.parametrize("direct", [False, True])
async def test_each_part_is_as_a_step_of_its_own(direct: bool) -> None:
    appender = Appender()
    config = sequence_config(direct=direct, inputs=(TensorSpec("IN", INT32, (1,)),), **SETTINGS)
    files = ModelFiles("m", "1", Path(), Path(), Path())
    async with open_stage(AppenderBackend(appender), config, files) as stage:
        await prepare(stage, appender)
        before = stage.runtime.statistics()
        order, found = await step_all(stage)
        after = stage.runtime.statistics()
        if direct:
            assert appender.batches == [
                ([1, 0, 1], [1, 0, 3], [[0, 1], [0, 0], [0, 1]]),
                ([0, 1], [0, 2], [[0, 0, 0], [0, 1, 1]]),
                ([0, 0, 0, 1], [0, 0, 0, 4], [[0] * 4, [0] * 4, [0] * 4, [0, 1, 1, 1]]),
            ]
        else:
            assert appender.batches == [
                ([1, 1], [1, 3], [[0, 1], [0, 1]]),
                ([1], [2], [[0, 1, 1]]),
                ([1], [4], [[0, 1, 1, 1]]),
            ]
        # The part that failed did so alone, and everybody's answer left in the order of the rows.
        assert found == {1: 101, 2: "ValueError: three", 3: 103, 4: 104}
        assert order == [1, 2, 3, 4]
        assert after.execution_count == before.execution_count + 1
        assert after.inference_count == before.inference_count + 3
        lengths = {}
        for key in found:
            lengths[key] = len((await stage.runtime.places.snapshot(key, 0)).states["S"])
        assert lengths == {1: 3, 2: 3, 3: 3, 4: 5}
