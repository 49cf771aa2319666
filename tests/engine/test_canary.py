"""The canary: what it notices, whom it stops, and that it leaves the others alone."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate.backend.contract import Backend, ModelFiles
from streamgate.core.ids import InstanceIndex
from streamgate.engine.arena import Arena
from streamgate.engine.canary import poison_like
from streamgate.engine.rows import SCRATCH
from streamgate.errors import Code, EndReason, StreamGateError
from streamgate.model.config import ModelConfig, StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, TensorSpec
from streamgate_onnxruntime import create as create_onnx
from streamgate_python import create
from tests.backends.onnx_models import model_files, node, save, tensor
from tests.engine.python_stage import HEADER, sequence_config
from tests.engine.stage import Stage, open_stage

FP32 = DataType.FP32
STATE = StateSpec("S", "N", FP32, (2,))
TEXT = StateSpec("T", "U", DataType.BYTES, (-1,))


def watched() -> Arena:
    return Arena([STATE, TEXT], 3, batches=True, watched_as="m_0")


def write(arena: Arena, slot: int, value: float) -> None:
    """As a mistake would: past the canary."""
    arena._states["S"].write(slot, np.full(2, value, np.float32))


def keep(arena: Arena, slot: int, value: float) -> None:
    """As a step does."""
    arena.scatter([slot], [0], arena.check({"N": np.full((1, 2), value, np.float32)}, 1))


def test_poison_is_easy_to_recognise() -> None:
    arena = watched()
    arena.begin(1)
    keep(arena, 1, 5)
    arena.leave(1)
    row = arena.read(1)
    assert np.isnan(row["S"]).all()
    assert row["T"].tolist() == [b"\xa5 a freed row of state"]
    assert poison_like(np.zeros(1, np.int16)).view(np.uint8).tolist() == [0xA5, 0xA5]
    assert poison_like(np.zeros(1, np.bool_)).tolist() == [True]


def test_all_that_is_right_is_silent() -> None:
    arena = watched()
    for value in range(3):
        arena.begin(1)
        keep(arena, 1, value)
        arena.write(1, arena.read(1))
        assert arena.spoiled([1, SCRATCH]) == set()
        arena.leave(1)
    assert arena.violations == 0


def test_a_free_row_that_was_written_to(caplog: pytest.LogCaptureFixture) -> None:
    arena = watched()
    arena.begin(1)
    arena.leave(1)
    write(arena, 1, 7)
    arena.begin(1)
    assert arena.violations == 1
    assert caplog.messages == [
        "state canary of model instance 'm_0': slot 1 was free, and was written to"
    ]
    # The sequence that takes it gets a fresh one all the same.
    assert arena.spoiled([1]) == set()
    assert arena.gather([1])["S"].tolist() == [[0, 0]]


def test_a_free_row_that_is_read() -> None:
    arena = watched()
    assert arena.spoiled([0]) == {0}
    assert arena.violations == 1


def test_a_live_row_that_was_written_to_by_another() -> None:
    arena = watched()
    for slot in (0, 1):
        arena.begin(slot)
    write(arena, 1, 7)
    assert arena.spoiled([0, 1]) == {1}
    assert arena.violations == 1


def test_a_scratch_row_that_was_written_to_is_wiped() -> None:
    arena = watched()
    write(arena, SCRATCH, 7)
    assert arena.spoiled([SCRATCH]) == set()
    assert arena.violations == 1
    assert arena.gather([SCRATCH])["S"].tolist() == [[0, 0]]
    assert arena.spoiled([SCRATCH]) == set()
    assert arena.violations == 1


MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            new = value_of(request, "S") + value_of(request)
            responses.append(answer(OUT=new, N=new))
        return responses
"""


def build(kind: str, folder: Path, direct: bool) -> tuple[Backend, ModelConfig, ModelFiles]:
    config = sequence_config(
        inputs=(TensorSpec("IN", FP32, (2,)),),
        outputs=(TensorSpec("OUT", FP32, (2,)),),
        states=(STATE,),
        direct=direct,
        state_canary=True,
    )
    if kind == "onnx":
        files = model_files(folder)
        save(
            files,
            [node("Add", ["S", "IN"], ["N"]), node("Identity", ["N"], ["OUT"])],
            [tensor("IN", ["b", 2]), tensor("S", ["b", 2])],
            [tensor("OUT", ["b", 2]), tensor("N", ["b", 2])],
        )
        return create_onnx(), config, files
    files = ModelFiles("m", "1", folder, folder / "1", folder / "1" / "model.py")
    files.path.parent.mkdir()
    files.path.write_text(HEADER + MODEL)
    return create(), config, files


def arena_of(stage: Stage) -> Any:
    return stage.runtime._instances._units[InstanceIndex(0)].stepper._arena


def one(value: float) -> dict[str, Array]:
    return {"IN": np.full(2, value, np.float32)}


async def sums(stage: Stage, key: int, value: float, *, start: bool = False) -> float:
    return float((await stage.step(key, one(value), start=start))["OUT"][0])


@pytest.mark.parametrize("kind", ["onnx", "python"])
@pytest.mark.parametrize("direct", [False, True])
async def test_a_spoiled_sequence_ends_and_its_neighbours_go_on(
    tmp_path: Path, kind: str, direct: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_stage(*build(kind, tmp_path, direct)) as stage:
        for key in (1, 2, 3):
            assert await sums(stage, key, key, start=True) == key
        with caplog.at_level(logging.ERROR):
            write(arena_of(stage), 1, 666)
            answers = [stage.send(key, one(10)) for key in (1, 2, 3)]
            responses = [await stage.answered(answer) for answer in answers]
        assert "slot 1 was a live sequence's, and was written to by another" in caplog.text
        failure = responses[1].failure
        assert failure is not None
        assert failure.code is Code.INTERNAL
        assert failure.message == (
            "the state of sequence 2 was overwritten by something else, so the sequence ends"
        )
        found = [float(stage.outputs(responses[i])["OUT"][0]) for i in (0, 2)]
        assert found == [11, 13]
        assert await stage.first_end() == (2, EndReason.ERROR)
        assert stage.runtime.statistics().instances.violations == 1
        # Its slot is good for another.
        assert await sums(stage, 4, 1, start=True) == 1
        assert await sums(stage, 1, 1) == 12


@pytest.mark.parametrize("kind", ["onnx", "python"])
async def test_a_step_with_no_other_row_does_not_run(tmp_path: Path, kind: str) -> None:
    async with open_stage(*build(kind, tmp_path, True)) as stage:
        await sums(stage, 1, 5, start=True)
        write(arena_of(stage), 0, 666)
        with pytest.raises(StreamGateError, match="state of sequence 1 was overwritten"):
            await stage.runtime.places.snapshot(1, 0)
        assert (await stage.answered(stage.send(1, one(1)))).failure is not None
        assert await stage.first_end() == (1, EndReason.ERROR)
        assert await sums(stage, 2, 1, start=True) == 1


@pytest.mark.parametrize("kind", ["onnx", "python"])
async def test_ended_sequences_leave_poison(tmp_path: Path, kind: str) -> None:
    async with open_stage(*build(kind, tmp_path, False)) as stage:
        await stage.step(1, one(5), start=True, end=True)
        await sums(stage, 2, 1, start=True)
        gone = stage.connect()
        await stage.answered(stage.send(3, one(1), start=True, connection=gone))
        gone.close(abort=True)
        assert await sums(stage, 2, 1) == 2
        rows = [arena_of(stage).read(slot)["S"] for slot in range(2)]
        assert [bool(np.isnan(row).all()) for row in rows] == [False, True]
