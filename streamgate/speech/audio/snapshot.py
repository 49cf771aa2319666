"""States as bytes: what a reader needs to go on elsewhere.

    magic "SGAU", version (1 byte), CRC-32 of the rest (4, little endian), length of the JSON (4),
    JSON, then the byte strings that the JSON refers to by number

It holds no pickles: a snapshot may come back from a client.
"""

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Final, TypeVar

from streamgate.errors import Code, StreamGateError

Kind = TypeVar("Kind")
Value = None | bool | int | str | bytes | list["Value"] | Mapping[str, "Value"]
State = Mapping[str, Value]

MAGIC: Final = b"SGAU"
VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sBII")


class Fields:
    """A state that was read back; whatever is missing or of the wrong kind is an INVALID_ARG."""

    def __init__(self, values: State) -> None:
        self._values = values

    def integer(self, name: str) -> int:
        return self._typed(name, int)

    def text(self, name: str) -> str:
        return self._typed(name, str)

    def data(self, name: str) -> bytes:
        return self._typed(name, bytes)

    def flag(self, name: str) -> bool:
        return self._typed(name, bool)

    def optional_integer(self, name: str) -> int | None:
        return None if self._get(name) is None else self.integer(name)

    def chunks(self, name: str) -> list[bytes]:
        values = self._typed(name, list)
        if not all(isinstance(value, bytes) for value in values):
            raise damaged(f"'{name}' holds other things than bytes")
        return values

    def integers(self, name: str) -> list[int]:
        values = self._typed(name, list)
        if not all(type(value) is int for value in values):
            raise damaged(f"'{name}' holds other things than integers")
        return values

    def inner(self, name: str) -> "Fields":
        value = self._get(name)
        if not isinstance(value, Mapping):
            raise damaged(f"'{name}' is no state")
        return Fields(value)

    def optional_inner(self, name: str) -> "Fields | None":
        return None if self._get(name) is None else self.inner(name)

    def _get(self, name: str) -> Value:
        if name not in self._values:
            raise damaged(f"'{name}' is missing")
        return self._values[name]

    def _typed(self, name: str, kind: type[Kind]) -> Kind:
        value = self._get(name)
        if type(value) is not kind:  # a bool is an int to isinstance()
            raise damaged(f"'{name}' is {type(value).__name__}, expected {kind.__name__}")
        return value


def damaged(what: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, f"a snapshot of audio is damaged: {what}")


def pack(state: State) -> bytes:
    """The state as bytes that any version of this module with the same VERSION reads."""
    blobs: list[bytes] = []
    text = json.dumps(_plain(state, blobs), separators=(",", ":")).encode()
    body = b"".join([struct.pack("<I", len(text)), text, *blobs])
    return struct.pack("<4sBI", MAGIC, VERSION, zlib.crc32(body)) + body


def unpack(snapshot: bytes) -> Fields:
    """The state in `snapshot`. Raises StreamGateError (INVALID_ARG) on anything else."""
    if len(snapshot) < _HEAD.size or snapshot[:4] != MAGIC:
        raise damaged("it does not begin as one")
    _, version, checksum, length = _HEAD.unpack_from(snapshot)
    if version != VERSION:
        raise damaged(f"it has version {version}, expected {VERSION}")
    if zlib.crc32(snapshot[9:]) != checksum:
        raise damaged("its checksum is wrong")
    blobs = memoryview(snapshot)[_HEAD.size + length :]
    try:
        plain = json.loads(snapshot[_HEAD.size : _HEAD.size + length])
    except ValueError as error:
        raise damaged(str(error)) from error
    value = _read(plain, blobs)
    if not isinstance(value, Mapping):
        raise damaged("it holds no state")
    return Fields(value)


def _plain(value: Value, blobs: list[bytes]) -> object:
    """JSON's view of a value: bytes become {"": [offset, length]}."""
    if isinstance(value, bytes):
        offset = sum(map(len, blobs))
        blobs.append(value)
        return {"": [offset, len(value)]}
    if isinstance(value, list):
        return [_plain(item, blobs) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item, blobs) for name, item in value.items()}
    return value


def _read(plain: object, blobs: memoryview) -> Value:
    match plain:
        case {"": [int(offset), int(length)]}:
            return bytes(blobs[offset : offset + length])
        case dict():
            return {str(name): _read(item, blobs) for name, item in plain.items()}
        case list():
            return [_read(item, blobs) for item in plain]
        case None | bool() | int() | str():
            return plain
    raise damaged(f"it holds a {type(plain).__name__}")
