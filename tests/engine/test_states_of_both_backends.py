"""Implicit state in full, for ONNX Runtime and for Python models: one table, one numpy loop.

Three sequences step side by side, begin one after the other, so that states that grow differ in
shape within a step, end, and are followed by others in their slots.
"""

import asyncio
import dataclasses
import struct
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import numpy as np
import pytest

from streamgate.backend.contract import Backend, ModelFiles
from streamgate.model.config import Execution, ModelConfig, StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, TensorSpec
from streamgate_onnxruntime import create as create_onnx
from tests.backends.onnx_models import model_files, node, save, tensor
from tests.engine.python_stage import open_model, sequence_config
from tests.engine.stage import Stage, open_stage
from tests.engine.state_models import State, build, configure

STEPS = 4
KINDS = ["onnx", "python"]


def numbers(datatype: DataType, shape: tuple[int, ...] = (2,), axis: int = 0, i: int = 0) -> State:
    spec = StateSpec(f"S{i}", f"N{i}", datatype, shape, batch_axis=axis)
    return State(spec, np.zeros([1 if size == -1 else size for size in shape], datatype.dtype))


def filled(state: State, value: float, begin: float | None = None) -> State:
    spec = dataclasses.replace(state.spec, initial_value=value)
    return State(spec, np.full_like(state.begin, value if begin is None else begin), state.grows)


def from_file(state: State, begin: Array) -> State:
    data = begin.tobytes()
    if begin.dtype == np.object_:
        data = b"".join(struct.pack("<I", len(text)) + text for text in begin.ravel())
    spec = dataclasses.replace(state.spec, initial_bytes=data, initial_shape=begin.shape)
    return State(spec, begin, state.grows)


def texts(*values: bytes) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def text_state(shape: tuple[int, ...] = (2,), i: int = 0) -> State:
    spec = StateSpec(f"S{i}", f"N{i}", DataType.BYTES, shape)
    return State(spec, np.full(shape, b"", dtype=object))


def growing(
    shape: tuple[int, ...], at: int, axis: int = 0, i: int = 0, datatype: DataType = DataType.FP32
) -> State:
    state = numbers(datatype, shape, axis, i)
    spec = dataclasses.replace(state.spec, same_buffer=True, growable=True)
    return State(spec, state.begin, at)


TYPES = [DataType.BOOL, DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64]
TYPES += [DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64]
TYPES += [DataType.FP16, DataType.FP32, DataType.FP64, DataType.BF16]
TABLE: dict[str, Sequence[State]] = {
    **{datatype.value: [numbers(datatype)] for datatype in TYPES},
    "one number": [numbers(DataType.INT64, ())],
    "one number beside others": [numbers(DataType.INT64, (), i=0), numbers(DataType.FP32, i=1)],
    "one number from a file": [from_file(numbers(DataType.FP32, ()), np.array(2.5, np.float32))],
    "text": [text_state()],
    "text from a file": [from_file(text_state(), texts("ä".encode(), b""))],
    "numbers from a file": [from_file(numbers(DataType.FP32), np.array([3, -4], np.float32))],
    "a file for an open shape": [
        from_file(growing((-1, 2), 0), np.arange(6, dtype=np.float32).reshape(3, 2))
    ],
    "filled": [filled(numbers(DataType.INT32), -7)],
    "filled halves": [filled(numbers(DataType.FP16), 1.5)],
    "filled bfloat16": [filled(numbers(DataType.BF16), 2.0, begin=0x4000)],
    "same buffer": [
        State(
            dataclasses.replace(numbers(DataType.FP32).spec, same_buffer=True),
            np.zeros(2, np.float32),
        )
    ],
    "batch axis 1": [numbers(DataType.FP32, (2, 3), axis=1)],
    "batch axis last": [numbers(DataType.FP32, (2, 3), axis=2)],
    "growing": [growing((-1,), 0)],
    "growing in the middle": [growing((2, -1, 3), 1)],
    "growing at batch axis 1": [growing((2, -1), 1, axis=1)],
    "growing before the batch axis": [growing((-1, 2), 0, axis=1)],
    "growing numbers of INT64": [growing((-1,), 0, datatype=DataType.INT64)],
    "several": [
        numbers(DataType.INT64, (1,)),
        growing((-1, 2), 0, i=1),
        filled(numbers(DataType.FP32, (2, 2), axis=1, i=2), 0.5),
        text_state((1,), i=3),
    ],
}


def with_files(
    kind: str, folder: Path, states: Sequence[State], config: ModelConfig
) -> tuple[Backend, ModelConfig, ModelFiles]:
    backend, files = build(kind, folder, states, config)
    return backend, config, files


