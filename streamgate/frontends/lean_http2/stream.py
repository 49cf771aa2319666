"""One HTTP/2 stream that is a gRPC call: DATA to messages, answers to the outbox.

Messages go to a `Sink` while it wants them; what it does not want yet stays here and keeps its part
of the stream's window closed, so that the pressure reaches the peer.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, final

from streamgate.frontends.lean_http2.answers import Trailers
from streamgate.frontends.lean_http2.frames import MESSAGE_PREFIX, ErrorCode, window_update
from streamgate.frontends.lean_http2.heads import INTERNAL, RequestHead

if TYPE_CHECKING:
    from streamgate.frontends.lean_http2.connection import Http2Connection

RESOURCE_EXHAUSTED: Final = 8
_PREFIX_BYTES: Final = 5
_TINY_BYTES: Final = 64
"""DATA below this size that completes no message is charged as a frame without work."""


class Sink(Protocol):
    """What a call's messages go to. All of it happens on the event loop's thread."""

    @property
    def wants_message(self) -> bool: ...

    def on_message(self, data: bytes, /) -> None: ...

    def on_half_close(self) -> None:
        """The peer has sent its last message."""

    def on_lost(self) -> None:
        """The call is gone, by reset, deadline or lost connection. Nothing else follows."""

    def on_sent(self, size_bytes: int, /) -> None:
        """Messages of this many bytes have left."""


@final
class Http2Stream:
    """One call. `on_end` is called once, when nothing of it is left."""

    __slots__ = (
        "_buffer",
        "_connection",
        "_held_bytes",
        "_is_half_close_told",
        "_need",
        "_owed",
        "_received",
        "_window",
        "ending",
        "has_started",
        "head",
        "id",
        "is_over",
        "is_remote_closed",
        "on_end",
        "pending",
        "pending_at",
        "send_window",
        "sink",
    )

    def __init__(
        self, connection: Http2Connection, stream_id: int, head: RequestHead, send_window: int
    ) -> None:
        self.id = stream_id
        self.head = head
        self.sink: Sink | None = None
        self.on_end: Callable[[], None] | None = None
        self.is_remote_closed = False
        self.is_over = False
        self.send_window = send_window
        self.has_started = False
        self.pending: deque[bytes] = deque()
        self.pending_at = 0
        self.ending: tuple[int, str, Trailers] | None = None
        self._connection = connection
        self._window = connection.limits.stream_window_bytes
        self._owed = 0
        self._received = 0
        self._buffer: bytes | bytearray = b""
        self._need = _PREFIX_BYTES
        self._held_bytes = 0
        self._is_half_close_told = False

    @property
    def is_answered(self) -> bool:
        """Whether the call's status is settled."""
        return self.is_over or self.ending is not None

    def start(self, metadata: Trailers, /) -> None:
        """Write the call's headers with this metadata, before any message."""
        if not self.is_answered:
            self._connection.outbox.start(self, metadata)

    def send(self, message: bytes) -> None:
        """Write a message; `on_sent` of the sink is told later."""
        if not self.is_answered:
            self._connection.outbox.message(self, message)

    def answer(self, message: bytes) -> None:
        """Write the only message and end with OK."""
        if not self.is_answered:
            self._connection.outbox.answer(self, message)

    def finish(self, status: int, text: str = "", trailers: Trailers = ()) -> None:
        """End the call with this gRPC status and metadata, after the messages before."""
        if not self.is_answered:
            self._connection.outbox.end(self, status, text, trailers)

    def expire(self, status: int, text: str) -> None:
        """The call's time is up: end it now, without what the peer did not read in time."""
        if self.is_over:
            return
        self.lose()
        if self.pending:
            self._connection.reset(self, ErrorCode.CANCEL)
            self._connection.forget(self)
        else:
            self.finish(status, text)

    def drop_unsent(self) -> None:
        """Drop the messages of which nothing has been written."""
        if not self.is_answered:
            self._connection.outbox.drop_unsent(self)

    def resume(self) -> None:
        """The sink wants messages again. It gets them later, not from within this call."""
        if not self.is_over:
            self._connection.to_resume(self)

    def on_ended(self) -> None:
        """Everything is written. A peer that still sends is told to stop (RFC 9113, 8.1)."""
        if self.is_over:
            return
        if not self.is_remote_closed:
            self._connection.reset(self, ErrorCode.NO_ERROR)
        self._connection.forget(self)

    def on_data(self, payload: bytes, size_bytes: int, *, ends: bool) -> None:
        """Take a DATA frame; `size_bytes` counts its padding too."""
        self._window -= size_bytes
        if self._window < 0:
            self._connection.fault(self, ErrorCode.FLOW_CONTROL_ERROR)
            return
        self._owed += size_bytes
        self._received += len(payload)
        self.is_remote_closed = ends
        expected = self.head.content_length
        if expected is not None and (
            self._received > expected or (ends and self._received < expected)
        ):
            self._connection.fault(self, ErrorCode.PROTOCOL_ERROR)
            return
        if self.is_answered:
            self._connection.charge(1)
            return
        delivered = self._take(payload)
        if self.is_over:
            return
        is_idle = not payload or (
            len(payload) < _TINY_BYTES and not delivered and not self._is_held
        )
        if is_idle and not ends:
            self._connection.charge(1)
        if not self._account():
            self.drop()
            self._refuse(RESOURCE_EXHAUSTED, "too much is held of messages not yet taken")

    def on_end_of_request(self) -> None:
        """The peer has ended its side without DATA."""
        self.is_remote_closed = True
        expected = self.head.content_length
        if expected is not None and self._received != expected:
            self._connection.fault(self, ErrorCode.PROTOCOL_ERROR)
            return
        self._half_close_if_due()

    def go_on(self) -> None:
        """Hand over what was held, after `resume`."""
        if self.is_over:
            return
        self._take(b"")
        if not self.is_over:
            self._account()

    def drop(self) -> None:
        """Nothing of this stream counts any more: free what it holds."""
        self._buffer = b""
        self._account()

    def lose(self) -> None:
        """Tell the sink that the call is gone. One that has come to its end takes no notice."""
        sink, self.sink = self.sink, None
        if sink is not None:
            sink.on_lost()

    def _account(self) -> bool:
        """Tell the connection what is held here; False when that is too much."""
        change = len(self._buffer) - self._held_bytes
        if not change:
            return True
        self._held_bytes += change
        return self._connection.hold(change)

    @property
    def _is_held(self) -> bool:
        """Whether a whole message is here that the sink does not want."""
        if not self._buffer or self._need:
            return False
        return self.sink is not None and not self.sink.wants_message

    def _take(self, payload: bytes) -> int:
        """Deliver whole messages, keep the rest, reopen the window. Returns how many."""
        if self._buffer:
            # Grown in place while a large message comes in.
            if not isinstance(self._buffer, bytearray):
                self._buffer = bytearray(self._buffer)
            self._buffer += payload
            if len(self._buffer) < self._need or self._is_held:
                self._reopen()
                return 0
            payload = bytes(self._buffer)
        count, at = self._deliver(payload)
        if self.is_over:
            return count
        self._buffer = payload[at:]
        self._reopen()
        self._half_close_if_due()
        return count

    def _deliver(self, data: bytes) -> tuple[int, int]:
        """How many messages the sink took of `data`, and where the rest begins."""
        count, at, end = 0, 0, len(data)
        limit = self._connection.limits.message_bytes
        while end - at >= _PREFIX_BYTES:
            flag, length = MESSAGE_PREFIX.unpack_from(data, at)
            if length > limit:
                text = f"a message of {length} bytes, at most {limit} are taken"
                self._refuse(RESOURCE_EXHAUSTED, text)
                return count, end
            stop = at + _PREFIX_BYTES + length
            if stop > end:
                self._need = stop - at
                return count, at
            sink = self.sink
            if sink is None or self.is_answered:
                return count, end
            if not sink.wants_message:
                self._need = 0
                return count, at
            message: bytes | None = data[at + _PREFIX_BYTES : stop]
            if flag and message is not None:
                message = self._inflated(flag, message, limit)
            if message is None:
                return count, end
            at = stop
            count += 1
            sink.on_message(message)
            if self.is_over:
                return count, end
        self._need = _PREFIX_BYTES
        return count, at

    def _inflated(self, flag: int, message: bytes, limit: int) -> bytes | None:
        """A compressed message's bytes; None after the call was ended as there are none."""
        encoding = self.head.encoding
        if flag != 1 or encoding == "identity":
            self._refuse(INTERNAL, f"compressed flag {flag} with grpc-encoding '{encoding}'")
            return None
        inflater = zlib.decompressobj(31 if encoding == "gzip" else 15)
        try:
            data = inflater.decompress(message, limit + 1)
        except zlib.error as error:
            self._refuse(INTERNAL, f"a message that is no {encoding}: {error}")
            return None
        if len(data) > limit:
            self._refuse(RESOURCE_EXHAUSTED, f"a message of more than {limit} bytes inflated")
            return None
        if not inflater.eof:
            self._refuse(INTERNAL, f"a message whose {encoding} stream is cut short")
            return None
        return data

    def _reopen(self) -> None:
        """Give the peer its window back, unless messages wait here for the sink."""
        if self.is_remote_closed or self._is_held:
            return
        if self._owed * 2 >= self._connection.limits.stream_window_bytes:
            owed, self._owed = self._owed, 0
            self._window += owed
            self._connection.outbox.control(window_update(self.id, owed))

    def _half_close_if_due(self) -> None:
        if not self.is_remote_closed or self._is_half_close_told or self.is_answered:
            return
        if self._buffer:
            if self._need:
                self._refuse(INTERNAL, "the request ended within a message")
            return
        self._is_half_close_told = True
        if self.sink is not None:
            self.sink.on_half_close()

    def _refuse(self, status: int, text: str) -> None:
        """End the call for what the peer sent."""
        self.lose()
        self.finish(status, text)
