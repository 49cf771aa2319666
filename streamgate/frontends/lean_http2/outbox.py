"""What leaves one connection: frames under the peer's windows, messages waiting for them.

What fits goes straight into the next write. The rest waits with its stream and leaves in turns,
a frame for each stream, so that a large answer doesn't hold the others up. Nothing here calls
handlers; `take_settled` tells what has left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, final

from streamgate.frontends.lean_http2.answers import SHORT_OK, SHORT_START, AnswerBlocks, Trailers
from streamgate.frontends.lean_http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_MIN,
    HEAD,
    HEADERS,
    MESSAGE_HEAD,
    MESSAGE_PREFIX,
    WINDOW_DEFAULT,
    WINDOW_MAX,
    ConnectionFaultError,
    ErrorCode,
    frame,
)

_WRITE_BYTES: Final = 256 * 1024
"""One write's size, beyond which messages wait until it is known that the peer reads."""

_FRAME_BYTES_MAX: Final = 65536
_UPDATES_PER_FRAME: Final = 4
_PREFIX_BYTES: Final = 5
_START_OF_SHORT: Final = len(SHORT_START) << 8 | HEADERS
_END_OF_SHORT: Final = HEAD.size + len(SHORT_OK)


class SendingStream(Protocol):
    """The sending side of a stream, kept here for all of them."""

    id: int
    send_window: int
    has_started: bool
    pending: deque[bytes]
    pending_at: int
    ending: tuple[int, str, Trailers] | None

    def on_ended(self) -> None:
        """The last frame is written."""


