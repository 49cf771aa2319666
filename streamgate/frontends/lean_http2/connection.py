"""One HTTP/2 server connection for gRPC, without a socket: bytes in, calls and bytes out.

Implements RFC 9113 with prior knowledge as far as gRPC uses it. No server push, no priorities, no
upgrade from HTTP/1.1. Whoever drives it calls `feed` with what was read, then writes `take`, and
does so again when `wake` was called; time is handed in. A peer that breaks the rules or
its budgets gets GOAWAY, and `is_closing` turns true.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, final

from streamgate.frontends.lean_http2 import frames
from streamgate.frontends.lean_http2.frames import (
    FRAME_HEAD_BYTES,
    HEAD,
    PREFACE,
    SETTING,
    STREAM_ID_MASK,
    WINDOW_DEFAULT,
    WINDOW_MAX,
    WORD,
    ConnectionFaultError,
    ErrorCode,
)
from streamgate.frontends.lean_http2.heads import HeaderBlock, HeadReader, MalformedError
from streamgate.frontends.lean_http2.limits import Budget, Http2Limits
from streamgate.frontends.lean_http2.outbox import Outbox
from streamgate.frontends.lean_http2.stream import Http2Stream

_LOG: Final = logging.getLogger(__name__)
_PARTED_MAX: Final = 2048
"""Streams that we ended first, whose peer may not know it yet."""

_PARTED_FRAMES: Final = 2
"""What such a peer may still send free of charge: a request and its end. Else a client whose calls
are refused at a high rate would be cut off for it."""

OpenCall = Callable[[Http2Stream], None]
"""Begins a call: sets the stream's sink and `on_end`, or finishes it at once."""


