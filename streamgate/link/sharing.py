"""The arenas of one connection, one for each direction: offered, mapped, given back."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from streamgate.link.arena import REST_SECONDS, Arena, LentArena, make_arena, map_lent
from streamgate.link.frame_socket import FrameSocket
from streamgate.link.frames import FrameError
from streamgate.link.messages import GivenBack, Mapped


class Sharing:
    """What a channel does about arenas. All on the loop's thread but where it says otherwise."""

    def __init__(self, frames: FrameSocket, send: Callable[[object], None]) -> None:
        self._frames = frames
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._arena: Arena | None = None
        self._lent: LentArena | None = None
        self._idle_seconds = 0.0
        self._is_due = False
        self._is_fenced = False
        self.handlers: dict[type, Callable[[Any], None]] = {
            Mapped: self._mapped,
            GivenBack: self._given_back,
        }

    def offer(self, size: int) -> int:
        """Make an arena of so many bytes and pass it on with the frame that is sent next, which
        says what is returned: its bytes, 0 for none."""
        made = make_arena(size) if size and self._frames.passes_descriptors else None
        if made is None:
            return 0
        self._arena, descriptor = made
        self._frames.pass_descriptor(descriptor)
        return size

    def take(self, size: int) -> None:
        """The other side has offered an arena of so many bytes. Raises FrameError for one that is
        not as it says; one that can't be mapped here is not used."""
        descriptor = self._frames.take_descriptor()
        if descriptor is not None:
            self._lent = self._frames.lent = map_lent(descriptor, size, self._give_back_soon)

    def begin(self) -> None:
        """Both sides know each other."""
        if self._lent is not None:
            self._send(Mapped())

    def fence(self) -> None:
        """Nothing may be said to the other side any more: what comes from its arena stays lent."""
        self._is_fenced = True
        if self._arena is not None:
            self._arena.close()

    def pass_time(self, seconds: float) -> None:
        """So many seconds have passed since this was called last."""
        if self._arena is None:
            return
        self._idle_seconds = self._idle_seconds + seconds if self._arena.was_idle() else 0.0
        if self._idle_seconds >= REST_SECONDS:
            self._arena.rest()

    def close(self) -> None:
        """The connection is over. What was received stays readable. Idempotent."""
        if self._arena is not None:
            self._arena.close()
        if self._lent is not None:
            self._lent.close()
        self._arena = self._lent = None

    def _mapped(self, _: Mapped) -> None:
        if self._arena is None:
            raise FrameError("an arena is said to be mapped that was not offered")
        self._frames.arena = self._arena

    def _given_back(self, given_back: GivenBack) -> None:
        if self._arena is None:
            raise FrameError("blocks of an arena are given back that was not offered")
        self._arena.give_back(given_back.blocks)

    def _give_back_soon(self) -> None:
        """Called by any thread, perhaps amid something else: it only makes itself heard."""
        if self._is_due:
            return
        self._is_due = True
        # A loop that is closed takes no calls, and nobody is there to give anything back to.
        with contextlib.suppress(RuntimeError):
            if threading.get_ident() == self._thread:
                self._loop.call_soon(self._give_back)
            else:
                self._loop.call_soon_threadsafe(self._give_back)

    def _give_back(self) -> None:
        self._is_due = False
        if self._lent is not None and self._frames.is_open and not self._is_fenced:
            blocks = self._lent.take_given_back()
            if blocks:
                self._send(GivenBack(blocks))
