"""The classification extension: an output's largest values as text, `value:index[:label]`.

A pure function over tensors, shared by every front end that speaks KServe v2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamgate.errors import Code, StreamGateError
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Tensor

_UNSUPPORTED = frozenset({DataType.BOOL, DataType.FP16, DataType.BF16, DataType.BYTES})


def classify(tensor: Tensor, count: int, *, batches: bool, labels: Sequence[str] = ()) -> Tensor:
    """The `count` largest values of each item of `tensor` as BYTES: `value:index[:label]`.

    All dimensions but the batch dimension (none when the model does not batch) form one vector of
    classes. The result has the shape [k] or [batch, k], k being at most the number of classes;
    values come largest first, equal ones by index, floats with six decimals, and a label where
    there is one for the index. Raises StreamGateError (INVALID_ARG) for BOOL, FP16, BF16 and
    BYTES. Triton 2.51 behaviour.
    """
    if tensor.datatype in _UNSUPPORTED:
        raise StreamGateError(
            Code.INVALID_ARG,
            "class result not available for output due to unsupported type "
            f"'{tensor.datatype.value}'",
        )
    array = tensor.array
    items = array.reshape(len(array), -1) if batches and array.size else array.reshape(1, -1)
    best = _largest(items, min(count, items.shape[1]))
    floats = items.dtype.kind == "f"
    rows = [
        [
            _class_text(f"{item[index]:f}" if floats else str(item[index]), index, labels)
            for index in indices.tolist()
        ]
        for item, indices in zip(items, best, strict=True)
    ]
    classes = np.array(rows, dtype=np.object_).reshape(best.shape if batches else best.shape[1:])
    return Tensor.of(tensor.name, classes, DataType.BYTES)


def _largest(items: Array, count: int) -> Array:
    """Indices of the `count` largest values of each row; the sort is stable, NaN comes last."""
    width = items.shape[1]
    ascending = np.argsort(items[:, ::-1], axis=1, kind="stable")
    if items.dtype.kind == "f":  # numpy sorts NaN to the end, that is to the front of a descent
        missing = np.isnan(items[:, ::-1]).sum(axis=1)
        ascending = np.stack([np.roll(row, n) for row, n in zip(ascending, missing, strict=True)])
    best: Array = width - 1 - ascending[:, ::-1][:, :count]
    return best


def _class_text(value: str, index: int, labels: Sequence[str]) -> bytes:
    text = f"{value}:{index}"
    if index < len(labels):
        text += f":{labels[index]}"
    return text.encode()
