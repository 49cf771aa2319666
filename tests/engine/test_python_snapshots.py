"""Snapshots of sequences of Python models: states, the model's own objects, and both."""

import asyncio
import logging
from pathlib import Path

import numpy as np
import pytest

from streamgate.engine.arena import schema_of
from streamgate.errors import Code, StreamGateError
from streamgate.model.config import Execution, Instance, InstanceKind, ModelConfig, StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.snapshot import Snapshot
from tests.engine.python_stage import open_model, sequence_config
from tests.engine.stage import Stage

STATE = StateSpec("S_IN", "S_OUT", DataType.FP32, (1,))

# OUT mixes a float state, an object that is kept by ID, or both, so that order and bits count.
MODEL = """
class TritonPythonModel:
    def initialize(self, args):
        self.kept = {}

    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        key, value = request.correlation_id(), value_of(request)
        kept = 1 if request.flags() & 1 else self.kept.get(key, 1)
        self.kept[key] = kept = (kept * 31 + int(value.item())) % 1000003
        state = value_of(request, "S_IN") * np.float32(1.1) + value.astype(np.float32)
        return answer(OUT=(state * 1000).astype(np.int32) + np.int32(kept), S_OUT=state)
"""
NO_STATES = MODEL.replace('value_of(request, "S_IN")', "np.float32(0)").replace(", S_OUT=state", "")
NO_OBJECTS = MODEL.replace("np.int32(kept)", "np.int32(0)").replace("self.kept[key] = ", "")
HOOKS = """
    def get_state(self, correlation_id):
        return str(self.kept[correlation_id]).encode()

    def set_state(self, correlation_id, state):
        self.kept[correlation_id] = int(state)
"""
KINDS = {
    "states": (NO_OBJECTS, (STATE,)),
    "objects": (NO_STATES + HOOKS, ()),
    "both": (MODEL + HOOKS, (STATE,)),
}


def one(value: int) -> dict[str, np.ndarray]:
    return {"IN": np.array([value], np.int32)}


async def run(stage: Stage, key: int, values: range, *, start: bool = False) -> list[int]:
    return [
        int((await stage.step(key, one(value), start=start and not index))["OUT"][0])
        for index, value in enumerate(values)
    ]


@pytest.mark.parametrize("execution", [Execution.THREAD, Execution.PROCESS])
@pytest.mark.parametrize("kind", list(KINDS))
async def test_a_sequence_goes_on_elsewhere_bit_for_bit(
    tmp_path: Path, kind: str, execution: Execution
) -> None:
    source, states = KINDS[kind]
    config = sequence_config(states=states, execution=execution)
    two = sequence_config(
        states=states,
        slots=1,
        instances=(Instance("m_0", InstanceKind.CPU), Instance("m_1", InstanceKind.CPU)),
    )
    async with open_model(tmp_path / "a", source, config) as here:
        await run(here, 1, range(5), start=True)
        snapshot = await here.runtime.places.snapshot(1, position=4)
        undisturbed = await run(here, 1, range(5, 12))
        # Another sequence of the same instance.
        await run(here, 2, range(50, 53), start=True)
        await here.runtime.places.restore(2, snapshot)
        assert await run(here, 2, range(5, 12)) == undisturbed
    # Another engine, and there an instance whose neighbour has a sequence, too.
    async with open_model(tmp_path / "b", source, two) as there:
        for key in (1, 2):
            await run(there, key, range(1), start=True)
        await there.runtime.places.restore(2, snapshot)
        assert await run(there, 2, range(5, 12)) == undisturbed
        assert await run(there, 1, range(5, 12)) != undisturbed
    assert snapshot.position == 4
    assert (snapshot.objects is None) == (kind == "states")
    assert snapshot.size_bytes == 4 * len(states) + len(snapshot.objects or b"")


async def refused(config: ModelConfig, folder: Path, source: str) -> StreamGateError:
    """How a snapshot of the model's sequence fails; the sequence goes on."""
    async with open_model(folder, source, config) as stage:
        await run(stage, 1, range(1), start=True)
        with pytest.raises(StreamGateError) as raised:
            await stage.runtime.places.snapshot(1, position=0)
        assert len(await run(stage, 1, range(2))) == 2  # it goes on
        return raised.value


