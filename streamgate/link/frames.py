"""Frames on a stream socket: a header that msgpack reads, and raw bytes behind it.

    uint32 bytes after these eight   uint32 bytes of the header   header   body   body ...

Header and bodies each begin at a multiple of eight. The header is a list; its last item has the
sizes of the bodies. What arrives is read into large buffers, of which headers and bodies are views:
no byte is copied but by the kernel, save where a frame lies across the end of a buffer. What is
sent in one turn of the loop leaves in one call.

asyncio's transports are not used: before Python 3.12 their `writelines` joins what it is given.
"""

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

import msgpack
import numpy as np

from streamgate.model.tensor import Buffer

log = logging.getLogger(__name__)

FRAME_BYTES_MAX: Final = 2**30
"""Larger frames are refused: a connection on which one is announced is lost."""

HEADER_ITEMS_MAX: Final = 2**16

UNSENT_BYTES_MAX: Final = 2**29
"""What may wait for the other side to read. Whoever is so far behind has failed."""

_PREFIX: Final = struct.Struct("<II")
_PADDINGS: Final = tuple(bytes(size) for size in range(8))
_READ_BYTES: Final = 2**18
_ROOM_BYTES: Final = 2**14
"""A buffer with less room than this is not read into where more is to come."""

_SMALL_BYTES: Final = 2**10
"""Bodies up to here are copied: so that whoever keeps one keeps no large buffer with it."""

_PARTS_AT_A_TIME: Final = 512
"""Parts that one call of the kernel takes, at most: IOV_MAX is 1024."""

_JOINED_BYTES: Final = 2**12
"""Smaller frames are joined: a copy costs less than a part of a call."""

_BIG_INTEGER: Final = 1

OnFrame = Callable[[tuple[Any, ...], Sequence[memoryview]], None]


class FrameError(Exception):
    """What came is no frame, or none that may come here."""


def encode_frame(header: tuple[Any, ...], bodies: Sequence[Buffer] = ()) -> list[Buffer]:
    """The parts of a frame, each of which `len` tells the bytes of. Raises TypeError or ValueError
    for what msgpack does not take, or for too much."""
    flat = [body if type(body) is bytes else memoryview(body).cast("B") for body in bodies]
    sizes = tuple(map(len, flat))
    head: bytes = _PACKER.pack((*header, sizes))
    size = len(head)
    total = _padded(size)
    for body_size in sizes:
        total += _padded(body_size)
    if total > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {total} bytes; at most {FRAME_BYTES_MAX} can be sent")
    parts: list[Buffer] = [_PREFIX.pack(total, size), head, _PADDINGS[-size & 7]]
    if total <= _JOINED_BYTES:
        for body in flat:
            parts += (body, _PADDINGS[-len(body) & 7])
        return [b"".join(parts)]
    whole: list[Buffer] = [b"".join(parts)]
    for body in flat:
        whole.append(body)
        if padding := -len(body) & 7:
            whole.append(_PADDINGS[padding])
    return whole


def decode_frame(frame: memoryview, header_size: int) -> tuple[tuple[Any, ...], list[memoryview]]:
    """Header and bodies of what stands behind a frame's prefix. Raises FrameError."""
    try:
        *header, sizes = msgpack.unpackb(
            frame[:header_size],
            use_list=False,
            strict_map_key=True,
            unicode_errors="surrogatepass",
            ext_hook=_read_extension,
            max_array_len=max(HEADER_ITEMS_MAX, 1),
        )
        offset = _padded(header_size)
        bodies = []
        for size in sizes:
            if type(size) is not int or not 0 <= size <= len(frame) - offset:
                raise FrameError(f"a body of {size!r:.40} bytes in {len(frame) - offset}")
            body = frame[offset : offset + size]
            bodies.append(memoryview(bytes(body)) if size <= _SMALL_BYTES else body)
            offset += _padded(size)
    except FrameError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise FrameError(f"no header: {error!r:.200}") from error
    if offset != len(frame):
        raise FrameError(f"a frame of {len(frame)} bytes has parts of {offset}")
    return tuple(header), bodies


def frame_of(data: Buffer) -> tuple[tuple[Any, ...], list[memoryview]]:
    """Header and bodies of a whole frame, and nothing behind it. Raises FrameError."""
    view = memoryview(data)
    if len(view) < _PREFIX.size:
        raise FrameError(f"found {len(view)} bytes, expected {_PREFIX.size} or more")
    size, header_size = _PREFIX.unpack_from(view)
    if size != len(view) - _PREFIX.size or _padded(header_size) > size:
        raise FrameError(
            f"a frame of {size} bytes with a header of {header_size} in {len(view)} bytes"
        )
    return decode_frame(view[_PREFIX.size :], header_size)


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
        self.is_open = True
        connection.setblocking(False)
        self._loop.add_reader(connection, self._read)

    def send(self, header: tuple[Any, ...], bodies: Sequence[Buffer] = ()) -> None:
        """Send a frame, with all others of this turn of the loop. Its bodies must not change until
        it has left. Raises TypeError or ValueError for what can't be sent; does nothing on a
        connection that is over."""
        parts = encode_frame(header, bodies)
        if not self.is_open:
            return
        self._outbox += parts
        self.unsent_bytes += sum(map(len, parts))
        if self.unsent_bytes > UNSENT_BYTES_MAX:
            self._loop.call_soon(self.lose, f"{self.unsent_bytes} bytes wait to be read there")
        if not self._flush_due and not self._is_waiting:
            self._flush_due = True
            self._loop.call_soon(self._flush)

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

    # -- sending

    def _flush(self) -> None:
        self._flush_due = False
        outbox = self._outbox
        while outbox and self.is_open:
            parts = list(islice(outbox, _PARTS_AT_A_TIME))
            try:
                sent = self._socket.sendmsg(parts)
            except (BlockingIOError, InterruptedError):
                self._wait_writable()
                return
            except OSError as error:
                self.lose(str(error))
                return
            self._forget_sent(sent)
        if self.is_open and self.on_drained is not None:
            self.on_drained()

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
            count = self._socket.recv_into(self._buffer[self._end :])
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

    def _take_frames(self) -> None:
        need = _PREFIX.size
        while self.is_open:
            have = self._end - self._begin
            if have < _PREFIX.size:
                break
            size, header_size = _PREFIX.unpack_from(self._buffer, self._begin)
            if size > self.frame_bytes_max or _padded(header_size) > size:
                raise FrameError(
                    f"a frame of {size} bytes with a header of {header_size}; at most "
                    f"{self.frame_bytes_max} are taken"
                )
            need = _PREFIX.size + size
            if have < need:
                break
            begin = self._begin + _PREFIX.size
            frame = self._buffer[begin : begin + size]
            self._begin += need
            need = _PREFIX.size
            self._on_frame(*decode_frame(frame, header_size))
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


def _default(value: object) -> msgpack.ExtType:
    if isinstance(value, int):
        return msgpack.ExtType(_BIG_INTEGER, str(value).encode())
    raise TypeError(f"a {type(value).__name__} can't be sent")


def _read_extension(code: int, data: bytes) -> int:
    if code != _BIG_INTEGER or len(data) > 4000:
        raise ValueError(f"an extension {code} of {len(data)} bytes")
    return int(data)


_PACKER: Final = msgpack.Packer(default=_default, unicode_errors="surrogatepass")


def _padded(size: int) -> int:
    return size + 7 & ~7
