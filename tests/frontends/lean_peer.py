"""A hand-made HTTP/2 client against the lean transport's core: bytes in and out, no socket."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hpack import Decoder, Encoder

from streamgate.frontends.lean_http2 import frames
from streamgate.frontends.lean_http2.connection import Http2Connection
from streamgate.frontends.lean_http2.limits import NS_PER_SECOND, Http2Limits
from streamgate.frontends.lean_http2.stream import Http2Stream

HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test/Echo"),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


def message(data: bytes, flag: int = 0) -> bytes:
    """With gRPC's prefix."""
    return struct.pack(">BI", flag, len(data)) + data


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


@dataclass
class Frame:
    kind: int
    flags: int
    stream_id: int
    payload: bytes


class EchoCall:
    """Sends each message back while it `wants_message`; ends with OK after the half-close."""

    def __init__(self, stream: Http2Stream) -> None:
        self.stream = stream
        self.wants_message = True
        self.messages: list[bytes] = []
        self.sent_bytes = 0
        self.is_half_closed = False
        self.is_lost = False
        self.is_ended = False
        self.is_silent = False

    def on_message(self, data: bytes, /) -> None:
        self.messages.append(data)
        if not self.is_silent:
            self.stream.send(data)

    def on_half_close(self) -> None:
        self.is_half_closed = True
        if not self.is_silent:
            self.stream.finish(0)

    def on_lost(self) -> None:
        self.is_lost = True

    def on_sent(self, size_bytes: int, /) -> None:
        self.sent_bytes += size_bytes

    def on_end(self) -> None:
        assert not self.is_ended, "a call ends once"
        self.is_ended = True


class Peer:
    """The client's end. Time stands still unless a test moves `now_ns`."""

    def __init__(self, limits: Http2Limits | None = None, *, greets: bool = True) -> None:
        self.now_ns = 0
        self.calls: list[EchoCall] = []
        self.is_silent = False
        self.frames: list[Frame] = []
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.core = Http2Connection(limits or Http2Limits(), self._open, lambda: None, 0)
        self._received = b""
        if greets:
            self.feed(frames.PREFACE + frames.settings({}))
            self.frames.clear()

    def _open(self, stream: Http2Stream) -> None:
        call = EchoCall(stream)
        call.is_silent = self.is_silent
        stream.sink = call
        stream.on_end = call.on_end
        self.calls.append(call)

    def feed(self, data: bytes) -> None:
        self.core.feed(data, self.now_ns)
        self.flush()

    def flush(self) -> None:
        while True:
            data = self.core.take()
            self._received += data
            if self.core.has_to_settle:
                self.core.settle()
            elif not data:
                break
        self.frames += self._parsed()

    def _parsed(self) -> Iterator[Frame]:
        while len(self._received) >= 9:
            word, flags, stream_id = struct.unpack_from(">IBI", self._received)
            stop = 9 + (word >> 8)
            yield Frame(word & 0xFF, flags, stream_id, self._received[9:stop])
            self._received = self._received[stop:]

    def frame(self, kind: int, flags: int, stream_id: int, payload: bytes = b"") -> None:
        self.feed(frames.frame(kind, flags, stream_id, payload))

    def head(self, *extra: tuple[str, str], fields: tuple[tuple[str, str], ...] = HEADERS) -> bytes:
        return bytes(self.encoder.encode([*fields, *extra]))

    def open(self, stream_id: int = 1, *extra: tuple[str, str], flags: int = 0) -> EchoCall:
        self.frame(frames.HEADERS, frames.END_HEADERS | flags, stream_id, self.head(*extra))
        return self.calls[-1]

    def data(self, stream_id: int, payload: bytes, *, ends: bool = False) -> None:
        self.frame(frames.DATA, frames.END_STREAM if ends else 0, stream_id, payload)

    def pass_seconds(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS_PER_SECOND)

    def of_kind(self, kind: int, stream_id: int | None = None) -> list[Frame]:
        return [
            each
            for each in self.frames
            if each.kind == kind and stream_id in {None, each.stream_id}
        ]

    def bytes_of(self, stream_id: int) -> bytes:
        return b"".join(each.payload for each in self.of_kind(frames.DATA, stream_id))

    def decode(self, block: bytes) -> dict[str, str]:
        """Must see every block that came, in its order."""
        return {str(name): str(value) for name, value in self.decoder.decode(block)}

    def fields_of(self, stream_id: int) -> list[dict[str, str]]:
        """Header blocks of a stream. Decodes all that came, so that it may be asked once."""
        blocks = [
            (each.stream_id, self.decode(each.payload)) for each in self.of_kind(frames.HEADERS)
        ]
        return [fields for found_id, fields in blocks if found_id == stream_id]

    def goaway(self) -> tuple[int, str]:
        """Code and text of the connection's end."""
        (last,) = self.of_kind(frames.GOAWAY)
        return struct.unpack_from(">I", last.payload, 4)[0], last.payload[8:].decode()

    def reset_code(self, stream_id: int) -> int:
        (reset,) = self.of_kind(frames.RST_STREAM, stream_id)
        code: int = struct.unpack(">I", reset.payload)[0]
        return code
