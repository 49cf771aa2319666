"""What two processes of one server say to each other while one relays a client to the other.

    uint8 kind, uint32 length (little endian), payload

The handshake and its answer are JSON. Messages go both ways as they are. A ping is answered when
the client has got all that went before it; a farewell when the client has answered it.
"""

import asyncio
import json
import struct
from dataclasses import asdict
from enum import IntEnum
from typing import Any, Final, final

from streamgate.frontends.sockets.contract import Accepted, Handshake, Message, Refusal

_HEAD: Final = struct.Struct("<BI")
_CODE: Final = struct.Struct("<H")
FRAME_BYTES_MAX: Final = 80 * 2**20
"""More than the longest message of a client's."""
HANDSHAKE_BYTES_MAX: Final = 2**20


class Kind(IntEnum):
    """The kinds of frames."""

    HANDSHAKE = 1
    ACCEPTED = 2
    REFUSED = 3
    TEXT = 4
    BINARY = 5
    PING = 6
    PONG = 7
    CLOSE = 8
    CLOSED = 9


@final
class RelayStream:
    """Frames over a Unix socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, bytes_max: int = FRAME_BYTES_MAX) -> tuple[Kind, bytes]:
        """The next frame. Raises ConnectionError when there is none any more, or when what comes is
        no frame."""
        try:
            kind, size = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
            if size > bytes_max:
                raise ConnectionError(f"a frame of {size} bytes, expected at most {bytes_max}")
            return Kind(kind), await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ValueError) as error:
            raise ConnectionError(f"the other process is gone, or says no frame: {error}") from None

    def write(self, kind: Kind, payload: bytes = b"") -> None:
        """Nothing happens if the other side is gone: reading finds out."""
        if not self._writer.is_closing():
            self._writer.writelines((_HEAD.pack(kind, len(payload)), payload))

    def write_message(self, message: Message) -> None:
        if isinstance(message, str):
            self.write(Kind.TEXT, message.encode(errors="surrogatepass"))
        else:
            self.write(Kind.BINARY, message)

    async def drain(self) -> None:
        """Wait for room. Raises ConnectionError."""
        await self._writer.drain()

    @property
    def has_room(self) -> bool:
        """Whether `drain` would not wait."""
        transport = self._writer.transport
        return transport.get_write_buffer_size() <= transport.get_write_buffer_limits()[1]

    @property
    def is_closing(self) -> bool:
        return self._writer.is_closing()

    def finish(self) -> None:
        """Close behind what was written."""
        self._writer.close()

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()


def message_of(kind: Kind, payload: bytes) -> Message:
    """A TEXT's or a BINARY's."""
    return payload.decode(errors="surrogatepass") if kind is Kind.TEXT else payload


def handshake_bytes(dialect: str, handshake: Handshake) -> bytes:
    return json.dumps({"dialect": dialect, **asdict(handshake)}).encode()


def handshake_of(payload: bytes) -> tuple[str, Handshake]:
    """The dialect's name, and what its client said."""
    fields = json.loads(payload)
    dialect = str(fields.pop("dialect"))
    return dialect, Handshake(**fields)


def answer_frame(answer: Accepted | Refusal) -> tuple[Kind, bytes]:
    if isinstance(answer, Refusal):
        return Kind.REFUSED, json.dumps(asdict(answer)).encode()
    told = {"subprotocol": answer.subprotocol, "headers": dict(answer.headers)}
    return Kind.ACCEPTED, json.dumps(told).encode()


def refusal_of(payload: bytes) -> Refusal:
    return Refusal(**json.loads(payload))


def acceptance_of(payload: bytes) -> dict[str, Any]:
    """`subprotocol` and `headers` of an ACCEPTED."""
    fields: dict[str, Any] = json.loads(payload)
    return fields


def farewell_bytes(code: int, reason: str = "") -> bytes:
    return _CODE.pack(code) + reason.encode()


def farewell_of(payload: bytes) -> tuple[int, str]:
    return _CODE.unpack_from(payload)[0], payload[_CODE.size :].decode(errors="replace")
