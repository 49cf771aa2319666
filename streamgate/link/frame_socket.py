"""Frames over a stream socket.

What arrives is read into large buffers, of which headers and bodies are views: no byte is copied
but by the kernel, save where a frame lies across the end of a buffer. What is sent in one turn of
the loop leaves in one call. Large bodies go around the socket where there is an arena.

asyncio's transports are not used: before Python 3.12 their `writelines` joins what it is given.
"""

import asyncio
import logging
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np

from streamgate.link.frames import (
    FRAME_BYTES_MAX,
    PREFIX,
    Body,
    FrameError,
    Lender,
    Lent,
    decode_frame,
    encode_frame,
    padded,
)
from streamgate.model.tensor import Buffer

log = logging.getLogger(__name__)

UNSENT_BYTES_MAX: Final = 2**29
"""What may wait for the other side to read. Whoever is so far behind has failed."""

_READ_BYTES: Final = 2**18
_ROOM_BYTES: Final = 2**14
"""A buffer with less room than this is not read into where more is to come."""

_PARTS_AT_A_TIME: Final = 512
"""Parts that one call of the kernel takes, at most: IOV_MAX is 1024."""

_DESCRIPTOR: Final = struct.Struct("i")
_IS_LINUX: Final = sys.platform == "linux"

OnFrame = Callable[[tuple[Any, ...], Sequence[memoryview]], None]


