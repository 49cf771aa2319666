"""Typed tensor contents (`InferTensorContents`) in raw form.

Most clients send raw bytes; the typed fields are for those that write messages by hand. Values
that are too large for a small integer type lose their high bits, as in Triton 2.51.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from streamgate._proto.grpc_service_pb2 import InferTensorContents
from streamgate.frontends.kserve_grpc.parameters import invalid
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import pack_bytes

_FIELDS: Final[tuple[tuple[str, DataType, frozenset[DataType]], ...]] = (
    ("bool_contents", DataType.BOOL, frozenset({DataType.BOOL})),
    (
        "int_contents",
        DataType.INT32,
        frozenset({DataType.INT8, DataType.INT16, DataType.INT32}),
    ),
    ("int64_contents", DataType.INT64, frozenset({DataType.INT64})),
    (
        "uint_contents",
        DataType.UINT32,
        frozenset({DataType.UINT8, DataType.UINT16, DataType.UINT32}),
    ),
    ("uint64_contents", DataType.UINT64, frozenset({DataType.UINT64})),
    ("fp32_contents", DataType.FP32, frozenset({DataType.FP32})),
    ("fp64_contents", DataType.FP64, frozenset({DataType.FP64})),
    ("bytes_contents", DataType.BYTES, frozenset({DataType.BYTES})),
)
"""Field, the type that it holds, and the tensor types that may be sent in it."""


def raw_of_contents(
    contents: InferTensorContents, datatype: DataType | None, tensor: str, model: str
) -> bytes:
    """The tensor's raw form; b"" when no field is filled. `datatype` None is an unknown type.

    Raises StreamGateError (INVALID_ARG) for a filled field that doesn't go with the type. The
    number of elements is not checked here.
    """
    raw = b""
    for field, holds, accepts in _FIELDS:
        values = getattr(contents, field)
        if not values:
            continue
        if datatype is None or datatype not in accepts:
            expected = "<invalid>" if datatype is None else datatype.value
            raise invalid(
                f"unexpected explicit tensor data for input tensor '{tensor}' for model "
                f"'{model}' of type '{holds.value}', expected datatype '{expected}'"
            )
        if holds is DataType.BYTES:
            raw = pack_bytes(values)
        else:
            held = np.fromiter(values, holds.dtype, len(values))
            raw = held.astype(datatype.dtype, copy=False).tobytes()
    return raw
