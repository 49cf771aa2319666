"""Configurations and requests for tests of the session's floor."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamgate.model.config import DefaultScheduling, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request
from streamgate.model.tensor import Tensor, TensorSpec


def config_of(*inputs: TensorSpec, max_batch: int = 8, **changes: Any) -> ModelConfig:
    """A stateless model `m` with these inputs and the outputs O and O2."""
    fields: dict[str, Any] = {
        "name": "m",
        "backend": "fake",
        "platform": "",
        "max_batch_size": max_batch,
        "inputs": inputs,
        "outputs": (TensorSpec("O", DataType.FP32, (4,)), TensorSpec("O2", DataType.FP32, (4,))),
        "scheduling": DefaultScheduling(),
    }
    return ModelConfig(**(fields | changes))


def spec(name: str, *shape: int, datatype: DataType = DataType.FP32, **more: Any) -> TensorSpec:
    return TensorSpec(name, datatype, shape, **more)


def zeros(
    name: str, *shape: int, datatype: DataType = DataType.FP32, size: int | None = None
) -> Tensor:
    """A tensor in raw form: zeros that fill the shape, or `size` bytes of them."""
    if size is None:
        size = int(np.prod(shape, dtype=np.int64)) * datatype.size_bytes
    return Tensor(name, datatype, shape, raw=bytes(size))


def texts(name: str, raw: bytes, *shape: int) -> Tensor:
    return Tensor(name, DataType.BYTES, shape, raw=raw)


def request_of(*inputs: Tensor, id: str = "", outputs: Sequence[str] = ()) -> Request:
    return Request("m", id=id, inputs=inputs, requested_outputs=outputs)
