"""Small ONNX graphs and model configurations for the tests of the ONNX Runtime backend."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from streamgate.backend.contract import LoadContext, ModelFiles
from streamgate.model.config import (
    ControlInput,
    DefaultScheduling,
    Instance,
    InstanceKind,
    ModelConfig,
    OldestStrategy,
    SequenceBatching,
    StateSpec,
)
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import TensorSpec

FLOAT = onnx.TensorProto.FLOAT
Dims = Sequence[int | str]

ONNX_TYPES = {
    DataType.BOOL: onnx.TensorProto.BOOL,
    DataType.UINT8: onnx.TensorProto.UINT8,
    DataType.UINT16: onnx.TensorProto.UINT16,
    DataType.UINT32: onnx.TensorProto.UINT32,
    DataType.UINT64: onnx.TensorProto.UINT64,
    DataType.INT8: onnx.TensorProto.INT8,
    DataType.INT16: onnx.TensorProto.INT16,
    DataType.INT32: onnx.TensorProto.INT32,
    DataType.INT64: onnx.TensorProto.INT64,
    DataType.FP16: onnx.TensorProto.FLOAT16,
    DataType.FP32: onnx.TensorProto.FLOAT,
    DataType.FP64: onnx.TensorProto.DOUBLE,
    DataType.BYTES: onnx.TensorProto.STRING,
    DataType.BF16: onnx.TensorProto.BFLOAT16,
}


def tensor(name: str, shape: Dims | None, datatype: DataType = DataType.FP32) -> Any:
    """A graph input or output. A shape of None leaves the rank unknown."""
    return helper.make_tensor_value_info(name, ONNX_TYPES[datatype], shape)


def save(
    files: ModelFiles,
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    initializers: Mapping[str, np.ndarray] | None = None,
    opset: int = 18,
) -> None:
    """Write the graph as the model file."""
    constants = [numpy_helper.from_array(v, k) for k, v in (initializers or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    files.path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, files.path)


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, outputs, **attributes)


def model_files(folder: Path, name: str = "m") -> ModelFiles:
    directory = folder / name
    return ModelFiles(name, "1", directory, directory / "1", directory / "1" / "model.onnx")


def spec(name: str, shape: Sequence[int], datatype: DataType = DataType.FP32) -> TensorSpec:
    return TensorSpec(name, datatype, tuple(shape))


def configure(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    max_batch_size: int = 8,
    states: Sequence[StateSpec] = (),
    controls: Sequence[ControlInput] = (),
    raw: Mapping[str, Any] | None = None,
    **others: Any,
) -> ModelConfig:
    """A complete configuration called `m`; one with states or controls is a sequence model."""
    sequences = SequenceBatching(OldestStrategy(max(max_batch_size, 1)), max(max_batch_size, 1))
    return ModelConfig(
        name="m",
        backend="onnxruntime",
        platform="",
        max_batch_size=max_batch_size,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        scheduling=sequences if states or controls else DefaultScheduling(),
        controls=tuple(controls),
        states=tuple(states),
        json=json.dumps(raw or {}),
        **others,
    )


def context(
    config: ModelConfig, files: ModelFiles, kind: InstanceKind = InstanceKind.CPU
) -> LoadContext:
    return LoadContext(config, files, Instance("m_0", kind))


def save_running_sum(files: ModelFiles, batch_axis: int = 0) -> None:
    """OUTPUT = total_out = total + INPUT, 4 wide; the state's batch dimension at `batch_axis`."""
    state: Dims = ["batch", 4] if batch_axis == 0 else [4, "batch"]
    if batch_axis == 0:
        nodes = [
            node("Add", ["INPUT", "total"], ["total_out"]),
            node("Identity", ["total_out"], ["OUTPUT"]),
        ]
    else:
        nodes = [
            node("Transpose", ["INPUT"], ["columns"], perm=[1, 0]),
            node("Add", ["columns", "total"], ["total_out"]),
            node("Transpose", ["total_out"], ["OUTPUT"], perm=[1, 0]),
        ]
    save(
        files,
        nodes,
        [tensor("INPUT", ["batch", 4]), tensor("total", state)],
        [tensor("OUTPUT", ["batch", 4]), tensor("total_out", state)],
    )


def running_sum(batch_axis: int = 0, **others: Any) -> ModelConfig:
    state = StateSpec("total", "total_out", DataType.FP32, (4,), batch_axis=batch_axis)
    return configure([spec("INPUT", [4])], [spec("OUTPUT", [4])], states=[state], **others)
