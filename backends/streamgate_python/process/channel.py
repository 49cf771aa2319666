"""Messages between the gateway and a worker process: a header of JSON values and raw buffers.

A message is one packet of a SOCK_SEQPACKET socket, or, where it is large, as many as it takes. The
kernel copies it in and out once. Shared memory would be copied into once and read in place, but its
fresh pages cost more than both copies: a megabyte took 500 us through a memory file and 100 us in
packets (two processes on a 2-core virtual machine), and nothing has to be mapped, given back, or
trusted not to shrink.
"""

import array
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, final

from streamgate.model.tensor import Buffer

Header = list[Any]
"""What a message says: JSON values, the first of which says what kind of message it is."""

PACKET_BYTES_MAX: Final = 96 * 1024
"""A packet must fit the kernel's default buffer twice, so that one is sent while one is read."""

PACKET_SECONDS_MAX: Final = 10
"""How long the gateway waits for a worker to take a packet, or to send the next of a message.
Workers always listen."""

_PIECES_MAX = 1000

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decode = json.JSONDecoder().decode

_SIZES = struct.Struct("<QII")
"""The sizes of the whole message, of its table of buffer lengths and of its header."""


class ChannelError(Exception):
    """The other side is gone, did not take a message in time, or sent none that can be read."""


@final
class Channel:
    """One end of a connection. Any thread may send; one at a time may receive.

    `rest_seconds` is how long the rest of a message is waited for that has begun to come.
    """

    def __init__(self, end: socket.socket, rest_seconds: float | None = None) -> None:
        self._socket = end
        self._rest_seconds = rest_seconds
        self._packet = memoryview(bytearray(PACKET_BYTES_MAX))
        self._lock = threading.RLock()
        self._is_sending = False
        self._deferred: deque[list[Buffer]] = deque()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, header: Header, buffers: Sequence[Buffer] = ()) -> None:
        """Send a message. Raises ChannelError when the other side can't take it."""
        text = _encode(header).encode()
        lengths = array.array("Q", [memoryview(buffer).nbytes for buffer in buffers])
        table = lengths.tobytes()
        size = _SIZES.size + len(table) + len(text) + sum(lengths)
        parts = [_SIZES.pack(size, len(table), len(text)), table, text, *buffers]
        with self._lock:
            self._deferred.append(parts)
            if self._is_sending:
                # On this very thread: what was freed while a message was sent had one to send, too.
                return
            self._is_sending = True
            try:
                while self._deferred:
                    self._send(self._deferred.popleft())
            except OSError as error:
                raise ChannelError(f"a message could not be sent: {error}") from None
            finally:
                self._is_sending = False

    def receive(self, timeout_seconds: float | None = None, *, wait: bool = True) -> "Message":
        """The next message. Raises TimeoutError when none came in time (at once unless `wait`),
        ChannelError when the other side is gone or what came is no message."""
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            self._socket.settimeout(timeout_seconds)
            count = self._socket.recv_into(self._packet, 0, flags)
        except (TimeoutError, BlockingIOError):
            raise TimeoutError from None
        except OSError as error:
            raise ChannelError(f"nothing could be received: {error}") from None
        if not count:
            raise ChannelError("the other side has closed the connection")
        packet = self._packet[:count]
        try:
            size, table, text = _SIZES.unpack_from(packet)
            if size == count:
                return _unpacked(packet, table, text, copies=True)
            return _unpacked(self._whole(packet, size), table, text, copies=False)
        except (OSError, ValueError, MemoryError, struct.error) as error:
            raise ChannelError(f"what came is no message: {error}") from None

    def shut_down(self) -> None:
        """Nothing comes or goes any more: whoever waits for a message gets ChannelError."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is already

    def close(self) -> None:
        self._socket.close()

    def _send(self, parts: list[Buffer]) -> None:
        for packet in _packets(parts):
            # The kernel takes so many pieces at a time.
            self._socket.sendmsg(packet if len(packet) <= _PIECES_MAX else [b"".join(packet)])

    def _whole(self, first: memoryview, size: int) -> memoryview:
        """A message of several packets, of which this is the first."""
        self._socket.settimeout(self._rest_seconds)
        whole = memoryview(bytearray(size))
        end = len(first)
        whole[:end] = first
        while end < size:
            count = self._socket.recv_into(whole[end : end + PACKET_BYTES_MAX])
            if not count:
                raise ValueError("it ends in the middle")
            end += count
        return whole


@final
class Message:
    """One message: its header, and buffers that are the receiver's own."""

    __slots__ = ("buffers", "header")

    def __init__(self, header: Header, buffers: list[Buffer]) -> None:
        self.header = header
        self.buffers = buffers


def _packets(parts: list[Buffer]) -> Iterator[list[Buffer]]:
    """The parts of a message, cut where a packet is full."""
    packet: list[Buffer] = []
    room = PACKET_BYTES_MAX
    for part in parts:
        size = memoryview(part).nbytes
        if size <= room:
            packet.append(part)
            room -= size
            continue
        rest = memoryview(part).cast("B")
        while rest:
            packet.append(rest[:room])
            rest = rest[room:]
            room -= len(packet[-1])
            if not room:
                yield packet
                packet, room = [], PACKET_BYTES_MAX
    if packet:
        yield packet


def _unpacked(whole: memoryview, table: int, text: int, *, copies: bool) -> Message:
    """A whole message, with copies of its buffers where its memory is used again."""
    begin = _SIZES.size + table
    lengths = array.array("Q")
    lengths.frombytes(whole[_SIZES.size : begin])
    header = _decode(str(whole[begin : begin + text], "ascii"))
    if not isinstance(header, list) or not header:
        raise ValueError(f"a header of the type {type(header).__name__}")
    offsets = list(accumulate(lengths, initial=begin + text))
    if offsets[-1] != len(whole):
        raise ValueError(f"{len(whole)} bytes where {offsets[-1]} were announced")
    pieces = [whole[start:end] for start, end in pairwise(offsets)]
    return Message(header, [bytes(piece) for piece in pieces] if copies else [*pieces])


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends: one to keep, one to hand to a worker.

    Who keeps the first waits for the worker to take a packet so long and no longer.
    """
    kept, handed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", PACKET_SECONDS_MAX, 0)
    )
    return kept, handed