@final
class Http2Connection:
    """The protocol's state machine. See the module's text."""

    def __init__(
        self, limits: Http2Limits, open_call: OpenCall, wake: Callable[[], None], now_ns: int
    ) -> None:
        self.limits = limits
        self.outbox = Outbox(wake)
        self.streams: dict[int, Http2Stream] = {}
        self.is_closing = False
        self.is_established = False
        self.ping_answers = 0
        self._open_call = open_call
        self._wake = wake
        self._now_ns = now_ns
        self._idle_frames = Budget(limits.idle_frames, limits.idle_frames_per_second, now_ns)
        self._resets = Budget(limits.resets, limits.resets_per_second, now_ns)
        self._heads = HeadReader(limits.header_list_bytes)
        self._rest = b""
        self._has_preface = False
        self.last_id = 0
        self._parted: dict[int, int] = {}
        self._block: HeaderBlock | None = None
        self._owed = 0
        self._held_bytes = 0
        self._resuming: dict[int, Http2Stream] = {}
        self._is_leaving = False
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._on_headers,
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.CONTINUATION: self._on_stray_continuation,
        }
        self._greet()

    def feed(self, data: bytes, now_ns: int) -> None:
        """Take bytes from the peer, in whatever pieces. Never raises."""
        if self.is_closing:
            return
        self._now_ns = now_ns
        self._rest = self._rest + data if self._rest else data
        self._try(self._take_bytes)

    def take(self) -> bytes:
        """The next bytes to write; empty when there are none for now."""
        if not self.is_closing:
            outbox, limits = self.outbox, self.limits
            if outbox.waiting_bytes > limits.unsent_bytes:
                self.fail(ErrorCode.ENHANCE_YOUR_CALM, "the client reads too slowly")
            elif outbox.paused_control_bytes > limits.unsent_control_bytes:
                self.fail(ErrorCode.ENHANCE_YOUR_CALM, "the client does not read")
        return self.outbox.take()

    def settle(self) -> None:
        """Tell sinks what has left and let those go on that want messages again."""
        for stream, size_bytes in self.outbox.take_settled().items():
            sink = self.streams[stream.id].sink if stream.id in self.streams else None
            if sink is not None:
                sink.on_sent(size_bytes)
        resuming, self._resuming = self._resuming, {}
        for waiting in resuming.values():
            self._try(waiting.go_on)

    @property
    def has_to_settle(self) -> bool:
        return self.outbox.has_settled or bool(self._resuming)

    def ping(self, payload: bytes) -> None:
        """Ask the peer for a sign of life; `ping_answers` counts them."""
        self.outbox.control(frames.frame(frames.PING, 0, 0, payload))

    def leave(self) -> None:
        """Begin no more calls; those that run may end."""
        if not self._is_leaving and not self.is_closing:
            self._is_leaving = True
            self.outbox.control(frames.goaway(self.last_id, ErrorCode.NO_ERROR))

    def fail(self, code: ErrorCode, text: str) -> None:
        """End the connection, all calls with it."""
        if self.is_closing:
            return
        self.outbox.control(frames.goaway(self.last_id, code, text))
        self.lose()

    def lose(self) -> None:
        """The connection is gone, and all calls with it."""
        self.is_closing = True
        self._rest = b""
        for stream in tuple(self.streams.values()):
            self.forget(stream)
            stream.lose()

    def reset(self, stream: Http2Stream, code: ErrorCode) -> None:
        """Tell the peer that the stream has ended, and bear with what it sent before it knew."""
        self.outbox.control(frames.rst_stream(stream.id, code))
        self._part(stream.id)

    def fault(self, stream: Http2Stream, code: ErrorCode) -> None:
        """The peer broke the rules of one stream. Charged, as it costs us a call."""
        self._spend_reset()
        self.reset(stream, code)
        self.forget(stream)
        stream.lose()

    def forget(self, stream: Http2Stream) -> None:
        """Nothing of the stream is left to do."""
        if stream.is_over:
            return
        stream.is_over = True
        del self.streams[stream.id]
        self._resuming.pop(stream.id, None)
        if stream.pending:
            self.outbox.forget(stream)
        stream.drop()
        if stream.on_end is not None:
            stream.on_end()

    def to_resume(self, stream: Http2Stream) -> None:
        self._resuming[stream.id] = stream
        self._wake()

    def charge(self, count: int) -> None:
        """Pay for frames that did no work."""
        if not self._idle_frames.spend(count, self._now_ns):
            raise ConnectionFaultError(
                ErrorCode.ENHANCE_YOUR_CALM, "too many frames that do no work"
            )

    def hold(self, size_bytes: int) -> bool:
        """Account for bytes that stay in a stream; False when that is more than may be."""
        self._held_bytes += size_bytes
        return size_bytes <= 0 or self._held_bytes <= self.limits.received_bytes

    def _greet(self) -> None:
        limits = self.limits
        entries = {
            frames.MAX_CONCURRENT_STREAMS: limits.streams,
            frames.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            frames.MAX_FRAME_SIZE: limits.frame_bytes,
            frames.MAX_HEADER_LIST_SIZE: limits.header_list_bytes,
        }
        self.outbox.control(frames.settings(entries))
        if limits.connection_window_bytes > WINDOW_DEFAULT:
            more = limits.connection_window_bytes - WINDOW_DEFAULT
            self.outbox.control(frames.window_update(0, more))

    def _try(self, work: Callable[[], object]) -> None:
        """Do what a fault of the peer, or a defect of ours, ends the connection in."""
        try:
            work()
        except ConnectionFaultError as fault:
            self.fail(fault.code, fault.text)
        except Exception:  # noqa: BLE001, no peer may end more than its own connection
            _LOG.exception("an HTTP/2 connection could not go on")
            self.fail(ErrorCode.INTERNAL_ERROR, "internal error")

    def _take_bytes(self) -> None:
        if self._has_preface or self._take_preface():
            self._take_frames()

    def _take_preface(self) -> bool:
        rest = self._rest
        if rest[: len(PREFACE)] != PREFACE[: len(rest)]:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "this port speaks HTTP/2 only")
        if len(rest) < len(PREFACE):
            return False
        self._has_preface = True
        self._rest = rest[len(PREFACE) :]
        return True

    def _take_frames(self) -> None:
        data = self._rest
        at, end = 0, len(data)
        limit = self.limits.frame_bytes
        on_data, handlers = self._on_data, self._handlers
        while end - at >= FRAME_HEAD_BYTES:
            word, flags, stream_id = HEAD.unpack_from(data, at)
            length = word >> 8
            if length > limit:
                raise ConnectionFaultError(
                    ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes, at most {limit}"
                )
            stop = at + FRAME_HEAD_BYTES + length
            if stop > end:
                break
            kind = word & 0xFF
            payload = data[at + FRAME_HEAD_BYTES : stop]
            at = stop
            stream_id &= STREAM_ID_MASK
            if not self.is_established:
                self._expect_settings(kind, flags)
            if self._block is not None:
                self._on_continuation(self._block, kind, flags, stream_id, payload)
            elif kind == 0:
                on_data(flags, stream_id, payload)
            elif (handler := handlers.get(kind)) is not None:
                handler(flags, stream_id, payload)
            else:
                self.charge(1)  # an unknown frame is to be ignored
            if self.is_closing:
                return
        self._rest = data[at:]

    def _expect_settings(self, kind: int, flags: int) -> None:
        if kind != frames.SETTINGS or flags & frames.ACK:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
        self.is_established = True

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size_bytes = len(payload)
        # Windows of streams bound what is held; the connection's stays open.
        self._owed += size_bytes
        if self._owed * 2 >= max(self.limits.connection_window_bytes, WINDOW_DEFAULT):
            self.outbox.control(frames.window_update(0, self._owed))
            self._owed = 0
        if flags & frames.PADDED:
            payload = frames.unpadded(flags, payload)
        stream = self.streams.get(stream_id)
        if stream is None:
            self._on_frame_of_no_stream(stream_id)
        elif stream.is_remote_closed:
            self.fault(stream, ErrorCode.STREAM_CLOSED)
        else:
            stream.on_data(payload, size_bytes, ends=bool(flags & frames.END_STREAM))

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise ConnectionFaultError(
                ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}, which is no client's"
            )
        if flags & frames.PADDED:
            payload = frames.unpadded(flags, payload)
        if flags & frames.PRIORITISED:
            if len(payload) < 5:
                raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS cut short")
            if WORD.unpack_from(payload)[0] & STREAM_ID_MASK == stream_id:
                raise ConnectionFaultError(
                    ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself"
                )
            payload = payload[5:]
        ends = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._on_block(stream_id, payload, ends=ends)
        else:
            self._block = HeaderBlock(stream_id, payload, ends=ends)

    def _on_continuation(
        self, block: HeaderBlock, kind: int, flags: int, stream_id: int, payload: bytes
    ) -> None:
        if kind != frames.CONTINUATION or stream_id != block.stream_id:
            raise ConnectionFaultError(
                ErrorCode.PROTOCOL_ERROR, "a header block was broken off by another frame"
            )
        block.add(payload, self.limits)
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(block.stream_id, bytes(block.data), ends=block.ends)

    def _on_stray_continuation(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")

    def _on_block(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        if stream_id > self.last_id:
            self._on_request(stream_id, block, ends=ends)
            return
        stream = self.streams.get(stream_id)
        try:
            self._heads.trailers(block)
        except MalformedError:
            if stream is not None:
                self.fault(stream, ErrorCode.PROTOCOL_ERROR)
                return
        if stream is None:
            if stream_id not in self._parted:
                raise ConnectionFaultError(
                    ErrorCode.STREAM_CLOSED, f"HEADERS on stream {stream_id}, which is closed"
                )
            self._charge_late(stream_id)
        elif stream.is_remote_closed:
            self.fault(stream, ErrorCode.STREAM_CLOSED)
        elif not ends:
            self.fault(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            stream.on_end_of_request()

    def _on_request(self, stream_id: int, block: bytes, *, ends: bool) -> None:
        try:
            head = self._heads.request(block)
        except MalformedError:
            self._refuse(stream_id, ErrorCode.PROTOCOL_ERROR)
            return
        if self._is_leaving or len(self.streams) >= self.limits.streams:
            self._refuse(stream_id, ErrorCode.REFUSED_STREAM)
            return
        self.last_id = stream_id
        stream = Http2Stream(self, stream_id, head, self.outbox.stream_window)
        if head.http_status != 200:
            flags = frames.END_HEADERS | frames.END_STREAM
            answer = self.outbox.blocks.http(head.http_status)
            self.outbox.control(frames.frame(frames.HEADERS, flags, stream_id, answer))
            if not ends:
                self.reset(stream, ErrorCode.NO_ERROR)
            self.charge(1)
            return
        self.streams[stream_id] = stream
        if ends:
            stream.is_remote_closed = True
        self._open_call(stream)
        if ends and not stream.is_over:
            stream.on_end_of_request()

    def _refuse(self, stream_id: int, code: ErrorCode) -> None:
        self.last_id = stream_id
        self._spend_reset()
        self.outbox.control(frames.rst_stream(stream_id, code))
        self._part(stream_id)

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is 5 bytes")
        self.charge(1)

    def _on_reset(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM is 4 bytes")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._on_frame_of_no_stream(stream_id)
            return
        self._spend_reset()
        self.forget(stream)
        stream.lose()

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if len(payload) % SETTING.size or (flags & frames.ACK and payload):
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        self.charge(1 + len(payload) // SETTING.size)
        if flags & frames.ACK:
            return
        for key, value in SETTING.iter_unpack(payload):
            self._set(key, value)
        self.outbox.control(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _set(self, key: int, value: int) -> None:
        outbox = self.outbox
        if key == frames.HEADER_TABLE_SIZE:
            outbox.blocks.limit_table(value)
        elif key == frames.ENABLE_PUSH:
            if value > 1:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH of {value}")
        elif key == frames.INITIAL_WINDOW_SIZE:
            if value > WINDOW_MAX:
                raise ConnectionFaultError(
                    ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE of {value}"
                )
            change = value - outbox.stream_window
            outbox.stream_window = value
            for stream in self.streams.values():
                stream.send_window += change
                if stream.send_window > WINDOW_MAX:
                    raise ConnectionFaultError(
                        ErrorCode.FLOW_CONTROL_ERROR, "a stream's window exceeds 2**31 - 1"
                    )
                outbox.enlarged(stream)
        elif key == frames.MAX_FRAME_SIZE:
            if not frames.FRAME_BYTES_MIN <= value <= frames.FRAME_BYTES_MAX:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
            outbox.frame_bytes = value

    def _on_push(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "clients don't push")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "PING is 8 bytes")
        self.charge(1)
        if flags & frames.ACK:
            self.ping_answers += 1
        else:
            self.outbox.control(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY cut short")
        self.charge(1)  # the peer closes when its calls have ended

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE is 4 bytes")
        increment = WORD.unpack(payload)[0] & STREAM_ID_MASK
        outbox = self.outbox
        if outbox.updates_due:
            outbox.updates_due -= 1
        else:
            self.charge(1)
        if not stream_id:
            if not increment:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            outbox.enlarge(increment)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if stream_id > self.last_id:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE before HEADERS")
            return
        stream.send_window += increment
        if not increment:
            self.fault(stream, ErrorCode.PROTOCOL_ERROR)
        elif stream.send_window > WINDOW_MAX:
            self.fault(stream, ErrorCode.FLOW_CONTROL_ERROR)
        elif stream.pending:
            outbox.enlarged(stream)

    def _on_frame_of_no_stream(self, stream_id: int) -> None:
        """DATA or RST_STREAM for a stream that has ended, unless it never began."""
        if not stream_id or not stream_id & 1 or stream_id > self.last_id:
            raise ConnectionFaultError(
                ErrorCode.PROTOCOL_ERROR, f"a frame on stream {stream_id}, which never began"
            )
        self._charge_late(stream_id)

    def _charge_late(self, stream_id: int) -> None:
        """Pay for a frame of a stream that has ended."""
        free = self._parted.get(stream_id, 0)
        if free:
            self._parted[stream_id] = free - 1
        else:
            self.charge(1)

    def _part(self, stream_id: int) -> None:
        self._parted[stream_id] = _PARTED_FRAMES
        if len(self._parted) > _PARTED_MAX:
            del self._parted[next(iter(self._parted))]

    def _spend_reset(self) -> None:
        if not self._resets.spend(1, self._now_ns):
            raise ConnectionFaultError(
                ErrorCode.ENHANCE_YOUR_CALM, "too many calls begun and broken off"
            )
