"""Steps of models with tensors that ONNX Runtime's Python interface can't take as numpy arrays.

Text travels as `str` there and as bytes here, scalars have no dimension, and bfloat16 has no
numpy type, so that such a model runs on `OrtValue`s (some 60 us more a step). Models without any
of these never come here.
"""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from streamgate.errors import BackendError, Code
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Shape
from streamgate_onnxruntime.graph import Graph

_ONNX_BFLOAT16 = 16  # TensorProto.DataType.BFLOAT16


class ConvertedRun:
    """Stands in for `InferenceSession.run` and converts what must be converted."""

    def __init__(self, session: Any, config: ModelConfig, graph: Graph) -> None:
        self._session = session
        takes = {**graph.inputs, **graph.defaults}
        self._text_inputs = _of_type(takes, DataType.BYTES)
        self._text_outputs = _of_type(graph.outputs, DataType.BYTES)
        self._scalar_inputs = _scalars(takes)
        outputs = {state.output_name: state.shape for state in config.states}
        outputs |= {spec.name: spec.model_shape for spec in config.outputs}
        self._scalar_outputs: dict[str, Shape] = {
            name: shape
            for name, shape in outputs.items()
            if not config.batches
            and not graph.outputs[name].shape
            and all(size == 1 for size in shape)
        }
        self._halves = _of_type(takes, DataType.BF16) | _of_type(graph.outputs, DataType.BF16)
        if self._halves and self._text_inputs:
            halves, texts = (
                ", ".join(sorted(names)) for names in (self._halves, self._text_inputs)
            )
            raise BackendError(
                f"model '{config.name}' has tensors of bfloat16 ({halves}) and takes strings "
                f"({texts}): ONNX Runtime's Python interface can't pass both",
                Code.UNSUPPORTED,
            )

    @property
    def needed(self) -> bool:
        """Whether this model has any tensor that must be converted."""
        return bool(
            self._text_inputs
            or self._text_outputs
            or self._scalar_inputs
            or self._scalar_outputs
            or self._halves
        )

    def run(self, names: Sequence[str], inputs: Mapping[str, Array], options: Any) -> list[Array]:
        """The named outputs, in order."""
        feed = {name: self._input(name, array) for name, array in inputs.items()}
        if self._halves:
            results = self._run_values(names, feed, options)
        else:
            results = self._session.run(names, feed, options)
        return [self._output(name, array) for name, array in zip(names, results, strict=False)]

    def _input(self, name: str, array: Array) -> Array:
        if name in self._scalar_inputs:
            array = np.asarray(array).reshape(())
        if name in self._text_inputs:
            return _decoded(name, array)
        return array

    def _output(self, name: str, array: Array) -> Array:
        if name in self._scalar_outputs and array.ndim == 0:
            array = array.reshape(self._scalar_outputs[name])
        if name in self._text_outputs:
            return _encoded(array)
        return array

    def _run_values(
        self, names: Sequence[str], feed: Mapping[str, Array], options: Any
    ) -> list[Array]:
        make = onnxruntime.OrtValue
        contiguous = {name: np.ascontiguousarray(array) for name, array in feed.items()}
        values = {
            name: make.ortvalue_from_numpy_with_onnx_type(array, _ONNX_BFLOAT16)
            if name in self._halves and array.dtype == np.uint16
            else make.ortvalue_from_numpy(array)
            for name, array in contiguous.items()
        }
        return [
            _bits(value) if name in self._halves else value.numpy()
            for name, value in zip(
                names, self._session.run_with_ort_values(names, values, options), strict=False
            )
        ]


def _of_type(tensors: Mapping[str, Any], datatype: DataType) -> frozenset[str]:
    return frozenset(name for name, tensor in tensors.items() if tensor.datatype is datatype)


def _scalars(tensors: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name, tensor in tensors.items() if not tensor.shape)


def _decoded(name: str, array: Array) -> Array:
    """BYTES as the `str` elements that ONNX Runtime takes, which are UTF-8 inside."""
    text = np.empty(array.shape, dtype=np.object_)
    try:
        text.ravel()[:] = [
            element if isinstance(element, str) else bytes(element).decode()
            for element in array.ravel()
        ]
    except UnicodeDecodeError as error:
        raise BackendError(
            f"input '{name}' holds bytes that are not UTF-8 ({error.reason} at byte "
            f"{error.start}), and an ONNX string tensor can't carry them",
            Code.INVALID_ARG,
        ) from error
    return text


def _encoded(array: Array) -> Array:
    elements = np.empty(array.shape, dtype=np.object_)
    elements.ravel()[:] = [str(element).encode() for element in array.ravel()]
    return elements


def _bits(value: Any) -> Array:
    """A bfloat16 value's raw bits, copied: the value's memory goes with the value."""
    shape = tuple(value.shape())
    count = int(np.prod(shape))
    if count == 0:
        return np.empty(shape, np.uint16)
    memory = (ctypes.c_uint16 * count).from_address(value.data_ptr())
    return np.array(memory, dtype=np.uint16).reshape(shape)
