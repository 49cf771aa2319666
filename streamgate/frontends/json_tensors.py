"""Tensors in JSON: `{"name", "datatype", "shape", "data"}`, as KServe v2 over HTTP writes them.

Pure functions between parsed JSON and tensors, shared by every dialect that speaks JSON. Values
are converted in bulk by numpy. All texts are Triton's (2.51): what is wrong with the structure of
the JSON is INTERNAL there, what is wrong with its meaning INVALID_ARG.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final

import numpy as np

from streamgate.errors import Code, StreamGateError
from streamgate.model.datatypes import DataType, from_wire
from streamgate.model.tensor import Array, Shape, Tensor

DATA_SOURCES: Final = (
    "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
    "'shared_memory_region' in 'parameters'. But "
)
_SIGNED: Final = frozenset({DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64})
_UNSIGNED: Final = frozenset({DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64})
_NO_JSON_FORM: Final = frozenset({DataType.FP16, DataType.BF16})
_FLOATS: Final = frozenset({DataType.FP32, DataType.FP64})
_NUMBERS: Final = frozenset({int, float})


def tensor_from_json(entry: object) -> Tensor:
    """The tensor that a JSON object describes; its data may be nested in any way or flat.

    Raises StreamGateError: INTERNAL for fields that are missing or of a wrong JSON type, and for
    a wrong number of elements; INVALID_ARG for a datatype that is unknown or has no JSON form.
    """
    if not isinstance(entry, Mapping) or "data" not in entry:
        raise StreamGateError(Code.INVALID_ARG, f"{DATA_SOURCES}no field is set")
    name, datatype, shape = tensor_head(entry)
    if datatype is None:
        raise StreamGateError(Code.INVALID_ARG, f"invalid datatype for input {name}")
    elements = elements_from_json(entry["data"], datatype, name)
    if not shape and len(elements) != 1:
        # No count to hold the data against: whether there may be no shape is the session's to say.
        return Tensor(name, datatype, shape, array=elements)
    if len(elements) != math.prod(shape):
        raise _unparsable("data", "Shape does not match true shape of 'data' field")
    try:
        return Tensor(name, datatype, shape, array=elements.reshape(shape))
    except (ValueError, OverflowError) as error:  # more dimensions than numpy has, or larger ones
        raise StreamGateError(
            Code.INVALID_ARG, f"tensor '{name}' contains an invalid dimension: {error}"
        ) from None


def tensor_head(entry: Mapping[str, Any]) -> tuple[str, DataType | None, Shape]:
    """A tensor's name, type (None for a word that is no type) and shape.

    Raises StreamGateError (INTERNAL) for a field that is missing or of a wrong JSON type.
    """
    name = _text_member(entry, "name")
    datatype = from_wire(_text_member(entry, "datatype"))
    shape = _member(entry, "shape")
    if not isinstance(shape, list):
        raise _unparsable("shape", "attempt to access JSON non-array as array")
    for size in shape:
        if type(size) is not int or not 0 <= size < 2**64:
            raise _unparsable(
                "shape", "attempt to access JSON non-unsigned-integer as unsigned-integer"
            )
    return name, datatype, tuple(shape)


def elements_from_json(data: object, datatype: DataType, name: str) -> Array:
    """The elements of an array, however nested, as a flat numpy array of the type.

    Integers that are too large for a small type lose their high bits, numbers beyond FP32 become
    infinite, as in Triton. `name` is for the error texts. Raises StreamGateError: INTERNAL for an
    element of a wrong JSON type, INVALID_ARG for FP16 and BF16.
    """
    if datatype in _NO_JSON_FORM:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"receiving {datatype.value} data via JSON is not supported. Please use the binary "
            f"data format for input {name}",
        )
    if not isinstance(data, list):
        raise _unparsable("data", "attempt to access JSON non-array as array")
    elements, kinds = _flattened(data)
    if datatype is DataType.BYTES:
        return _texts(elements, kinds)
    if datatype is DataType.BOOL:
        if not kinds <= {bool}:
            raise _unparsable("data", "attempt to access JSON non-boolean as boolean")
        return np.array(elements, np.bool_)
    if datatype in _SIGNED:
        return _integers(elements, kinds, datatype, np.int64, "signed-integer")
    if datatype in _UNSIGNED:
        return _integers(elements, kinds, datatype, np.uint64, "unsigned-integer")
    try:
        if not kinds <= _NUMBERS:
            raise TypeError
        with np.errstate(over="ignore"):
            return np.array(elements, np.float64).astype(datatype.dtype, copy=False)
    except (TypeError, OverflowError):
        raise _unparsable("data", "attempt to access JSON non-number as double") from None


def data_to_json(tensor: Tensor) -> list[Any]:
    r"""The tensor's elements as a flat list for `json.dumps`.

    FP32 values become doubles (0.1 is written as 0.10000000149011612), NaN and infinities stay
    floats, which `json` writes as the literals `NaN` and `Infinity`, as Triton does. BYTES
    elements are text; bytes that are no UTF-8 are written as `\xff`. Raises StreamGateError
    (INVALID_ARG) for FP16 and BF16, which have no JSON form.
    """
    if tensor.datatype in _NO_JSON_FORM:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"sending {tensor.datatype.value} data via JSON is not supported. Please use the "
            "binary data format for output",
        )
    elements: list[Any] = tensor.array.ravel().tolist()
    if tensor.datatype is DataType.BYTES:
        return [_text(element) for element in elements]
    return elements


def has_infinity(tensor: Tensor) -> bool:
    """Whether an element of an FP32 or FP64 tensor is infinite."""
    return tensor.datatype in _FLOATS and bool(np.isinf(tensor.array).any())


def _flattened(data: list[Any]) -> tuple[list[Any], set[type]]:
    """The innermost elements in order, and the types that occur among them."""
    kinds = set(map(type, data))
    while list in kinds:
        if len(kinds) == 1:
            data = list(chain.from_iterable(data))
        else:
            data = list(chain.from_iterable(_as_list(element) for element in data))
        kinds = set(map(type, data))
    return data, kinds


def _as_list(element: object) -> Iterable[object]:
    return element if isinstance(element, list) else (element,)


def _integers(
    elements: list[Any], kinds: set[type], datatype: DataType, widest: type[Any], word: str
) -> Array:
    try:
        if not kinds <= {int}:
            raise TypeError
        return np.array(elements, widest).astype(datatype.dtype, copy=False)
    except (TypeError, OverflowError):
        raise _unparsable("data", f"attempt to access JSON non-{word} as {word}") from None


def _texts(elements: list[Any], kinds: set[type]) -> Array:
    if not kinds <= {str}:
        raise StreamGateError(
            Code.INTERNAL,
            "Unable to parse JSON bytes array: attempt to access JSON non-string as string",
        )
    texts = np.empty(len(elements), np.object_)
    try:
        texts[:] = [element.encode() for element in elements]
    except UnicodeEncodeError:
        raise StreamGateError(
            Code.INTERNAL, "Unable to parse JSON bytes array: the surrogate pair is invalid"
        ) from None
    return texts


def _text(element: bytes | str) -> str:
    return element if isinstance(element, str) else element.decode(errors="backslashreplace")


def _member(entry: Mapping[str, Any], key: str) -> object:
    if key not in entry:
        raise _unparsable(key, f"attempt to access non-existing object member '{key}'")
    return entry[key]


def _text_member(entry: Mapping[str, Any], key: str) -> str:
    value = _member(entry, key)
    if not isinstance(value, str):
        raise _unparsable(key, "attempt to access JSON non-string as string")
    return value


def _unparsable(key: str, reason: str) -> StreamGateError:
    return StreamGateError(Code.INTERNAL, f"Unable to parse '{key}': {reason}")