async def test_objects_without_hooks_pin_a_sequence(tmp_path: Path) -> None:
    error = await refused(sequence_config(), tmp_path, NO_STATES)
    assert error.code is Code.UNSUPPORTED
    assert error.message == (
        "sequences of model 'm' can't be moved: it declares no states, so it keeps them in objects "
        "of its own, and has no get_state and set_state"
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("raise ValueError('broken')", "ValueError: broken\n\nAt:\n"),
        ("raise SystemExit(3)", "SystemExit: 3\n\nAt:\n"),
        ("return 'text'", "get_state must return bytes, found type '<class 'str'>'"),
        ("return None", "get_state must return bytes, found type '<class 'NoneType'>'"),
    ],
)
@pytest.mark.parametrize("execution", [Execution.THREAD, Execution.PROCESS])
async def test_a_get_state_that_fails(
    tmp_path: Path, body: str, text: str, execution: Execution
) -> None:
    source = NO_STATES + HOOKS.replace("return str(self.kept[correlation_id]).encode()", body)
    error = await refused(sequence_config(execution=execution), tmp_path, source)
    assert error.code is Code.INTERNAL
    assert error.message.startswith(f"get_state of model 'm' failed for sequence 1: {text}")


async def test_a_set_state_that_fails_leaves_the_states_alone(tmp_path: Path) -> None:
    source = MODEL + HOOKS.replace("= int(state)", "= int(state) // (correlation_id - 2)")
    async with open_model(tmp_path, source, sequence_config(states=(STATE,))) as stage:
        await run(stage, 1, range(5), start=True)
        await run(stage, 2, range(2), start=True)
        before = await stage.runtime.places.snapshot(2, position=1)
        snapshot = await stage.runtime.places.snapshot(1, position=4)
        with pytest.raises(StreamGateError, match=r"set_state of model 'm' failed .* ZeroDivision"):
            await stage.runtime.places.restore(2, snapshot)
        assert (await stage.runtime.places.snapshot(2, position=1)).states == before.states


async def test_a_hook_that_hangs_is_given_up(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    source = MODEL + HOOKS.replace(
        "        return str", f"        wait_for({str(gate)!r})\n        return str"
    )
    async with open_model(tmp_path, source, sequence_config(states=(STATE,))) as stage:
        for key in (1, 2):
            await run(stage, key, range(2), start=True)
        try:
            with pytest.raises(StreamGateError, match=r"did not answer within 0\.05 s") as raised:
                await stage.runtime.places.snapshot(1, position=1, timeout_seconds=0.05)
            # One that waited behind it, and was given up before its turn, is left undone.
            elsewhere = Snapshot(9, schema_of([STATE]), {"S_IN": np.ones(1, np.float32)}, b"9")
            with pytest.raises(StreamGateError, match="did not answer"):
                await stage.runtime.places.restore(1, elsewhere, timeout_seconds=0.05)
        finally:
            gate.touch()
        assert raised.value.code is Code.UNAVAILABLE
        assert await run(stage, 1, range(2)) == await run(stage, 2, range(2))


async def test_objects_are_refused_by_a_model_without_hooks(tmp_path: Path) -> None:
    async with open_model(tmp_path / "a", MODEL + HOOKS, sequence_config(states=(STATE,))) as here:
        await run(here, 1, range(2), start=True)
        snapshot = await here.runtime.places.snapshot(1, position=1)
    async with open_model(tmp_path / "b", MODEL, sequence_config(states=(STATE,))) as there:
        await run(there, 1, range(2), start=True)
        with pytest.raises(StreamGateError, match="no get_state and set_state") as raised:
            await there.runtime.places.restore(1, snapshot)
        assert raised.value.code is Code.INVALID_ARG


async def test_a_sequence_that_waits_for_its_first_step_shows_nobodys_state(
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    source = MODEL.replace(
        "        key, value",
        f"        if value_of(request).item() == 7:\n            wait_for({str(gate)!r})\n"
        "        key, value",
    )
    async with open_model(tmp_path, source, sequence_config(states=(STATE,), slots=2)) as stage:
        await run(stage, 1, range(3), start=True)
        busy = stage.send(1, one(7))
        await turns()
        waiting = stage.send(2, one(1), start=True)
        try:
            await turns()
            statistics = stage.runtime.statistics().sequences
            assert statistics is not None
            assert statistics.active == 2
            with pytest.raises(StreamGateError, match="no step of sequence 2") as raised:
                await stage.runtime.places.snapshot(2, position=0)
        finally:
            gate.touch()
        assert raised.value.code is Code.NOT_FOUND
        for answer in (busy, waiting):
            stage.outputs(await stage.answered(answer))


async def turns() -> None:
    """A few turns of the loop, in which what was sent is scheduled."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")