@final
class Outbox:
    """Frames on their way out. `wake` is called when there is something to take."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.window = WINDOW_DEFAULT
        self.stream_window = WINDOW_DEFAULT
        self.frame_bytes = FRAME_BYTES_MIN
        self.blocks = AnswerBlocks()
        self.is_paused = False
        self.waiting_bytes = 0
        self.paused_control_bytes = 0
        self.updates_due = 0
        self._wake = wake
        self._out: list[bytes | memoryview] = []
        self._out_bytes = 0
        self._turns: dict[int, SendingStream] = {}
        self._settled: dict[SendingStream, int] = {}

    def control(self, data: bytes) -> None:
        """Write a frame that no window applies to."""
        self._out.append(data)
        self._out_bytes += len(data)
        if self.is_paused:
            self.paused_control_bytes += len(data)
        self._wake()

    def start(self, stream: SendingStream, metadata: Trailers) -> None:
        """Write the call's headers, which have metadata."""
        stream.has_started = True
        self.control(frame(HEADERS, END_HEADERS, stream.id, self.blocks.start(metadata)))

    def message(self, stream: SendingStream, message: bytes) -> None:
        """Write a message, with the call's headers if it is the first."""
        if not stream.has_started:
            self.start(stream, ())
        size = len(message) + _PREFIX_BYTES
        if self._is_clear(stream, size):
            self._write_message(stream, message, size)
            self._wake()
        else:
            self._queue(stream, message, size)

    def answer(self, stream: SendingStream, message: bytes) -> None:
        """The whole of a unary call's success: headers, the message, status OK."""
        size = len(message) + _PREFIX_BYTES
        if self.blocks.are_short and self._is_clear(stream, size):
            stream.has_started = True
            stream_id = stream.id
            self._out.append(
                HEAD.pack(_START_OF_SHORT, END_HEADERS, stream_id)
                + SHORT_START
                + MESSAGE_HEAD.pack(size << 8, 0, stream_id, 0, size - _PREFIX_BYTES)
            )
            self._out.append(message)
            self._out.append(
                HEAD.pack(len(SHORT_OK) << 8 | HEADERS, END_HEADERS | END_STREAM, stream_id)
                + SHORT_OK
            )
            self.window -= size
            stream.send_window -= size
            self._out_bytes += size + 2 * _END_OF_SHORT
            self.updates_due += _UPDATES_PER_FRAME
            self._wake()
            stream.on_ended()
            return
        self.message(stream, message)
        self.end(stream, 0, "")

    def end(self, stream: SendingStream, status: int, text: str, trailers: Trailers = ()) -> None:
        """End the call with this status after what waits."""
        stream.ending = (status, text, trailers)
        if stream.pending:
            return
        self._write_end(stream)
        self._wake()

    def drop_unsent(self, stream: SendingStream) -> None:
        """Drop what waits, but for a message that has begun to leave: it can't be taken back."""
        begun = stream.pending.popleft() if stream.pending_at else None
        self.waiting_bytes -= sum(map(len, stream.pending))
        stream.pending.clear()
        if begun is None:
            self._turns.pop(stream.id, None)
        else:
            stream.pending.append(begun)

    def forget(self, stream: SendingStream) -> None:
        """Drop what waits: the stream was reset."""
        self.waiting_bytes -= sum(map(len, stream.pending)) - stream.pending_at
        stream.pending.clear()
        stream.pending_at = 0
        self._turns.pop(stream.id, None)
        self._settled.pop(stream, None)

    def enlarge(self, increment: int) -> None:
        """The peer's WINDOW_UPDATE for the connection."""
        self.window += increment
        if self.window > WINDOW_MAX:
            raise ConnectionFaultError(
                ErrorCode.FLOW_CONTROL_ERROR, "the connection's window exceeds 2**31 - 1"
            )
        if self._turns:
            self._wake()

    def enlarged(self, stream: SendingStream) -> None:
        """The stream's own window has grown."""
        if stream.pending and stream.send_window > 0:
            self._turns[stream.id] = stream
            self._wake()

    def resume(self) -> None:
        """The transport takes bytes again."""
        self.is_paused = False
        self.paused_control_bytes = 0
        self._wake()

    def take(self) -> bytes:
        """The next write; empty when nothing can go now."""
        if self._turns and not self.is_paused:
            self._pump()
        out, self._out = self._out, []
        self._out_bytes = 0
        return b"".join(out)

    def take_settled(self) -> dict[SendingStream, int]:
        """Whose messages have left since the last call, and their bytes."""
        settled, self._settled = self._settled, {}
        return settled

    @property
    def has_settled(self) -> bool:
        return bool(self._settled)

    def _is_clear(self, stream: SendingStream, size: int) -> bool:
        return (
            size <= self.frame_bytes
            and size <= stream.send_window
            and size <= self.window
            and not stream.pending
            and not self.is_paused
            and self._out_bytes < _WRITE_BYTES
        )

    def _write_message(self, stream: SendingStream, message: bytes, size: int) -> None:
        stream.send_window -= size
        self.window -= size
        self._out.append(MESSAGE_HEAD.pack(size << 8, 0, stream.id, 0, size - _PREFIX_BYTES))
        self._out.append(message)
        self._out_bytes += size + HEAD.size
        self.updates_due += _UPDATES_PER_FRAME
        settled = self._settled
        settled[stream] = settled.get(stream, 0) + size - _PREFIX_BYTES

    def _queue(self, stream: SendingStream, message: bytes, size: int) -> None:
        stream.pending.append(MESSAGE_PREFIX.pack(0, size - _PREFIX_BYTES) + message)
        self.waiting_bytes += size
        if stream.send_window > 0:
            self._turns[stream.id] = stream
        self._wake()

    def _write_end(self, stream: SendingStream) -> None:
        assert stream.ending is not None
        blocks = self.blocks
        block = blocks.end(*stream.ending) if stream.has_started else blocks.only(*stream.ending)
        self.control(frame(HEADERS, END_HEADERS | END_STREAM, stream.id, block))
        stream.on_ended()

    def _pump(self) -> None:
        """Write what waits, by turns, as far as windows and this write's size go."""
        turns = self._turns
        while turns and self.window > 0 and self._out_bytes < _WRITE_BYTES:
            stream_id = next(iter(turns))
            stream = turns.pop(stream_id)
            self._write_part(stream)
            if not stream.pending:
                if stream.ending is not None:
                    self._write_end(stream)
            elif stream.send_window > 0:
                turns[stream_id] = stream

    def _write_part(self, stream: SendingStream) -> None:
        """One frame of the stream's first waiting message."""
        first = stream.pending[0]
        at = stream.pending_at
        limit = min(self.frame_bytes, _FRAME_BYTES_MAX)
        size = min(stream.send_window, self.window, limit, len(first) - at)
        self._out.append(HEAD.pack(size << 8 | DATA, 0, stream.id))
        self._out.append(memoryview(first)[at : at + size])
        self._out_bytes += size + HEAD.size
        stream.send_window -= size
        self.window -= size
        self.waiting_bytes -= size
        self.updates_due += _UPDATES_PER_FRAME
        stream.pending_at = at + size
        if stream.pending_at == len(first):
            stream.pending.popleft()
            stream.pending_at = 0
            settled = self._settled
            settled[stream] = settled.get(stream, 0) + len(first) - _PREFIX_BYTES
