"""The settings of a server as text for its processes: JSON, read by the types that they declare."""

import dataclasses
import json
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from streamgate.server.settings import Settings


def write_settings(settings: Settings) -> str:
    """As JSON; `read_settings` gives the same settings."""
    return json.dumps(_plain(settings))


def read_settings(text: str) -> Settings:
    """Raises ValueError, TypeError or KeyError for what was not written here."""
    settings: Settings = _typed(Settings, json.loads(text))
    return settings


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Collection) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value


def _typed(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        if value is None:
            return None
        (kind,) = (each for each in arguments if each is not types.NoneType)
        return _typed(kind, value)
    if origin in {Sequence, Collection, tuple}:
        return tuple(_typed(arguments[0], each) for each in value)
    if origin is Mapping:
        return {key: _typed(arguments[1], each) for key, each in value.items()}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _typed(hints[name], each) for name, each in value.items()})  # type: ignore[operator]
    if kind is float:
        return float(value)
    if kind is bytes:
        return bytes.fromhex(value)
    if issubclass(kind, Enum | Path):
        return kind(value)
    if not isinstance(value, kind):
        raise TypeError(f"found {value!r}, expected a {kind.__name__}")
    return value
