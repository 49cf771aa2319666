"""Values of ours as what msgpack takes, and back: by the types that their classes declare.

A dataclass becomes the tuple of its fields, so both ends must have the same classes: `shape_of`
tells them apart. Nothing but declared types is ever made, whatever a peer sends: no pickle.
"""

import dataclasses
import enum
import hashlib
import types
import typing
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar, cast

import numpy as np

from streamgate.errors import StreamGateError
from streamgate.model.tensor import Buffer, pack_bytes, unpack_bytes

T = TypeVar("T")

Bodies = list[Buffer]
"""Bytes that travel behind a value rather than inside of it."""

_Pack = Callable[[Any, Bodies], Any]
_Unpack = Callable[[Any, Sequence[memoryview]], Any]

_PLAIN: Final = (bool, int, float, str, bytes)
_ARRAY_KINDS: Final = "biuf"


class ValueFormatError(ValueError):
    """What came is not such a value."""


def pack(kind: Any, value: object, bodies: Bodies) -> Any:
    """A value of this declared type as what msgpack takes; its arrays are added to `bodies`.

    Raises TypeError for a value that is not of the type, or a type that can't be sent.
    """
    return _codec(kind)[0](value, bodies)


def unpack(kind: type[T], packed: Any, bodies: Sequence[memoryview]) -> T:
    """A value of this declared type; its arrays are copies. Raises ValueFormatError."""
    try:
        value: T = _codec(cast(Hashable, kind))[1](packed, bodies)
    except (TypeError, ValueError, IndexError, KeyError, OverflowError, StreamGateError) as error:
        raise ValueFormatError(f"not a {_name(kind)}: {error}") from error
    except RecursionError:
        raise ValueFormatError(f"not a {_name(kind)}: too deep") from None
    return value


def shape_of(kinds: Sequence[Any]) -> str:
    """A fingerprint of these types and of all that they are made of."""
    seen: set[str] = set()
    for kind in kinds:
        _describe(kind, seen)
    return hashlib.sha256("\n".join(sorted(seen)).encode()).hexdigest()[:16]


