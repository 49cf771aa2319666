"""What the gateway sends: text frames with a `type`, and responses as binary frames if asked for.

Pure functions from values to wire.
"""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from streamgate.errors import (
    Code,
    EndReason,
    EndWarning,
    Failure,
    OverLimitError,
    StreamGateError,
)
from streamgate.frontends.json_tensors import data_to_json
from streamgate.model.datatypes import DataType
from streamgate.model.request import Response
from streamgate.model.tensor import Buffer, Tensor

CLOSE_CODES: Mapping[EndReason, int] = {
    EndReason.CLIENT_END: 1000,
    EndReason.CLIENT_ABORT: 1000,
    EndReason.IDLE: 4001,
    EndReason.LIFETIME: 4002,
    EndReason.DRAINED: 1012,
    EndReason.ERROR: 1011,
    EndReason.PREEMPTED: 1013,
    EndReason.SUPERSEDED: 4003,
    EndReason.ENGINE_LOST: 1011,
}
"""The close code that follows `ended`, by its reason. 1012 and 1013 invite to come again; 4001 to
4003 are ours."""

_FLOATS = frozenset({DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64})


def text_message(**fields: object) -> str:
    """A text frame with these fields."""
    return json.dumps(fields, separators=(",", ":"))


def response_message(response: Response, position: int, *, binary: bool) -> str | bytes:
    """One response to the step at `position`, as the client asked for it.

    The binary form is a uint32 (little endian) that counts the bytes of the JSON that follows,
    the JSON, then each output's raw data in order, its size in the output's `binary_data_size`.
    """
    if response.failure is not None:
        return _failure_message(response, response.failure, position)
    head: dict[str, Any] = {
        "type": "response",
        "position": position,
        "index": response.index,
        "final": response.final,
        "outputs": [_described(tensor) for tensor in response.outputs],
    }
    if response.parameters:
        head["parameters"] = {
            name: _not_finite(value)
            if isinstance(value, float) and not math.isfinite(value)
            else value
            for name, value in response.parameters.items()
        }
    if not binary:
        for output, tensor in zip(head["outputs"], response.outputs, strict=True):
            output["data"] = _elements(tensor)
        return text_message(**head)
    blobs: list[Buffer] = [tensor.raw for tensor in response.outputs]
    for output, blob in zip(head["outputs"], blobs, strict=True):
        output["binary_data_size"] = memoryview(blob).nbytes
    encoded = text_message(**head).encode()
    return b"".join([struct.pack("<I", len(encoded)), encoded, *blobs])


def warning_message(warning: EndWarning) -> str:
    """An `idle_warning`, or a `drain_warning` with its reason."""
    seconds_left = round(warning.seconds_left, 3)
    if not warning.is_drain:
        return text_message(type="idle_warning", seconds_left=seconds_left)
    reason = warning.cause.value
    return text_message(type="drain_warning", reason=reason, seconds_left=seconds_left)


def error_message(code: Code, message: str) -> str:
    """An `error` about a message of the client's that was not taken."""
    return text_message(type="error", code=code.value, message=message)


def refusal_message(error: StreamGateError) -> str:
    """An `error` about a message that was not taken, with when to try again if that is known."""
    if isinstance(error, OverLimitError):
        retry = round(error.retry_seconds, 3)
        return text_message(
            type="error", code=error.code.value, message=error.message, retry_seconds=retry
        )
    return error_message(error.code, error.message)


def _failure_message(response: Response, failure: Failure, position: int) -> str:
    return text_message(
        type="error",
        position=position,
        index=response.index,
        final=response.final,
        code=failure.code.value,
        message=failure.message,
    )


def _described(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype.value,
        "shape": list(tensor.shape),
    }


def _elements(tensor: Tensor) -> list[Any]:
    """The elements as every JSON reader takes them: what is no number is a string, as in the JSON
    form of protobuf."""
    if tensor.datatype not in _FLOATS:
        return data_to_json(tensor)
    array = tensor.array
    if tensor.datatype is DataType.BF16:
        array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    elements: list[Any] = array.ravel().tolist()
    if np.isfinite(array).all():
        return elements
    return [each if math.isfinite(each) else _not_finite(each) for each in elements]


def _not_finite(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"
