"""Frames: a header that msgpack reads, and raw bytes behind it.

    uint32 bytes after these eight   uint32 bytes of the header   header   body   body ...

Header and bodies each begin at a multiple of eight. The header is a list; its last item has the
sizes of the bodies. A body may be in an arena instead, which both sides have mapped: in place of
its size stand where it is and its size, and there are no bytes of it in the frame.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgpack
import numpy as np
from numpy.typing import NDArray

from streamgate.model.tensor import LARGE_BYTES, Buffer

FRAME_BYTES_MAX: Final = 2**30
"""Larger frames are refused: a connection on which one is announced is lost."""

HEADER_ITEMS_MAX: Final = 2**16

SHARED_BYTES_MIN: Final = LARGE_BYTES
"""Smaller bodies are in their frames also where there is an arena: the kernel copies them in less
time than a block of an arena costs."""

PREFIX: Final = struct.Struct("<II")
_PADDINGS: Final = tuple(bytes(size) for size in range(8))

_SMALL_BYTES: Final = 2**10
"""Bodies up to here are copied: so that whoever keeps one keeps no large buffer with it."""

_JOINED_BYTES: Final = 2**12
"""Smaller frames are joined: a copy costs less than a part of a call."""

_BIG_INTEGER: Final = 1

Body = Buffer | NDArray[Any]
"""What can be sent behind a header. An array is contiguous, and copied when it is sent: whose it is
may write to it again."""


class FrameError(Exception):
    """What came is no frame, or none that may come here."""


class Lender(Protocol):
    """The arena of who sends."""

    def put(self, body: Buffer) -> tuple[int, int] | None: ...

    def give_back(self, begins: Sequence[int]) -> None: ...


class Lent(Protocol):
    """The same arena where it is received."""

    def view(self, begin: Any, size: Any) -> memoryview: ...


def encode_frame(
    header: tuple[Any, ...], bodies: Sequence[Body] = (), arena: Lender | None = None
) -> list[Buffer]:
    """The parts of a frame, each of which `len` tells the bytes of; large bodies are in the arena
    while it has room. Raises TypeError or ValueError for what msgpack does not take, or for too
    much."""
    flat: Sequence[Buffer] = [
        body if type(body) is bytes else memoryview(body).cast("B")  # type: ignore[arg-type]
        for body in bodies
    ]
    sizes: Sequence[Any] = tuple(map(len, flat))
    lent: Sequence[int] = ()
    total = 0
    for size in sizes:
        total += padded(size)
    if total >= SHARED_BYTES_MIN:
        sizes, flat, lent = _placed(bodies, flat, arena)
        total = sum([padded(len(body)) for body in flat])
    try:
        head: bytes = _PACKER.pack((*header, sizes))
        head_size = len(head)
        total += padded(head_size)
        if total > FRAME_BYTES_MAX:
            raise ValueError(f"a frame of {total} bytes; at most {FRAME_BYTES_MAX} can be sent")
    except BaseException:
        if arena is not None:
            arena.give_back(lent)
        raise
    parts: list[Buffer] = [PREFIX.pack(total, head_size), head, _PADDINGS[-head_size & 7]]
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


def _placed(
    bodies: Sequence[Body], flat: Sequence[Buffer], arena: Lender | None
) -> tuple[list[Any], list[Buffer], list[int]]:
    """What is said of these bodies in the header, those that are not in the arena, and where the
    others are."""
    sizes: list[Any] = []
    inside: list[Buffer] = []
    lent: list[int] = []
    for body, part in zip(bodies, flat, strict=True):
        place = None
        if arena is not None and len(part) >= SHARED_BYTES_MIN:
            place = arena.put(part)
        if place is not None:
            sizes.append(place)
            lent.append(place[0])
        else:
            sizes.append(len(part))
            inside.append(bytes(part) if isinstance(body, np.ndarray) else part)
    return sizes, inside, lent


def decode_frame(
    frame: memoryview, header_size: int, arena: Lent | None = None
) -> tuple[tuple[Any, ...], list[memoryview]]:
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
        offset = padded(header_size)
        bodies = []
        for size in sizes:
            if type(size) is not int or not 0 <= size <= len(frame) - offset:
                if type(size) is tuple and arena is not None:
                    bodies.append(arena.view(*size))
                    continue
                raise FrameError(f"a body of {size!r:.40} bytes in {len(frame) - offset}")
            body = frame[offset : offset + size]
            bodies.append(memoryview(bytes(body)) if size <= _SMALL_BYTES else body)
            offset += padded(size)
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
    if len(view) < PREFIX.size:
        raise FrameError(f"found {len(view)} bytes, expected {PREFIX.size} or more")
    size, header_size = PREFIX.unpack_from(view)
    if size != len(view) - PREFIX.size or padded(header_size) > size:
        raise FrameError(
            f"a frame of {size} bytes with a header of {header_size} in {len(view)} bytes"
        )
    return decode_frame(view[PREFIX.size :], header_size)


def _default(value: object) -> msgpack.ExtType:
    if isinstance(value, int):
        return msgpack.ExtType(_BIG_INTEGER, str(value).encode())
    raise TypeError(f"a {type(value).__name__} can't be sent")


def _read_extension(code: int, data: bytes) -> int:
    if code != _BIG_INTEGER or len(data) > 4000:
        raise ValueError(f"an extension {code} of {len(data)} bytes")
    return int(data)


_PACKER: Final = msgpack.Packer(default=_default, unicode_errors="surrogatepass")


def padded(size: int) -> int:
    return size + 7 & ~7