@cache
def _codec(kind: Any) -> tuple[_Pack, _Unpack]:
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if kind in _PLAIN or kind is types.NoneType:
        return _plain((kind,))
    if origin in {typing.Union, types.UnionType}:
        if all(each in _PLAIN or each is types.NoneType for each in arguments):
            return _plain(arguments)
        return _union(arguments)
    if origin is np.ndarray:
        return _pack_array, _unpack_array
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _many(tuple, arguments[0])
    if origin is tuple:
        return _tuple(arguments)
    if origin is frozenset:
        return _many(frozenset, arguments[0])
    if origin in {Sequence, Collection}:
        return _many(tuple, arguments[0])
    if origin is Mapping:
        return _mapping(*arguments)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enum(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    if isinstance(kind, typing.NewType):
        return _codec(kind.__supertype__)
    raise TypeError(f"values of type {_name(kind)} can't be sent")


def _plain(kinds: Sequence[type]) -> tuple[_Pack, _Unpack]:
    allowed = frozenset(kinds) | (frozenset((int,)) if float in kinds else frozenset())

    def check(value: Any, _: object) -> Any:
        if type(value) not in allowed:
            raise TypeError(f"found {type(value).__name__}, expected {_names(kinds)}")
        return value

    return check, check


def _union(kinds: Sequence[Any]) -> tuple[_Pack, _Unpack]:
    codecs = [_later(kind) for kind in kinds]
    classes = [typing.get_origin(kind) or kind for kind in kinds]

    def pack_one(value: Any, bodies: Bodies) -> Any:
        for index, cls in enumerate(classes):
            if isinstance(value, cls):
                return (index, codecs[index][0](value, bodies))
        raise TypeError(f"found {type(value).__name__}, expected {_names(kinds)}")

    def unpack_one(packed: Any, bodies: Sequence[memoryview]) -> Any:
        index, inner = packed
        return codecs[_place(index, len(codecs))][1](inner, bodies)

    return pack_one, unpack_one


def _many(make: Callable[[Any], Any], kind: Any) -> tuple[_Pack, _Unpack]:
    pack_item, unpack_item = _later(kind)

    def pack_all(values: Any, bodies: Bodies) -> Any:
        return tuple([pack_item(value, bodies) for value in values])

    def unpack_all(packed: Any, bodies: Sequence[memoryview]) -> Any:
        _check_tuple(packed)
        return make([unpack_item(item, bodies) for item in packed])

    return pack_all, unpack_all


def _tuple(kinds: Sequence[Any]) -> tuple[_Pack, _Unpack]:
    codecs = [_later(kind) for kind in kinds]

    def pack_all(values: Any, bodies: Bodies) -> Any:
        return tuple([each[0](value, bodies) for each, value in zip(codecs, values, strict=True)])

    def unpack_all(packed: Any, bodies: Sequence[memoryview]) -> Any:
        _check_tuple(packed)
        return tuple([each[1](item, bodies) for each, item in zip(codecs, packed, strict=True)])

    return pack_all, unpack_all


def _mapping(key: Any, value: Any) -> tuple[_Pack, _Unpack]:
    pack_items, unpack_items = _many(tuple, tuple[key, value])

    def pack_all(values: Any, bodies: Bodies) -> Any:
        return pack_items(values.items(), bodies)

    def unpack_all(packed: Any, bodies: Sequence[memoryview]) -> Any:
        return dict(unpack_items(packed, bodies))

    return pack_all, unpack_all


def _enum(kind: type[enum.Enum]) -> tuple[_Pack, _Unpack]:
    def pack_one(value: Any, _: Bodies) -> Any:
        if type(value) is not kind:
            raise TypeError(f"found {type(value).__name__}, expected {kind.__name__}")
        return value.name

    def unpack_one(packed: Any, _: Sequence[memoryview]) -> Any:
        return kind[packed]

    return pack_one, unpack_one


def _dataclass(kind: type) -> tuple[_Pack, _Unpack]:
    names, kinds = _fields(kind)
    codecs = [_later(each) for each in kinds]

    def pack_all(value: Any, bodies: Bodies) -> Any:
        if type(value) is not kind:
            raise TypeError(f"found {type(value).__name__}, expected {kind.__name__}")
        return tuple(
            [
                each[0](getattr(value, name), bodies)
                for name, each in zip(names, codecs, strict=True)
            ]
        )

    def unpack_all(packed: Any, bodies: Sequence[memoryview]) -> Any:
        _check_tuple(packed)
        return kind(*[each[1](item, bodies) for each, item in zip(codecs, packed, strict=True)])

    return pack_all, unpack_all


def _fields(kind: Any) -> tuple[list[str], list[Any]]:
    hints = typing.get_type_hints(kind)
    names = [each.name for each in dataclasses.fields(kind) if each.init]
    return names, [hints[name] for name in names]


def _later(kind: Any) -> tuple[_Pack, _Unpack]:
    """The codec of a part, made when it is needed: a class may have parts of its own kind."""
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return _codec(kind)

    def pack_part(value: Any, bodies: Bodies) -> Any:
        return _codec(kind)[0](value, bodies)

    def unpack_part(packed: Any, bodies: Sequence[memoryview]) -> Any:
        return _codec(kind)[1](packed, bodies)

    return pack_part, unpack_part


def _pack_array(value: Any, bodies: Bodies) -> Any:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"found {type(value).__name__}, expected an array")
    place = len(bodies)
    if value.dtype.kind == "O":
        bodies.append(pack_bytes(value.ravel()))
        return ("O", value.shape, place)
    if value.dtype.kind not in _ARRAY_KINDS:
        raise TypeError(f"arrays of type {value.dtype} can't be sent")
    array = np.ascontiguousarray(value)
    bodies.append(array.reshape(-1).view(np.uint8).data)
    return (value.dtype.str, value.shape, place)


def _unpack_array(packed: Any, bodies: Sequence[memoryview]) -> Any:
    word, shape, place = packed
    _check_tuple(shape)
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"{shape} is no shape")
    body = bodies[_place(place, len(bodies))]
    if word == "O":
        count = 1
        for size in shape:
            count *= size
        if count * 4 > len(body):
            raise ValueError(f"an array of shape {shape} has {len(body)} bytes")
        return unpack_bytes(body, count, "").reshape(shape)
    dtype = np.dtype(word)
    if dtype.kind not in _ARRAY_KINDS:
        raise ValueError(f"no array is of type {word}")
    return np.frombuffer(body, dtype).reshape(shape).copy()


def _describe(kind: Any, seen: set[str]) -> None:
    for each in typing.get_args(kind):
        if each is not Ellipsis:
            _describe(each, seen)
    if not isinstance(kind, type):
        return
    if issubclass(kind, enum.Enum):
        seen.add(f"{kind.__qualname__} {[each.name for each in kind]}")
    elif dataclasses.is_dataclass(kind):
        names, kinds = _fields(kind)
        line = f"{kind.__qualname__} {list(zip(names, map(str, kinds), strict=True))}"
        if line not in seen:
            seen.add(line)
            for each in kinds:
                _describe(each, seen)


def _place(index: Any, count: int) -> int:
    if type(index) is not int or not 0 <= index < count:
        raise ValueError(f"found {index!r:.40}, expected a number below {count}")
    return index


def _check_tuple(packed: Any) -> None:
    if type(packed) is not tuple:
        raise TypeError(f"found {type(packed).__name__}, expected a list")


def _name(kind: Any) -> str:
    return str(getattr(kind, "__name__", kind))


def _names(kinds: Sequence[Any]) -> str:
    return " or ".join(map(_name, kinds))
