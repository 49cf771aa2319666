"""The dialect's messages: text frames are JSON objects with a `type`, binary frames are tensors.

Pure functions between wire and values. What is wrong with a message is told as a StreamGateError
that names the field, what was found and what was expected.
"""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamgate.errors import Code, EndReason, StreamGateError
from streamgate.frontends.json_tensors import data_to_json
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType, from_wire
from streamgate.model.request import ParameterValue, Response, SequenceKey
from streamgate.model.tensor import Shape, Tensor

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


@dataclass(frozen=True, slots=True)
class InputFormat:
    """What a binary frame holds: one tensor, with at most one dimension told by its size."""

    name: str
    datatype: DataType
    shape: Shape


@dataclass(frozen=True, slots=True)
class Open:
    """The first message: which model, which sequence, what the frames are."""

    model: str
    version: str = ""
    sequence: SequenceKey = ""
    input: InputFormat | None = None
    outputs: Sequence[str] = ()
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    binary_output: bool = False


def parse_message(text: str | bytes) -> tuple[str, dict[str, Any]]:
    """A text frame's type and fields. Raises StreamGateError."""
    try:
        message = json.loads(text)
    except ValueError as error:
        raise _invalid(f"message is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise _invalid(f"message is a JSON {_kind(message)}, expected an object with a 'type'")
    kind = message.get("type")
    if not isinstance(kind, str):
        raise _invalid(f"message has 'type' {json.dumps(kind)}, expected a string")
    return kind, message


def parse_open(message: Mapping[str, Any]) -> Open:
    """The fields of an `open` message. Raises StreamGateError."""
    model = _text(message, "model", "")
    if not model:
        raise _invalid("'open' has no 'model', expected the name of a model")
    sequence = message.get("sequence_id", "")
    if isinstance(sequence, bool) or not isinstance(sequence, int | str):
        raise _invalid(f"'sequence_id' is a {_kind(sequence)}, expected a string or an integer")
    if isinstance(sequence, int) and not 0 <= sequence < 2**64:
        raise _invalid(f"'sequence_id' is {sequence}, expected 0 to 2^64-1")
    if isinstance(sequence, str) and len(sequence.encode()) > 128:
        raise _invalid("string correlation ID cannot be longer than 128 characters")
    output_format = _text(message, "output_format", "json")
    if output_format not in ("json", "binary"):
        raise _invalid(f"'output_format' is '{output_format}', expected 'json' or 'binary'")
    outputs = message.get("outputs", [])
    if not isinstance(outputs, list) or not all(isinstance(name, str) for name in outputs):
        raise _invalid("'outputs' must be a list of output names")
    return Open(
        model,
        _text(message, "model_version", ""),
        sequence,
        _parse_input(message["input"]) if "input" in message else None,
        outputs,
        _parameters(message),
        output_format == "binary",
    )


def default_input(config: ModelConfig) -> InputFormat:
    """What frames hold when `open` does not say: the model's only input, one row.

    Raises StreamGateError when the model has not exactly one required input.
    """
    required = [spec for spec in config.inputs if not spec.optional]
    if len(required) != 1:
        names = ", ".join(spec.name for spec in required)
        raise _invalid(
            f"model '{config.name}' has {len(required)} required inputs ({names}), and a binary "
            "frame holds one tensor: name it in 'input', and use 'step' messages for several"
        )
    spec = required[0]
    shape = (1, *spec.shape) if config.batches else spec.shape
    return InputFormat(spec.name, spec.datatype, shape)


def frame_tensor(format_: InputFormat, frame: bytes) -> Tensor:
    """A binary frame as a tensor: a view of the frame.

    Raises StreamGateError naming the sizes when the frame's bytes don't fill the shape.
    """
    if format_.datatype is DataType.BYTES:
        # One frame, one element: the length prefix of the wire form is ours to add.
        return Tensor(
            format_.name,
            DataType.BYTES,
            tuple(1 if size == -1 else size for size in format_.shape),
            raw=struct.pack("<I", len(frame)) + frame,
        )
    known = math.prod(size for size in format_.shape if size != -1)
    unit = known * format_.datatype.size_bytes
    shape = format_.shape
    if -1 in shape:
        if unit == 0 or len(frame) % unit:
            raise _invalid(
                f"binary frame of {len(frame)} bytes does not fill input '{format_.name}' "
                f"({format_.datatype.value} {list(shape)}), expected a multiple of {unit}"
            )
        shape = tuple(len(frame) // unit if size == -1 else size for size in shape)
    elif len(frame) != unit:
        raise _invalid(
            f"binary frame of {len(frame)} bytes does not fill input '{format_.name}' "
            f"({format_.datatype.value} {list(shape)}), expected {unit}"
        )
    return Tensor(format_.name, format_.datatype, shape, raw=frame)


def response_message(response: Response, position: int, *, binary: bool) -> str | bytes:
    """One response as the client asked for it.

    The binary form is a uint32 (little endian) that counts the bytes of the JSON that follows,
    the JSON, then each output's raw data in order, its size in the output's `binary_data_size`.
    """
    if response.failure is not None:
        return error_message(response.failure.code, response.failure.message, position)
    head: dict[str, Any] = {
        "type": "response",
        "position": position,
        "index": response.index,
        "final": response.final,
        "outputs": [],
    }
    if response.parameters:
        head["parameters"] = dict(response.parameters)
    blobs = []
    for tensor in response.outputs:
        output: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype.value,
            "shape": list(tensor.shape),
        }
        if binary:
            output["binary_data_size"] = tensor.size_bytes
            blobs.append(bytes(tensor.raw))
        else:
            output["data"] = data_to_json(tensor)
        head["outputs"].append(output)
    text = json.dumps(head, separators=(",", ":"))
    if not binary:
        return text
    encoded = text.encode()
    return b"".join([struct.pack("<I", len(encoded)), encoded, *blobs])


def to_text(**fields: object) -> str:
    """A text frame with these fields."""
    return json.dumps(fields, separators=(",", ":"))


def error_message(code: Code, message: str, position: int | None = None) -> str:
    """An `error` message; `position` is that of the step that failed, if one did."""
    fields: dict[str, Any] = {"type": "error"}
    if position is not None:
        fields["position"] = position
    return json.dumps({**fields, "code": code.value, "message": message}, separators=(",", ":"))


def _parse_input(value: object) -> InputFormat:
    if not isinstance(value, dict):
        raise _invalid(f"'input' is a {_kind(value)}, expected an object")
    datatype = from_wire(_text(value, "datatype", ""))
    if datatype is None:
        raise _invalid(
            f"'input.datatype' is {json.dumps(value.get('datatype'))}, expected a KServe "
            "datatype such as 'FP32'"
        )
    shape = value.get("shape")
    if (
        not isinstance(shape, list)
        or not all(isinstance(size, int) and size >= -1 for size in shape)
        or shape.count(-1) > 1
    ):
        raise _invalid(
            f"'input.shape' is {json.dumps(shape)}, expected a list of sizes with at most one -1"
        )
    return InputFormat(_text(value, "name", ""), datatype, tuple(shape))


def _parameters(message: Mapping[str, Any]) -> dict[str, ParameterValue]:
    parameters = message.get("parameters", {})
    if not isinstance(parameters, dict) or not all(
        isinstance(value, bool | int | float | str) for value in parameters.values()
    ):
        raise _invalid("'parameters' must be an object of strings, numbers and booleans")
    return parameters


def _text(message: Mapping[str, Any], field_: str, default: str) -> str:
    value = message.get(field_, default)
    if not isinstance(value, str):
        raise _invalid(f"'{field_}' is a {_kind(value)}, expected a string")
    return value


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _invalid(message: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, message)
