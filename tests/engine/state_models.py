"""One stateful model in two forms, an ONNX graph and a model.py, and what it must answer.

For each state i the model reads `S<i>` and writes `N<i>`, which is S<i> with the step's X added to
each element, or appended along the axis that grows. `OUT<i>` shows the new state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamgate.backend.contract import Backend, ModelFiles
from streamgate.model.config import ModelConfig, StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, TensorSpec
from tests.backends.onnx_models import ONNX_TYPES, node, save, tensor
from tests.engine.python_stage import HEADER, sequence_config

SLOTS = 3
FLOATS = {DataType.FP16, DataType.FP32, DataType.FP64, DataType.BF16}


@dataclass(frozen=True)
class State:
    """One state of the model: its spec, what it begins with, and the axis of `dims` that grows."""

    spec: StateSpec
    begin: Array
    grows: int | None = None

    def after(self, before: Array, x: int) -> Array:
        """What the model makes of it."""
        if self.grows is not None:
            more = np.full_like(np.take(before, [0], self.grows), x)
            return np.concatenate([before, more], self.grows)
        match self.spec.datatype:
            case DataType.BYTES:
                texts: Array = before + np.array(str(x).encode(), dtype=object)
                return texts
            case DataType.BOOL:
                return (before.astype(np.int64) + x) > 0
            case DataType.BF16:
                wide = (before.astype(np.uint32) << 16).view(np.float32) + np.float32(x)
                return (wide.view(np.uint32) >> 16).astype(np.uint16)
        return (before.astype(np.float64) + x).astype(before.dtype)


def configure(
    states: Sequence[State],
    *,
    batches: bool = True,
    direct: bool = False,
    shown: bool = False,
    state_canary: bool = False,
) -> ModelConfig:
    """With `shown` the states are outputs as well."""
    inputs = [TensorSpec("X", DataType.INT64, (1,))]
    if _has_text(states):
        inputs.append(TensorSpec("T", DataType.BYTES, (1,)))
    outputs = [
        TensorSpec(f"OUT{i}", state.spec.datatype, state.spec.shape)
        for i, state in enumerate(states)
    ]
    if shown:
        outputs += [
            TensorSpec(state.spec.output_name, state.spec.datatype, state.spec.shape)
            for state in states
        ]
    return sequence_config(
        slots=SLOTS if batches else 1,
        max_batch_size=SLOTS if batches else 0,
        direct=direct,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        states=tuple(state.spec for state in states),
        state_canary=state_canary,
    )


def build(
    kind: str, folder: Path, states: Sequence[State], config: ModelConfig
) -> tuple[Backend, ModelFiles]:
    """Write the model of this kind (`onnx` or `python`)."""
    name = "model.onnx" if kind == "onnx" else "model.py"
    files = ModelFiles("m", "1", folder, folder / "1", folder / "1" / name)
    if kind == "onnx":
        from streamgate_onnxruntime import create

        _write_graph(files, states, batches=config.batches)
        return create(), files
    from streamgate_python import create as create_python

    files.path.parent.mkdir(parents=True)
    rows = [
        (state.spec.batch_axis if config.batches else None, state.grows, state.spec.datatype.value)
        for state in states
    ]
    files.path.write_text(HEADER + SOURCE.replace("STATES", repr(rows)))
    return create_python(), files


SOURCE = """
import ctypes

get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
get_pointer.restype = ctypes.c_void_p
get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def add_to_bfloat16(tensor, x):
    # As a library with bfloat16 would: in the tensor's own memory.
    capsule = tensor.to_dlpack()
    address = ctypes.c_void_p.from_address(get_pointer(capsule, b"dltensor")).value
    memory = (ctypes.c_uint16 * int(np.prod(tensor.shape()))).from_address(address)
    bits = np.ctypeslib.as_array(memory)
    wide = (bits.astype(np.uint32) << 16).view(np.float32) + np.float32(x)
    bits[:] = wide.view(np.uint32) >> 16


class TritonPythonModel:
    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        x, outputs = value_of(request, "X").ravel()[0], []
        for i, (axis, grows, datatype) in enumerate(STATES):
            if datatype == "BF16":
                tensor = pb_utils.get_input_tensor_by_name(request, f"S{i}")
                add_to_bfloat16(tensor, x)
                for name in (f"N{i}", f"OUT{i}"):
                    outputs.append(pb_utils.Tensor.from_dlpack(name, tensor))
                continue
            state = value_of(request, f"S{i}")
            if grows is not None:
                at = grows + (axis is not None and axis <= grows)
                new = np.concatenate([state, np.full_like(np.take(state, [0], at), x)], at)
            elif datatype == "BYTES":
                new = state + value_of(request, "T").ravel()[0]
            elif datatype == "BOOL":
                new = state.astype(np.int64) + x > 0
            else:
                new = (state.astype(np.float64) + x).astype(state.dtype)
            outputs.append(pb_utils.Tensor(f"N{i}", new))
            shown = new if axis is None else np.ascontiguousarray(np.moveaxis(new, axis, 0))
            outputs.append(pb_utils.Tensor(f"OUT{i}", shown))
        return pb_utils.InferenceResponse(outputs)
