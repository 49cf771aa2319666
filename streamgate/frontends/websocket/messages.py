"""What a client sends in text frames: JSON objects with a `type`.

Pure functions from wire to values, which know no model. What is wrong with a message is told as a
StreamGateError that names the field, what was found and what was expected.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.json_tensors import tensor_from_json
from streamgate.model.datatypes import DataType, from_wire
from streamgate.model.request import ParameterValue, SequenceKey
from streamgate.model.tensor import Shape, Tensor

Message = Mapping[str, Any]

SEQUENCE_ID_BYTES_MAX = 128
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class InputChoice:
    """What a client says about its binary frames; None is left to the model."""

    name: str
    datatype: DataType | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """The first message: which model, which sequence, what the frames are. `position` is that of
    the next step of a sequence that began elsewhere; 0 for one that begins."""

    model: str
    version: str = ""
    sequence: SequenceKey = ""
    input: InputChoice | None = None
    outputs: Sequence[str] = ()
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    binary_output: bool = False
    reserve: bool = False
    position: int = 0


def parse_message(text: str) -> tuple[str, Message]:
    """A text frame's type and fields. Raises StreamGateError."""
    try:
        message = json.loads(text)
        if _ESCAPED_SURROGATE.search(text):
            # Half of a pair is no character: nothing could be made of it further on.
            json.dumps(message, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise invalid(f"message is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise invalid(f"message is a JSON {_kind(message)}, expected an object with a 'type'")
    kind = message.get("type")
    if not isinstance(kind, str):
        found = "no 'type'" if "type" not in message else f"'type' {_shown(kind)}"
        raise invalid(f"message has {found}, expected a string")
    return kind, message


def parse_open(message: Message) -> Open:
    """The fields of an `open` message. Raises StreamGateError."""
    model = text_field(message, "model")
    if not model:
        raise invalid("'open' has no 'model', expected the name of a model")
    output_format = text_field(message, "output_format", "json")
    if output_format not in ("json", "binary"):
        raise invalid(f"'output_format' is {_shown(output_format)}, expected 'json' or 'binary'")
    outputs = message.get("outputs", [])
    if not isinstance(outputs, list) or not all(isinstance(name, str) for name in outputs):
        raise invalid(f"'outputs' is {_shown(outputs)}, expected a list of output names")
    reserve = message.get("reserve", False)
    if not isinstance(reserve, bool):
        raise invalid(f"'reserve' is {_shown(reserve)}, expected true or false")
    position = message.get("position", 0)
    if isinstance(position, bool) or not isinstance(position, int) or position < 0:
        raise invalid(f"'position' is {_shown(position)}, expected a number from 0")
    if position and (reserve or not message.get("sequence_id")):
        raise invalid("'position' is that of a sequence that lives: name it, and reserve nothing")
    return Open(
        model,
        text_field(message, "model_version"),
        _parse_sequence_id(message),
        _parse_input(message["input"]) if "input" in message else None,
        outputs,
        _parse_parameters(message),
        output_format == "binary",
        reserve,
        position,
    )


def parse_step(message: Message) -> tuple[list[Tensor], bool]:
    """The inputs of a `step` message, and whether it is the last. Raises StreamGateError."""
    entries = message.get("inputs")
    if not isinstance(entries, list):
        raise invalid(f"'inputs' is {_shown(entries)}, expected a list of tensors")
    last = message.get("last", False)
    if not isinstance(last, bool):
        raise invalid(f"'last' is {_shown(last)}, expected true or false")
    inputs = []
    for place, entry in enumerate(entries):
        where = f"'inputs[{place}]'"
        if not isinstance(entry, dict):
            raise invalid(f"{where} is a {_kind(entry)}, expected an object")
        if "data" not in entry:
            raise invalid(f"{where} has no 'data'")
        try:
            inputs.append(tensor_from_json(entry))
        except StreamGateError as error:
            raise invalid(f"{where}: {error.message}") from None
    return inputs, last


def text_field(message: Message, name: str, default: str = "") -> str:
    """A field that is a string if it is there. Raises StreamGateError."""
    value = message.get(name, default)
    if not isinstance(value, str):
        raise invalid(f"'{name}' is a {_kind(value)}, expected a string")
    return value


def invalid(message: str) -> StreamGateError:
    """The client's fault."""
    return StreamGateError(Code.INVALID_ARG, message)


def _parse_sequence_id(message: Message) -> SequenceKey:
    key = message.get("sequence_id", "")
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise invalid(f"'sequence_id' is a {_kind(key)}, expected a string or an integer")
    if isinstance(key, int) and not 0 <= key < 2**64:
        raise invalid(f"'sequence_id' is {_shown(key)}, expected 0 to 2^64-1")
    if isinstance(key, str) and len(key.encode()) > SEQUENCE_ID_BYTES_MAX:
        raise invalid(
            f"'sequence_id' has {len(key.encode())} bytes, expected at most {SEQUENCE_ID_BYTES_MAX}"
        )
    return key


def _parse_input(value: object) -> InputChoice:
    if not isinstance(value, dict):
        raise invalid(f"'input' is a {_kind(value)}, expected an object")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise invalid(f"'input.name' is {_shown(name)}, expected the name of an input")
    datatype = None
    if "datatype" in value:
        word = value["datatype"]
        datatype = from_wire(word) if isinstance(word, str) else None
        if datatype is None:
            raise invalid(
                f"'input.datatype' is {_shown(word)}, expected a KServe datatype such as 'FP32'"
            )
    return InputChoice(name, datatype, _parse_shape(value["shape"]) if "shape" in value else None)


def _parse_shape(shape: object) -> Shape:
    if (
        not isinstance(shape, list)
        or not all(type(size) is int and -1 <= size < 2**63 for size in shape)
        or shape.count(-1) > 1
    ):
        raise invalid(
            f"'input.shape' is {_shown(shape)}, expected a list of sizes with at most one -1"
        )
    return tuple(shape)


def _parse_parameters(message: Message) -> dict[str, ParameterValue]:
    parameters = message.get("parameters", {})
    if not isinstance(parameters, dict):
        raise invalid(f"'parameters' is a {_kind(parameters)}, expected an object")
    for name, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            raise invalid(
                f"parameter '{name}' is a JSON {_kind(value)}, expected a string, a number or a "
                "boolean"
            )
    return parameters


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _shown(value: object) -> str:
    """A value as it stood in the message, cut short."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
