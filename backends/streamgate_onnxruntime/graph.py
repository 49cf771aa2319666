"""What an ONNX graph says about its tensors, read from a loaded ONNX Runtime session."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Shape

_ELEMENTS = {
    "bool": DataType.BOOL,
    "uint8": DataType.UINT8,
    "uint16": DataType.UINT16,
    "uint32": DataType.UINT32,
    "uint64": DataType.UINT64,
    "int8": DataType.INT8,
    "int16": DataType.INT16,
    "int32": DataType.INT32,
    "int64": DataType.INT64,
    "float16": DataType.FP16,
    "float": DataType.FP32,
    "double": DataType.FP64,
    "string": DataType.BYTES,
    "bfloat16": DataType.BF16,
}


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """One input or output of the graph.

    `datatype` is None when no KServe type can carry it (`type_name` is ONNX Runtime's word for
    it). -1 in `shape` is a symbolic dimension. ONNX Runtime tells a scalar and a tensor of
    unknown rank by the same empty shape.
    """

    name: str
    datatype: DataType | None
    type_name: str
    shape: Shape

    @property
    def type_text(self) -> str:
        return self.type_name if self.datatype is None else self.datatype.value


@dataclass(frozen=True, slots=True)
class Graph:
    """The tensors of a graph by name. `defaults` are inputs that may be left out."""

    inputs: Mapping[str, GraphTensor]
    defaults: Mapping[str, GraphTensor]
    outputs: Mapping[str, GraphTensor]


def read_graph(session: Any) -> Graph:
    """The graph of an `onnxruntime.InferenceSession`."""
    return Graph(
        inputs=_tensors(session.get_inputs()),
        defaults=_tensors(session.get_overridable_initializers()),
        outputs=_tensors(session.get_outputs()),
    )


def shape_text(shape: Iterable[int]) -> str:
    """A shape as Triton writes it: `[-1,4]`."""
    return f"[{','.join(map(str, shape))}]"


def _tensors(nodes: Iterable[Any]) -> dict[str, GraphTensor]:
    return {node.name: _tensor(node) for node in nodes}


def _tensor(node: Any) -> GraphTensor:
    element = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return GraphTensor(node.name, _ELEMENTS.get(element), node.type, shape)