class FrameSocket:
    """One connection. All calls on the loop's thread; `on_frame` and `on_lost` are called there.

    `on_lost` is told once, with the reason, whatever ends the connection but `close`. What
    `on_frame` raises as FrameError ends it, too; it must raise nothing else.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_frame: OnFrame,
        on_lost: Callable[[str], None],
        *,
        frame_bytes_max: int = FRAME_BYTES_MAX,
    ) -> None:
        self.frame_bytes_max = frame_bytes_max
        """May be raised once the other side is known."""
        self.unsent_bytes = 0
        self.received = 0
        """Bytes that have arrived."""
        self.on_drained: Callable[[], None] | None = None
        """Told when nothing waits to be sent any more, after something did."""
        self.arena: Lender | None = None
        """Where large bodies are put that are sent."""
        self.lent: Lent | None = None
        """Where large bodies are that come."""
        self._socket = connection
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._buffer = np.empty(_READ_BYTES, np.uint8).data
        self._begin = 0
        self._end = 0
        self._outbox: deque[Buffer] = deque()
        self._flush_due = False
        self._is_waiting = False
        self._passed: int | None = None
        self._came: int | None = None
        self.passes_descriptors = connection.family == socket.AF_UNIX and _IS_LINUX
        self._takes_descriptor = self.passes_descriptors
        self.is_open = True
        connection.setblocking(False)
        self._loop.add_reader(connection, self._read)

    def send(self, header: tuple[Any, ...], bodies: Sequence[Body] = ()) -> None:
        """Send a frame, with all others of this turn of the loop. Its bodies must not change until
        it has left. Raises TypeError or ValueError for what can't be sent; does nothing on a
        connection that is over."""
        parts = encode_frame(header, bodies, self.arena)
        if not self.is_open:
            return
        self._outbox += parts
        self.unsent_bytes += sum(map(len, parts))
        if self.unsent_bytes > UNSENT_BYTES_MAX:
            self._loop.call_soon(self.lose, f"{self.unsent_bytes} bytes wait to be read there")
        if not self._flush_due and not self._is_waiting:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def pass_descriptor(self, descriptor: int) -> None:
        """Send a descriptor, which is closed here then, no later than the frame that is sent next.
        One at a time, over a Unix socket that is open."""
        if self._passed is not None:
            os.close(self._passed)
        self._passed = descriptor

    def take_descriptor(self) -> int | None:
        """The descriptor that came, if one did. It is the caller's; no other is taken."""
        came, self._came = self._came, None
        self._takes_descriptor = False
        return came

    def close(self) -> None:
        """Send what fits at once, and end the connection. Idempotent; nobody is told."""
        if self.is_open:
            self._is_waiting = False
            self._flush()
            self._close()

    def half_close(self) -> None:
        """Say nothing any more, not even what waits to be sent, and have the other side know. What
        it says is still taken."""
        if self.is_open:
            self._loop.remove_writer(self._socket)
            self._is_waiting = False
            self._outbox.clear()
            self.unsent_bytes = 0
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._loop.call_soon(self.lose, str(error))

    def lose(self, why: str) -> None:
        """End the connection, and tell it."""
        if self.is_open:
            self._close()
            self._on_lost(why)

    def _close(self) -> None:
        self.is_open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._outbox.clear()
        self.unsent_bytes = 0
        self.arena = self.lent = None
        self._drop_descriptors()

    def _drop_descriptors(self) -> None:
        for descriptor in (self._passed, self._came):
            if descriptor is not None:
                os.close(descriptor)
        self._passed = self._came = None

    # -- sending

    def _flush(self) -> None:
        self._flush_due = False
        outbox = self._outbox
        while outbox and self.is_open:
            parts = list(islice(outbox, _PARTS_AT_A_TIME))
            try:
                sent = self._send_parts(parts)
            except (BlockingIOError, InterruptedError):
                self._wait_writable()
                return
            except OSError as error:
                self.lose(str(error))
                return
            self._forget_sent(sent)
        if self.is_open and self.on_drained is not None:
            self.on_drained()

    def _send_parts(self, parts: Sequence[Buffer]) -> int:
        if self._passed is None:
            return self._socket.sendmsg(parts)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(self._passed))
        sent = self._socket.sendmsg(parts, [rights])
        os.close(self._passed)
        self._passed = None
        return sent

    def _forget_sent(self, sent: int) -> None:
        outbox = self._outbox
        self.unsent_bytes -= sent
        if not self.unsent_bytes:
            outbox.clear()
            return
        while outbox and sent >= len(outbox[0]):
            sent -= len(outbox.popleft())
        if sent:
            outbox[0] = memoryview(outbox[0])[sent:]

    def _wait_writable(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._loop.add_writer(self._socket, self._on_writable)

    def _on_writable(self) -> None:
        self._is_waiting = False
        self._loop.remove_writer(self._socket)
        self._flush()

    # -- receiving

    def _read(self) -> None:
        try:
            room = self._buffer[self._end :]
            if self._takes_descriptor:
                count = self._receive_descriptor(room)
            else:
                count = self._socket.recv_into(room)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.lose(str(error))
            return
        if not count:
            # Perhaps it says nothing any more, and still hears what there is to be said to it.
            self._flush()
            self.lose("the other side has closed the connection")
            return
        self.received += count
        self._end += count
        try:
            self._take_frames()
        except FrameError as error:
            self.lose(f"what came is not of this protocol: {error}")
        except Exception:
            log.exception("a frame could not be dealt with")
            self.lose("a frame could not be dealt with")

    def _receive_descriptor(self, room: memoryview) -> int:
        """As `recv_into`; a descriptor may come along."""
        size = socket.CMSG_LEN(_DESCRIPTOR.size)
        count, rights, _, _ = self._socket.recvmsg_into([room], size, socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in rights:
            if (level, kind) != (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                continue
            for (descriptor,) in _DESCRIPTOR.iter_unpack(data):
                if self._came is None:
                    self._came = descriptor
                else:
                    os.close(descriptor)
        return count

    def _take_frames(self) -> None:
        need = PREFIX.size
        while self.is_open:
            have = self._end - self._begin
            if have < PREFIX.size:
                break
            size, header_size = PREFIX.unpack_from(self._buffer, self._begin)
            if size > self.frame_bytes_max or padded(header_size) > size:
                raise FrameError(
                    f"a frame of {size} bytes with a header of {header_size}; at most "
                    f"{self.frame_bytes_max} are taken"
                )
            need = PREFIX.size + size
            if have < need:
                break
            begin = self._begin + PREFIX.size
            frame = self._buffer[begin : begin + size]
            self._begin += need
            need = PREFIX.size
            self._on_frame(*decode_frame(frame, header_size, self.lent))
        self._make_room(need)

    def _make_room(self, need: int) -> None:
        """Frames that were handed on are views of the buffer: it is never written to again."""
        size = len(self._buffer)
        if size - self._begin >= need and size - self._end >= _ROOM_BYTES:
            return
        begun = self._buffer[self._begin : self._end]
        buffer = np.empty(max(_READ_BYTES, need), np.uint8).data
        buffer[: len(begun)] = begun
        self._buffer, self._begin, self._end = buffer, 0, len(begun)
