"""The element types of KServe v2 and their three names: wire, configuration, numpy."""

import enum

import numpy as np


class DataType(enum.Enum):
    """An element type. The value is the name on the wire."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"
    BF16 = "BF16"

    size_bytes: int
    """Bytes per element; 0 for BYTES, whose elements vary."""
    dtype: np.dtype
    """The numpy type that holds it; `object` for BYTES, raw `uint16` bits for BF16."""
    config_name: str
    """The name in `config.pbtxt`: `TYPE_STRING` for BYTES, else `TYPE_` and the wire name."""


_NUMPY: dict[DataType, type] = {
    DataType.BOOL: np.bool_,
    DataType.UINT8: np.uint8,
    DataType.UINT16: np.uint16,
    DataType.UINT32: np.uint32,
    DataType.UINT64: np.uint64,
    DataType.INT8: np.int8,
    DataType.INT16: np.int16,
    DataType.INT32: np.int32,
    DataType.INT64: np.int64,
    DataType.FP16: np.float16,
    DataType.FP32: np.float32,
    DataType.FP64: np.float64,
    DataType.BYTES: np.object_,
    DataType.BF16: np.uint16,
}

for _datatype, _numpy in _NUMPY.items():
    _datatype.dtype = np.dtype(_numpy)
    _datatype.size_bytes = 0 if _datatype is DataType.BYTES else _datatype.dtype.itemsize
    _datatype.config_name = (
        "TYPE_STRING" if _datatype is DataType.BYTES else f"TYPE_{_datatype.value}"
    )

_BY_WIRE = {datatype.value: datatype for datatype in DataType}
_BY_CONFIG = {datatype.config_name: datatype for datatype in DataType}
_BY_NUMPY = {
    datatype.dtype: datatype for datatype in reversed(DataType) if datatype is not DataType.BF16
}


def from_wire(name: str) -> DataType | None:
    """The type with this wire name, exact case, or None."""
    return _BY_WIRE.get(name)


def from_config(name: str) -> DataType | None:
    """The type with this configuration name (`TYPE_FP32`), or None."""
    return _BY_CONFIG.get(name)


def from_numpy(dtype: np.dtype) -> DataType | None:
    """The type that this numpy type is sent as, or None.

    Byte strings (`S`) and objects are BYTES; unicode (`U`), complex and foreign byte orders have
    no wire type. BF16 has no numpy type, so nothing maps to it.
    """
    if dtype.kind == "S":
        return DataType.BYTES
    return _BY_NUMPY.get(dtype)
