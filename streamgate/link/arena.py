"""Memory that one process writes and another reads: large bodies of frames pass through it, so that
the socket between them carries only where they are.

    Arena        of who sends: a body is copied into a free block of it
    LentArena    the same memory where it is received: bodies are views of it, and a block is given
                 back when nobody holds a view of it any more

There is one arena for each direction of each connection, and never another peer's: a peer that was
given up may read on in what it was sent, and nothing is written over it. The memory has no name, so
nothing is left of it when both processes are gone, however they went; it lives as long as one of
them has it mapped, so views outlive the connection and the sender. It is sealed against being cut
short, which would kill the reader. Only Linux has this; elsewhere, and where there is no room left,
bodies go over the socket.
"""

import contextlib
import fcntl
import mmap
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgate.link.blocks import ARENA_BYTES_MAX, PAGE_BYTES, Blocks
from streamgate.link.frames import FrameError
from streamgate.model.tensor import Buffer

REST_SECONDS: Final = 5.0
"""An arena that was empty for so long gives its memory back to the system."""


class Arena:
    """The sender's side. Not to be used before the other side has said that it has it, too."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory: mmap.mmap | None = memory
        self._blocks = Blocks(len(memory))
        self._was_used = False

    @property
    def held_bytes(self) -> int:
        """What the other side has not given back yet."""
        return self._blocks.taken_bytes

    def put(self, body: Buffer) -> tuple[int, int] | None:
        """Copy a body (flat, of bytes) into a block. Returns where it is and its size; None if
        there is no room."""
        size = len(body)
        memory = self._memory
        begin = None if memory is None else self._blocks.take(size)
        if memory is None or begin is None:
            return None
        memory[begin : begin + size] = body
        self._was_used = True
        return begin, size

    def give_back(self, begins: Iterable[Any]) -> None:
        """The other side has let go of these blocks. Raises FrameError for what is none."""
        for begin in begins:
            try:
                self._blocks.give_back(begin)
            except (KeyError, TypeError):
                raise FrameError(f"found {begin!r:.40}, expected a block that is lent") from None

    def was_idle(self) -> bool:
        """Whether it is empty, and was since this was asked last."""
        was_used, self._was_used = self._was_used, False
        return not (was_used or len(self._blocks))

    def rest(self) -> None:
        """If nothing is in it, give its memory back to the system; it is there again when it is
        written to."""
        touched = self._blocks.high_water
        if self._memory is None or len(self._blocks) or not touched:
            return
        self._blocks.forget_high_water()
        with contextlib.suppress(OSError):
            self._memory.madvise(mmap.MADV_REMOVE, 0, touched)

    def close(self) -> None:
        """Let go of it here. What the other side has, it keeps. Idempotent."""
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()


class LentArena:
    """The receiver's side. `on_given_back` is called when blocks can be given back, from whatever
    thread let go of the last view, perhaps amid something else that it does."""

    def __init__(self, memory: mmap.mmap, on_given_back: Callable[[], None]) -> None:
        self._memory: mmap.mmap | None = memory
        self._size = len(memory)
        self._on_given_back = on_given_back
        self._lent: dict[int, weakref.ref[NDArray[np.uint8]]] = {}
        self._given_back: deque[int] = deque()

    def view(self, begin: Any, size: Any) -> memoryview:
        """The body that begins here, of so many bytes. Raises FrameError for none that can be."""
        if type(begin) is not int or type(size) is not int or self._memory is None:
            raise FrameError(f"found {begin!r:.40} and {size!r:.40}, expected a block")
        if begin < 0 or begin % PAGE_BYTES or not 0 < size <= self._size - begin:
            raise FrameError(f"a block at {begin} of {size} bytes in an arena of {self._size}")
        if begin in self._lent:
            raise FrameError(f"the block at {begin} was not given back yet")
        block: NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8, size, begin)
        # Whatever is made of it, slices, arrays, tensors of other libraries, keeps the block alive.
        self._lent[begin] = weakref.ref(block, partial(self._let_go, begin))
        return block.data

    def take_given_back(self) -> tuple[int, ...]:
        """The blocks that are free again, each once."""
        begins = []
        while self._given_back:
            begin = self._given_back.popleft()
            del self._lent[begin]
            begins.append(begin)
        return tuple(begins)

    def close(self) -> None:
        """Nothing is given back any more. Views stay what they are."""
        self._memory = None
        self._lent = {}
        self._given_back = deque()

    def _let_go(self, begin: int, _: object) -> None:
        self._given_back.append(begin)
        self._on_given_back()


def make_arena(size: int) -> tuple[Arena, int] | None:
    """An arena of so many bytes, and a descriptor of it to be passed on and closed. None where
    there can be none."""
    if not 0 < size <= ARENA_BYTES_MAX:
        return None
    try:
        descriptor = os.memfd_create("streamgate-link", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return None
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _seals())
        return Arena(mmap.mmap(descriptor, size)), descriptor
    except (OSError, ValueError):
        os.close(descriptor)
        return None


def map_lent(descriptor: int, size: int, on_given_back: Callable[[], None]) -> LentArena | None:
    """The arena that the other side has made, by its descriptor, which is closed. None if it can't
    be mapped. Raises FrameError for one that is not as it was said to be."""
    try:
        found = os.fstat(descriptor).st_size
        if found != size or size > ARENA_BYTES_MAX:
            raise FrameError(f"an arena of {found} bytes, {size} were announced")
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _seals() != _seals():
            raise FrameError("an arena that can be cut short")
        return LentArena(mmap.mmap(descriptor, size), on_given_back)
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)


def _seals() -> int:
    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
