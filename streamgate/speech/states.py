"""States as bytes: `pack` and `unpack` for the state dataclasses of this package.

Written without pickle, so that bytes from elsewhere can do no harm: JSON for the structure, arrays
as raw little-endian data behind it.

    b"SGS1"  length of the JSON (4 bytes, little endian)  JSON  array data, one after another
"""

import dataclasses
import json
import struct
import types
import typing
from typing import Any, TypeVar, Union

import numpy as np

from streamgate.model.tensor import Array

MAGIC = b"SGS1"
_ARRAY = "\x00array"

State = TypeVar("State")


def pack(state: object) -> bytes:
    """A state (a dataclass, or a tuple, list or dict of such values) as bytes.

    Raises TypeError for a value that is no number, text, bool, None, array, sequence, dict with
    texts for keys, or dataclass of such.
    """
    arrays: list[bytes] = []
    structure = json.dumps(_plain(state, arrays), separators=(",", ":")).encode()
    return b"".join((MAGIC, struct.pack("<I", len(structure)), structure, *arrays))


def unpack(kind: type[State], data: bytes) -> State:
    """What `pack` was given, as a value of this type (a dataclass or a generic of such).

    Raises ValueError when the bytes are none that `pack` made of such a value.
    """
    if data[:4] != MAGIC or len(data) < 8:
        raise ValueError(f"expected a packed {_name(kind)}, found bytes that `pack` has not made")
    (length,) = struct.unpack_from("<I", data, 4)
    try:
        structure = json.loads(data[8 : 8 + length])
        reader = _Arrays(data[8 + length :])
        value: State = _typed(kind, structure, reader)
        reader.check_end()
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise ValueError(f"these bytes hold no {_name(kind)}: {error}") from error
    return value


def _plain(value: object, arrays: list[bytes]) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name), arrays) for field in fields}
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError(f"expected an array of numbers, found one of {value.dtype}")
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        arrays.append(little.tobytes())
        return {_ARRAY: [little.dtype.str, list(value.shape)]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, tuple | list):
        return [_plain(each, arrays) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(each, arrays) for key, each in value.items()}
    raise TypeError(f"a state can't hold a {type(value).__name__}")


class _Arrays:
    """The array data, read in the order in which it was written."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def next(self, dtype_text: str, shape: list[int]) -> Array:
        dtype = np.dtype(dtype_text)
        count = int(np.prod(shape, dtype=np.int64))
        if dtype.hasobject or count < 0 or self._at + count * dtype.itemsize > len(self._data):
            raise ValueError(f"no array of {dtype_text} and shape {shape} follows")
        array = np.frombuffer(self._data, dtype, count, self._at).reshape(shape)
        self._at += count * dtype.itemsize
        return array.astype(dtype.newbyteorder("="))

    def check_end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes too many")


def _typed(kind: Any, plain: Any, arrays: _Arrays) -> Any:
    """The plain value as one of this type; type hints say what JSON can't."""
    if isinstance(plain, dict) and _ARRAY in plain:
        return arrays.next(*plain[_ARRAY])
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        if plain is None:
            return None
        (kind,) = (each for each in typing.get_args(kind) if each is not type(None))
        return _typed(kind, plain, arrays)
    if origin is tuple:
        inner = typing.get_args(kind)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_typed(inner[0], each, arrays) for each in plain)
        pairs = zip(inner, plain, strict=True)
        return tuple(_typed(each_kind, each, arrays) for each_kind, each in pairs)
    if origin is list:
        return [_typed(typing.get_args(kind)[0], each, arrays) for each in plain]
    if origin is dict:
        return {key: _typed(typing.get_args(kind)[1], each, arrays) for key, each in plain.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        if sorted(names) != sorted(plain):
            raise ValueError(f"expected the fields {names}, found {list(plain)}")
        # In the order of the fields, which is that of the arrays.
        return kind(**{name: _typed(hints[name], plain[name], arrays) for name in names})
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if isinstance(kind, type) and not isinstance(plain, kind):
        raise ValueError(f"expected a {kind.__name__}, found {plain!r}")
    return plain


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