"""


def _write_graph(files: ModelFiles, states: Sequence[State], *, batches: bool) -> None:
    """The graph; its opset has no operators on text but for StringConcat."""
    lead: list[int | str] = ["batch"] if batches else []
    inputs = [tensor("X", [*lead, 1], DataType.INT64)]
    if _has_text(states):
        inputs.append(tensor("T", [*lead, 1], DataType.BYTES))
    outputs, nodes, constants = [], [], {}
    for i, state in enumerate(states):
        spec = state.spec
        rank = len(spec.shape)
        dims: list[int | str] = [f"d{i}_{j}" if d == -1 else d for j, d in enumerate(spec.shape)]
        grown = [f"g{i}_{j}" if d == -1 else d for j, d in enumerate(spec.shape)]
        axis = spec.batch_axis if batches else None
        full, shown, shape = list(dims), list(grown), [1] * rank
        full_out: list[int | str] = list(grown)
        if axis is not None:
            full.insert(axis, "batch")
            full_out.insert(axis, "batch")
            shown.insert(0, "batch")
            shape.insert(axis, -1)
        inputs.append(tensor(f"S{i}", full, spec.datatype))
        outputs += [
            tensor(f"N{i}", full_out, spec.datatype),
            tensor(f"OUT{i}", shown, spec.datatype),
        ]
        constants[f"shape{i}"] = np.array(shape, np.int64)
        nodes += [*_update(i, state, axis, constants), *_show(i, rank, axis)]
    save(files, nodes, inputs, outputs, constants, opset=20)


def _update(i: int, state: State, axis: int | None, constants: dict[str, Any]) -> list[Any]:
    """S<i> and X (as R<i>, in the state's rank) to N<i>."""
    source = "T" if state.spec.datatype is DataType.BYTES else "X"
    reshape = node("Reshape", [source, f"shape{i}"], [f"R{i}"])
    if source == "T":
        return [reshape, node("StringConcat", [f"S{i}", f"R{i}"], [f"N{i}"])]
    work = DataType.FP32 if state.spec.datatype in FLOATS else DataType.INT64
    work = DataType.FP64 if state.spec.datatype is DataType.FP64 else work
    nodes = [
        reshape,
        node("Cast", [f"R{i}"], [f"XW{i}"], to=_onnx(work)),
        node("Cast", [f"S{i}"], [f"SW{i}"], to=_onnx(work)),
    ]
    if state.grows is None:
        nodes.append(node("Add", [f"SW{i}", f"XW{i}"], [f"NW{i}"]))
    else:
        at = state.grows + (axis is not None and axis <= state.grows)
        constants[f"zero{i}"] = np.zeros(1, np.int64)
        constants[f"one{i}"] = np.ones(1, np.int64)
        constants[f"at{i}"] = np.array([at], np.int64)
        constants[f"nil{i}"] = np.zeros(1, work.dtype)
        first = [f"SW{i}", f"zero{i}", f"one{i}", f"at{i}"]
        nodes += [
            node("Slice", first, [f"F{i}"]),
            node("Mul", [f"F{i}", f"nil{i}"], [f"Z{i}"]),
            node("Add", [f"Z{i}", f"XW{i}"], [f"A{i}"]),
            node("Concat", [f"SW{i}", f"A{i}"], [f"NW{i}"], axis=at),
        ]
    return [*nodes, node("Cast", [f"NW{i}"], [f"N{i}"], to=_onnx(state.spec.datatype))]


def _show(i: int, rank: int, axis: int | None) -> list[Any]:
    """N<i> with the batch dimension first."""
    if not axis:
        return [node("Identity", [f"N{i}"], [f"OUT{i}"])]
    order = [axis, *(at for at in range(rank + 1) if at != axis)]
    return [node("Transpose", [f"N{i}"], [f"OUT{i}"], perm=order)]


def _onnx(datatype: DataType) -> int:
    return int(ONNX_TYPES[datatype])


def _has_text(states: Sequence[State]) -> bool:
    return any(state.spec.datatype is DataType.BYTES for state in states)
