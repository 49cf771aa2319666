"""Our own dialects' words for sessions that can be resumed: each message says its number."""

import json
import struct
from collections.abc import Mapping
from typing import Any, final

from streamgate.errors import Code
from streamgate.frontends.sockets.contract import Grant, Message, Outlet, Received

_COUNT = struct.Struct("<I")


def granted(grant: Grant | None) -> dict[str, Any]:
    """The field of a first message that says how its session is resumed, if it can be."""
    if grant is None:
        return {}
    return {"resume": {"token": grant.token, "seconds": grant.seconds}}


def numbered(message: Message, event: int) -> Message:
    """The message with a further field `event`. A binary one begins with a uint32 that counts the
    bytes of its JSON."""
    if isinstance(message, str):
        return f'{message[:-1]},"event":{event}}}'
    (size,) = _COUNT.unpack_from(message)
    view = memoryview(message)
    end = _COUNT.size + size
    field = f',"event":{event}}}'.encode()
    parts = (_COUNT.pack(size - 1 + len(field)), view[_COUNT.size : end - 1], field, view[end:])
    return b"".join(parts)


@final
class Numbered:
    """An `Outlet` whose messages are numbered. They are JSON objects with at least one field, or
    binary ones that begin with such."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    @classmethod
    def unless_cut(cls, outlet: Outlet) -> Outlet:
        """Numbered if the session can be resumed, and as it is if it ends with its connection."""
        return outlet if outlet.grant is None else cls(outlet)

    @property
    def grant(self) -> Grant | None:
        return self._outlet.grant

    @property
    def next_event(self) -> int:
        return self._outlet.next_event

    def emit(self, message: Message) -> None:
        self._outlet.emit(numbered(message, self._outlet.next_event))

    def close(self, code: int, reason: str) -> None:
        self._outlet.close(code, reason)

    def room(self) -> None:
        self._outlet.room()


@final
class PlainManners:
    """The messages with a `type` that our own dialects say when a session is resumed."""

    def resumed(self, grant: Grant, received: Received, last_event: int) -> str:
        fields: Mapping[str, object] = {
            "type": "resumed",
            "received": {"messages": received.messages, "bytes": received.bytes},
            "event": last_event,
            **granted(grant),
        }
        return json.dumps(fields, separators=(",", ":"))

    def superseded(self) -> str:
        text = "the session was resumed over another connection"
        fields = {"type": "error", "code": Code.CANCELLED.value, "message": text}
        return json.dumps(fields, separators=(",", ":"))
