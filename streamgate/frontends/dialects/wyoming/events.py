"""Wyoming's events on the wire: a line of JSON, then data (JSON), then a payload (bytes)."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.dialects.json_text import parsed

VERSION = "1.10.0"
LINE_BYTES_MAX = 64 * 1024
DATA_BYTES_MAX = 2**20
PAYLOAD_BYTES_MAX = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Event:
    """One message."""

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes = b""

    def text(self, name: str) -> str:
        """A field that is a text or not there. Raises StreamGateError (INVALID_ARG)."""
        value = self.data.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise _wrong(f"{self.kind}: {name} is {value!r}, expected a text")
        return value

    def number(self, name: str) -> int:
        """A field that is a whole number. Raises StreamGateError (INVALID_ARG)."""
        value = self.data.get(name)
        if type(value) is not int:
            raise _wrong(f"{self.kind}: {name} is {value!r}, expected a whole number")
        return value


def packed(event: Event) -> bytes:
    """The event's bytes."""
    head: dict[str, Any] = {"type": event.kind, "version": VERSION}
    data = json.dumps(event.data, ensure_ascii=False).encode() if event.data else b""
    if data:
        head["data_length"] = len(data)
    if event.payload:
        head["payload_length"] = len(event.payload)
    return json.dumps(head).encode() + b"\n" + data + event.payload


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event; None at the end of the stream, also within an event.

    Raises StreamGateError (INVALID_ARG) for what is no event; nothing can be read after that.
    """
    try:
        line = await reader.readuntil(b"\n")
        head = _object(line, "the line")
        data = dict(_as_object(head.get("data") or {}, "data"))
        length = _length(head, "data_length", DATA_BYTES_MAX)
        if length:
            data.update(_object(await reader.readexactly(length), "the data"))
        length = _length(head, "payload_length", PAYLOAD_BYTES_MAX)
        payload = await reader.readexactly(length) if length else b""
    except asyncio.LimitOverrunError:
        raise _wrong(f"a line is longer than {LINE_BYTES_MAX} bytes, expected JSON") from None
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    kind = head.get("type")
    if not isinstance(kind, str):
        raise _wrong(f"type is {kind!r}, expected a text")
    return Event(kind, data, payload)


def _object(text: bytes, what: str) -> Mapping[str, Any]:
    try:
        value = parsed(text.decode())
    except ValueError as error:
        raise _wrong(f"{what} is no JSON ({error}), expected an object") from None
    return _as_object(value, what)


def _as_object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(f"{what} is a JSON {type(value).__name__}, expected an object")
    return value


def _length(head: Mapping[str, Any], name: str, most: int) -> int:
    value = head.get(name) or 0
    if type(value) is not int or not 0 <= value <= most:
        raise _wrong(f"{name} is {value!r}, expected a whole number up to {most}")
    return value


def _wrong(message: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, message)