async def check(stage: Stage, states: Sequence[State], key: int, values: Sequence[int]) -> None:
    """Step a sequence through the engine and beside it through numpy."""
    rows = [state.begin for state in states]
    shown = [spec.name for spec in stage.config.outputs if spec.name.startswith("N")]
    for index, x in enumerate(values):
        rows = [state.after(row, x) for state, row in zip(states, rows, strict=True)]
        values_by_name = {"X": np.array([x], np.int64), "T": texts(str(x).encode())}
        inputs = {spec.name: values_by_name[spec.name] for spec in stage.config.inputs}
        answer = stage.send(key, inputs, start=index == 0, end=index == len(values) - 1)
        outputs = stage.outputs(await stage.answered(answer))
        for i, row in enumerate(rows):
            np.testing.assert_array_equal(outputs[f"OUT{i}"], row, strict=True)
            if shown:
                np.testing.assert_array_equal(outputs[f"N{i}"], row, strict=True)


async def run_side_by_side(stage: Stage, states: Sequence[State]) -> None:
    async def lane(lane: int) -> None:
        for lap in range(2):
            key = 10 * lap + lane + 1
            await check(stage, states, key, [key + step for step in range(STEPS + lane)])

    lanes = stage.config.max_batch_size or 1
    async with asyncio.timeout(30):
        await asyncio.gather(*(lane(index) for index in range(lanes)))
    statistics = stage.runtime.statistics()
    assert statistics.success.count == sum(2 * (STEPS + index) for index in range(lanes))
    assert statistics.inference_count == statistics.success.count
    if lanes > 1:
        assert statistics.execution_count < statistics.inference_count, "nothing was batched"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(TABLE))
async def test_as_a_numpy_loop(tmp_path: Path, kind: str, name: str) -> None:
    states = TABLE[name]
    config = configure(states)
    async with open_stage(*with_files(kind, tmp_path, states, config)) as stage:
        await run_side_by_side(stage, states)


@pytest.mark.parametrize("name", ["BF16", "text", "several"])
async def test_in_a_process_of_its_own(tmp_path: Path, name: str) -> None:
    states = TABLE[name]
    config = dataclasses.replace(configure(states, shown=True), execution=Execution.PROCESS)
    async with open_stage(*with_files("python", tmp_path, states, config)) as stage:
        await run_side_by_side(stage, states)


MANY = ["FP32", "text", "batch axis 1", "growing in the middle", "several"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("name", MANY)
async def test_under_the_direct_strategy(tmp_path: Path, kind: str, name: str, shown: bool) -> None:
    states = TABLE[name]
    config = configure(states, direct=True, shown=shown)
    async with open_stage(*with_files(kind, tmp_path, states, config)) as stage:
        await run_side_by_side(stage, states)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("name", MANY)
async def test_the_canary_is_silent(tmp_path: Path, kind: str, name: str, direct: bool) -> None:
    states = TABLE[name]
    config = configure(states, direct=direct, state_canary=True)
    async with open_stage(*with_files(kind, tmp_path, states, config)) as stage:
        await run_side_by_side(stage, states)
        assert stage.runtime.statistics().instances.violations == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MANY)
async def test_without_batching(tmp_path: Path, kind: str, name: str) -> None:
    states = TABLE[name]
    config = configure(states, batches=False, shown=True)
    async with open_stage(*with_files(kind, tmp_path, states, config)) as stage:
        await run_side_by_side(stage, states)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_state_that_begins_with_nothing(tmp_path: Path, kind: str) -> None:
    spec = StateSpec("S", "N", DataType.FP32, (-1, 2), initial_shape=(0, 2))
    config = sequence_config(
        inputs=(TensorSpec("IN", DataType.FP32, (1, 2)),),
        outputs=(TensorSpec("OUT", DataType.FP32, (-1, 2)),),
        states=(spec,),
        state_canary=True,
        direct=True,
    )
    files = model_files(tmp_path)
    if kind == "onnx":
        save(
            files,
            [node("Concat", ["S", "IN"], ["N"], axis=1), node("Identity", ["N"], ["OUT"])],
            [tensor("S", ["b", "n", 2]), tensor("IN", ["b", 1, 2])],
            [tensor("N", ["b", "m", 2]), tensor("OUT", ["b", "k", 2])],
        )
        opened: AbstractAsyncContextManager[Stage] = open_stage(create_onnx(), config, files)
    else:
        opened = open_model(tmp_path, CONCAT, config)
    async with opened as stage:
        for key in (1, 2, 1, 2, 2):
            for step in range(3):
                row = np.full((1, 2), step, np.float32)
                outputs = await stage.step(key, {"IN": row}, start=step == 0)
                np.testing.assert_array_equal(outputs["OUT"], [[i, i] for i in range(step + 1)])
        assert stage.runtime.statistics().instances.violations == 0


CONCAT = """
class TritonPythonModel:
    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        new = np.concatenate([value_of(request, "S"), value_of(request)], axis=1)
        return answer(OUT=new, N=new)
"""
