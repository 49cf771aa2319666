"""Messages between the gateway and a worker process: a header of JSON values and raw buffers.

One message is one packet of a SOCK_SEQPACKET socket, so none is ever half there. A message that
is too large for a packet lies in a memory file of its own, and its descriptor travels instead: no
arena whose pieces somebody would have to give back, and nothing is left over when a side dies.
The worker maps such a file. The gateway reads it: under a mapping, a worker that shortened the
file would take the gateway down with it.
"""

import array
import json
import mmap
import os
import socket
import struct
import threading
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, final

from streamgate.model.tensor import Buffer

Header = list[Any]
"""What a message says: JSON values, the first of which says what kind of message it is."""

PACKET_BYTES_MAX: Final = 96 * 1024
"""Larger messages go through shared memory. A packet must fit the kernel's default buffer twice."""

MAPPED_BYTES_MIN: Final = 1024 * 1024
"""Smaller memory files are read at once: a mapping keeps a descriptor while it is used."""

SEND_SECONDS_MAX: Final = 10
"""How long the gateway waits for a worker to take a message. Workers always listen."""

_SIZES = struct.Struct("<II")
"""The sizes of the table of buffer lengths and of the header; 0 and 0 for a memory file."""

_FD_BYTES = array.array("i").itemsize


class ChannelError(Exception):
    """The other side is gone, did not take a message in time, or sent none that can be read."""


@final
class Channel:
    """One end of a connection. Any thread may send; one at a time may receive."""

    def __init__(self, end: socket.socket, *, maps: bool) -> None:
        self._socket = end
        self._maps = maps
        self._packet = memoryview(bytearray(PACKET_BYTES_MAX))
        # Reentrant: freeing an object may send a message while another is being sent.
        self._lock = threading.RLock()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, header: Header, buffers: Sequence[Buffer] = ()) -> None:
        """Send a message. Raises ChannelError when the other side can't take it."""
        text = json.dumps(header, separators=(",", ":")).encode()
        lengths = array.array("Q", [memoryview(buffer).nbytes for buffer in buffers]).tobytes()
        parts = [_SIZES.pack(len(lengths), len(text)), lengths, text, *buffers]
        size = sum(memoryview(part).nbytes for part in parts)
        try:
            with self._lock:
                if size <= PACKET_BYTES_MAX:
                    self._socket.sendmsg(parts)
                else:
                    self._send_file(parts)
        except OSError as error:
            raise ChannelError(f"a message could not be sent: {error}") from None

    def receive(self, timeout_seconds: float | None = None, *, wait: bool = True) -> "Message":
        """The next message. Raises TimeoutError when none came in time (at once unless `wait`),
        ChannelError when the other side is gone or what came is no message."""
        flags = 0 if wait else socket.MSG_DONTWAIT
        try:
            self._socket.settimeout(timeout_seconds)
            size, ancillary, _, _ = self._socket.recvmsg_into(
                [self._packet], socket.CMSG_SPACE(_FD_BYTES), flags
            )
        except (TimeoutError, BlockingIOError):
            raise TimeoutError from None
        except OSError as error:
            raise ChannelError(f"nothing could be received: {error}") from None
        descriptor = _descriptor(ancillary)
        try:
            if not size:
                raise ChannelError("the other side has closed the connection")
            return (
                self._read_file(descriptor) if descriptor >= 0 else _unpacked(self._packet[:size])
            )
        except (OSError, ValueError, struct.error) as error:
            raise ChannelError(f"what came is no message: {error}") from None
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def shut_down(self) -> None:
        """Nothing comes or goes any more: whoever waits for a message gets ChannelError."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is already

    def close(self) -> None:
        self._socket.close()

    def _send_file(self, parts: list[Buffer]) -> None:
        descriptor = os.memfd_create("streamgate-message", os.MFD_CLOEXEC)
        try:
            for part in parts:
                rest = memoryview(part).cast("B") if memoryview(part).nbytes else memoryview(b"")
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
            self._socket.sendmsg([_SIZES.pack(0, 0)], [rights])
        finally:
            os.close(descriptor)

    def _read_file(self, descriptor: int) -> "Message":
        size = os.fstat(descriptor).st_size
        if self._maps and size >= MAPPED_BYTES_MIN:
            mapped = mmap.mmap(
                descriptor, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ
            )
            return _unpacked(memoryview(mapped), copies=False)
        content = bytearray(size)
        if os.preadv(descriptor, [content], 0) != size:
            raise ValueError("a memory file that was cut short")
        return _unpacked(memoryview(content), copies=False)


@final
class Message:
    """One message: its header, and buffers that are the receiver's own."""

    __slots__ = ("buffers", "header")

    def __init__(self, header: Header, buffers: list[Buffer]) -> None:
        self.header = header
        self.buffers = buffers


def _unpacked(packet: memoryview, *, copies: bool = True) -> Message:
    """A packet's message, with copies of its buffers unless the packet is not used again."""
    table, text = _SIZES.unpack_from(packet)
    begin = _SIZES.size + table
    lengths = array.array("Q")
    lengths.frombytes(packet[_SIZES.size : begin])
    header = json.loads(bytes(packet[begin : begin + text]))
    if not isinstance(header, list) or not header:
        raise ValueError(f"a header of the type {type(header).__name__}")
    offsets = list(accumulate(lengths, initial=begin + text))
    if offsets[-1] != len(packet):
        raise ValueError(f"{len(packet)} bytes where {offsets[-1]} were announced")
    pieces = [packet[start:end] for start, end in pairwise(offsets)]
    return Message(header, [bytes(piece) for piece in pieces] if copies else [*pieces])


def _descriptor(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(data) >= _FD_BYTES:
            return array.array("i", data[:_FD_BYTES])[0]
    return -1


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends: one to keep, one to hand to a worker.

    Who keeps the first waits for the worker to take a message so long and no longer.
    """
    kept, handed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", SEND_SECONDS_MAX, 0))
    return kept, handed
