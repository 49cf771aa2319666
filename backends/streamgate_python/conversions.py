"""Data types by their three names, and BYTES tensors to and from raw form, for model code.

`triton_dtype()` and friends use Triton's type numbers: the values of its `TRITONSERVER_DataType`.
"""

import struct
from typing import Any

import numpy as np

from streamgate.model.datatypes import DataType, from_numpy
from streamgate.model.tensor import Array, pack_bytes
from streamgate_python.errors import TritonModelException

NUMBERS: dict[DataType, int] = {
    DataType.BOOL: 1,
    DataType.UINT8: 2,
    DataType.UINT16: 3,
    DataType.UINT32: 4,
    DataType.UINT64: 5,
    DataType.INT8: 6,
    DataType.INT16: 7,
    DataType.INT32: 8,
    DataType.INT64: 9,
    DataType.FP16: 10,
    DataType.FP32: 11,
    DataType.FP64: 12,
    DataType.BYTES: 13,
    DataType.BF16: 14,
}

TRITON_STRING_TO_NUMPY: dict[str, type] = {
    datatype.config_name: bool if datatype is DataType.BOOL else datatype.dtype.type
    for datatype in DataType
    if datatype is not DataType.BF16
}
"""Numpy types by configuration name. BF16 has no numpy type."""

_NUMPY_BY_NUMBER: dict[int, type] = {
    number: datatype.dtype.type
    for datatype, number in NUMBERS.items()
    if datatype is not DataType.BF16
}
_BY_DTYPE: dict[np.dtype[Any], DataType] = {
    datatype.dtype: datatype for datatype in DataType if datatype is not DataType.BF16
}


def datatype_of(dtype: np.dtype[Any]) -> DataType:
    """The type that an array of this numpy type is sent as.

    Raises TritonModelException for unicode, complex, date and foreign-endian arrays.
    """
    datatype = _BY_DTYPE.get(dtype) or from_numpy(dtype)
    if datatype is None:
        raise TritonModelException("NumPy dtype is not supported.")
    return datatype


def triton_to_numpy_type(data_type: int) -> type | None:
    """The numpy type of a Triton type number, or None."""
    return _NUMPY_BY_NUMBER.get(int(data_type))


def numpy_to_triton_type(data_type: Any) -> int | None:
    """The Triton type number of a numpy type or dtype, or None."""
    datatype = from_numpy(np.dtype(data_type))
    return None if datatype is None else NUMBERS[datatype]


def triton_string_to_numpy(triton_type_string: str) -> type:
    """The numpy type of a configuration type name such as `TYPE_FP32`. Raises KeyError."""
    return TRITON_STRING_TO_NUMPY[triton_type_string]


def bytes_elements(array: Array) -> Array:
    """A byte-string or object array as an object array of bytes, of its own.

    Bytes go as they are, everything else as the UTF-8 text of its `str()`, as in Triton.
    """
    elements = np.empty(array.size, dtype=np.object_)
    elements[:] = [
        element if isinstance(element, bytes) else str(element).encode()
        for element in array.ravel().tolist()
    ]
    return elements.reshape(array.shape)


def pack_elements(array: Array) -> bytes:
    """The same in raw form, row-major."""
    return pack_bytes(bytes_elements(array).ravel().tolist())


def serialize_byte_tensor(input_tensor: Array) -> bytes | tuple[()] | None:
    """An array of strings in raw form, each element led by its length.

    As in Triton: an empty tuple for an empty array, None for an array of another type.
    """
    if input_tensor.size == 0:
        return ()
    if input_tensor.dtype.kind not in "OS":
        return None
    return pack_elements(input_tensor)


def deserialize_bytes_tensor(encoded_tensor: Any) -> Array:
    """The elements of a raw BYTES tensor as a flat object array.

    Raises TritonModelException when the data is cut short.
    """
    view = memoryview(encoded_tensor).cast("B")
    elements: list[bytes] = []
    offset = 0
    while offset < len(view):
        if offset + 4 > len(view):
            raise TritonModelException("Invalid bytes tensor data: incomplete length field")
        (length,) = struct.unpack_from("<I", view, offset)
        offset += 4
        if offset + length > len(view):
            raise TritonModelException("Invalid bytes tensor data: string extends beyond buffer")
        elements.append(bytes(view[offset : offset + length]))
        offset += length
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array
