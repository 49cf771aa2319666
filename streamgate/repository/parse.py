"""Configuration text to message: `config.pbtxt` and the JSON of a load request or a backend.

A mistake is reported with its place (file, line and column, or the path inside the JSON), the
field, what was found and what was expected. Nothing is completed or checked beyond syntax, field
names and types.
"""

import json
import re
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import ConfigError, ConfigPhase
from streamgate.repository.defects import suggestion
from streamgate.repository.render import description, is_repeated, map_value

_PACKAGE = f"{pb.DESCRIPTOR.package}."
_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "(\w+)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "([\w.]+)" has no value (?:named|with number) ([\w-]+)')
_QUOTED_LINE = re.compile(r"^\d+:\d+ : (?:'(?P<line>.*?)': )?(?P<what>.*)$", re.DOTALL)
_UNCLOSED = ('Expected "}"', 'Expected "]"', 'Expected ">"')
_FIELD_BEFORE = re.compile(r"(\w+)\s*:\s*(?:\[[^\]]*)?$")


def read_file(path: Path) -> pb.ModelConfig:
    """The message in a `config.pbtxt`. Raises ConfigError (POLL)."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"failed to open text file for read {path}: {error.strerror}", phase=ConfigPhase.POLL
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"failed to read text proto from {path}: byte {error.start} is not UTF-8",
            phase=ConfigPhase.POLL,
        ) from error
    return parse_text(text, str(path))


def parse_text(text: str, origin: str) -> pb.ModelConfig:
    """The message in protobuf text form; `origin` names it in errors (ConfigError, POLL)."""
    message = pb.ModelConfig()
    try:
        text_format.Parse(text, message)
        _check_enums(message, "")
    except text_format.ParseError as error:
        place = f"line {error.GetLine()}, column {error.GetColumn()}: "
        what = place + _explain(error, text)
    except ConfigError as error:
        what = error.message
    except RecursionError:
        what = "it is nested too deeply"
    else:
        return message
    raise ConfigError(f"failed to read text proto from {origin}: {what}", phase=ConfigPhase.POLL)


def parse_json(text: str, origin: str) -> pb.ModelConfig:
    """The message in JSON form; `origin` names it in errors (ConfigError, POLL)."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        what = f"line {error.lineno}, column {error.colno}: {error.msg}"
    except (ConfigError, RecursionError) as error:
        what = str(error)
    else:
        return parse_dict(value, origin, ConfigPhase.POLL)
    raise ConfigError(f"failed to read JSON from {origin}: {what}", phase=ConfigPhase.POLL)


def parse_dict(value: Any, origin: str, phase: ConfigPhase) -> pb.ModelConfig:
    """The message in JSON form, already decoded. Raises ConfigError in the given phase."""
    message = pb.ModelConfig()
    try:
        _check_names(value, description(message), "")
        json_format.ParseDict(value, message)
        _check_enums(message, "")
    except json_format.ParseError as error:
        what = str(error).split("\n", 1)[0].replace(_PACKAGE, "")
    except ConfigError as error:
        what = error.message
    except RecursionError:
        what = "it is nested too deeply"
    else:
        return message
    raise ConfigError(f"failed to read JSON from {origin}: {what}", phase=phase)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ConfigError(f"field '{key}' is given twice in one object")
        result[key] = value
    return result


def _explain(error: text_format.ParseError, text: str) -> str:
    """The parser's message in our words: with the field, without the package, with a hint."""
    raw = str(error)
    unknown = _UNKNOWN_FIELD.search(raw)
    if unknown:
        owner = pb.DESCRIPTOR.pool.FindMessageTypeByName(unknown[1])
        return _no_field(owner, unknown[2])
    value = _UNKNOWN_VALUE.search(raw)
    match = _QUOTED_LINE.match(raw)
    what = (match["what"] if match else raw).replace(_PACKAGE, "")
    if value:
        names = pb.DESCRIPTOR.pool.FindEnumTypeByName(value[1]).values_by_name
        what = f"unknown value {value[2]}{suggestion(value[2], names)}"
    field = _FIELD_BEFORE.search(_text_before(text, error.GetLine(), error.GetColumn()))
    if what.startswith(_UNCLOSED):  # the place is behind a value, not at one
        return what
    return f"field '{field[1]}': {what}" if field else what


def _text_before(text: str, line: int | None, column: int | None) -> str:
    if line is None or column is None:
        return ""
    lines = text.split("\n")
    return "\n".join([*lines[: line - 1], lines[line - 1][: column - 1]])


def _no_field(owner: Descriptor, name: str) -> str:
    return f"{owner.name} has no field '{name}'{suggestion(name, owner.fields_by_name)}"


def _check_names(value: Any, owner: Descriptor, path: str) -> None:
    """Raise ConfigError for an object where none is expected or with a name not in `owner`."""
    if not isinstance(value, dict):
        raise ConfigError(
            f"field '{path}': expected an object ({owner.name}), found {type(value).__name__}"
            if path
            else f"expected an object ({owner.name}), found {type(value).__name__}"
        )
    for name, item in value.items():
        field = owner.fields_by_name.get(name) or owner.fields_by_camelcase_name.get(name)
        if field is None:
            raise ConfigError((f"field '{path}': " if path else "") + _no_field(owner, str(name)))
        if item is not None:
            _check_nested(item, field, f"{path}.{name}" if path else name)


def _check_nested(item: Any, field: FieldDescriptor, path: str) -> None:
    nested = field.message_type
    mapped = map_value(field)
    if mapped is not None:
        if mapped.message_type is not None and isinstance(item, dict):
            for key, value in item.items():
                _check_names(value, mapped.message_type, f"{path}[{key}]")
    elif nested is None:
        return
    elif not is_repeated(field):
        _check_names(item, nested, path)
    elif isinstance(item, list):
        for position, value in enumerate(item):
            _check_names(value, nested, f"{path}[{position}]")


def _check_enums(message: Message, path: str) -> None:
    """Raise ConfigError for a number that is no value of its enum; protobuf lets them pass."""
    for field, value in message.ListFields():
        inner = f"{path}.{field.name}" if path else field.name
        mapped = map_value(field)
        items = value if is_repeated(field) else [value]
        if mapped is not None:
            if mapped.message_type is not None:
                for key in value:
                    _check_enums(value[key], f"{inner}[{key}]")
        elif field.message_type is not None:
            for item in items:
                _check_enums(item, inner)
        elif field.enum_type is not None:
            for number in items:
                if number not in field.enum_type.values_by_number:
                    names = ", ".join(field.enum_type.values_by_name)
                    raise ConfigError(
                        f"field '{inner}': unknown value {number}; expected one of {names}"
                    )
