"""What one connection may cost us, and the budgets that frames without work are charged to.

Knows no frames: it only counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

MIB: Final = 1024 * 1024
NS_PER_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """Bounds of one connection.

    streams: calls at once; further ones are refused, which a client may try again.
    frame_bytes, stream_window_bytes, connection_window_bytes: what the peer is told of what it may
        send. `frame_bytes` is at least 16384, which RFC 9113 fixes.
    header_list_bytes, header_frames: one header block, decoded, and the frames it comes in.
    message_bytes: one message, also after decompression.
    received_bytes: what is held of messages that are incomplete or not wanted yet, all streams
        together; the stream that goes beyond is ended.
    unsent_bytes: messages that wait for the peer's windows or for its reading, all streams
        together; beyond, the connection is ended.
    unsent_control_bytes: the same of answers to control frames while the peer does not read.
    idle_frames, idle_frames_per_second: frames that do no work: SETTINGS (each entry counts), PING,
        PRIORITY, unknown ones, tiny DATA, frames for calls that are over. WINDOW_UPDATE counts
        only beyond four for each frame of data sent: grpc-core sends one for every message.
    resets, resets_per_second: calls begun and broken off by the peer, or refused as malformed.
    preface_seconds: until the peer has shown that it speaks HTTP/2.
    idle_seconds: without a call, the connection is ended after this time; 0 never does.
    """

    streams: int = 1024
    frame_bytes: int = 16384
    stream_window_bytes: int = MIB
    connection_window_bytes: int = 16 * MIB
    header_list_bytes: int = 65536
    header_frames: int = 32
    message_bytes: int = 256 * MIB
    received_bytes: int = 512 * MIB
    unsent_bytes: int = 512 * MIB
    unsent_control_bytes: int = 256 * 1024
    idle_frames: int = 10_000
    idle_frames_per_second: int = 2_000
    resets: int = 2_000
    resets_per_second: int = 200
    preface_seconds: float = 10.0
    idle_seconds: float = 0.0


@final
class Budget:
    """So many at once, so many per second in the long run."""

    __slots__ = ("_capacity", "_left", "_per_second", "_seen_ns")

    def __init__(self, capacity: int, per_second: int, now_ns: int) -> None:
        self._capacity = float(capacity)
        self._per_second = per_second
        self._left = self._capacity
        self._seen_ns = now_ns

    def spend(self, count: int, now_ns: int) -> bool:
        """Whether there was enough left."""
        self._left -= count
        if self._left >= 0:
            return True
        elapsed_ns = max(0, now_ns - self._seen_ns)
        self._seen_ns = now_ns
        refill = elapsed_ns * self._per_second / NS_PER_SECOND
        self._left = min(self._capacity, self._left + refill)
        return self._left >= 0
