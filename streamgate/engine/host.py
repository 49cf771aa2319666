"""What an engine stands on: a clock, one thread on which everything is decided, and workers.

The asyncio host lends it an event loop and threads; a simulation lends it virtual time and does
the workers' jobs when it likes.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from streamgate.core.ids import Ns
from streamgate.engine.lateness import LoopWatch
from streamgate.engine.workers import OwnThread, Worker


class Timer(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> None: ...


class Host(Protocol):
    """One thread and its clock. Only `post` may be called from other threads."""

    def now(self) -> Ns:
        """Monotonic nanoseconds."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run this on the host's thread, after what is being done there now."""

    def call_at(self, when: Ns, callback: Callable[[], None]) -> Timer:
        """Run this at `when` or a little later."""

    def post(self, callback: Callable[[], None], *, urgent: bool = False) -> None:
        """From any thread: run this on the host's thread, in the order of posting.

        `urgent`: a step under way may not end before; so the host's thread must not wait for it.
        """

    def while_waiting(self, interrupt: Callable[[], None] | None) -> bool:
        """The host's thread is about to wait on the spot: call this, from the posting thread, when
        something urgent is posted; None when the wait is over. False, and nothing is called, when
        something urgent is there already."""

    def worker(self, name: str) -> Worker:
        """Someone who does jobs away from the host's thread."""

    def late_ns(self) -> int:
        """How much later than it could be what clients send is seen here, just now."""


class AsyncioHost:
    """A host on a running asyncio event loop. Make it on the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._posted: deque[Callable[[], None]] = deque()
        self._awake = False
        self._thread = threading.get_ident()
        self._is_urgent = False
        self._interrupt: Callable[[], None] | None = None
        self._watch = LoopWatch(loop)
        self.elsewhere_ns: Callable[[], int] = lambda: 0
        """How late those are through which clients come, if that is not this loop."""

    def now(self) -> Ns:
        return Ns(time.monotonic_ns())

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback)

    def call_at(self, when: Ns, callback: Callable[[], None]) -> Timer:
        delay = max(0, when - time.monotonic_ns()) / 1e9
        return self._loop.call_later(delay, callback)

    def post(self, callback: Callable[[], None], *, urgent: bool = False) -> None:
        self._posted.append(callback)
        if urgent:
            self._is_urgent = True
            interrupt = self._interrupt
            if interrupt is not None:
                interrupt()
        if self._awake:
            return
        # One wake-up for all that is posted before the loop gets to it: from another thread, each
        # costs a system call.
        self._awake = True
        here = threading.get_ident() == self._thread
        try:
            (self._loop.call_soon if here else self._loop.call_soon_threadsafe)(self._drain)
        except RuntimeError:
            # The loop is closed: a model's own thread outlived the server. Nobody listens.
            self._posted.clear()

    def worker(self, name: str) -> Worker:
        return OwnThread(name)

    def late_ns(self) -> int:
        return self._watch.ns + self.elsewhere_ns()

    def while_waiting(self, interrupt: Callable[[], None] | None) -> bool:
        # First set, then looked: what is posted in between is seen in one of both ways.
        self._interrupt = interrupt
        if interrupt is not None and self._is_urgent:
            self._interrupt = None
            return False
        return True

    def _drain(self) -> None:
        self._awake = self._is_urgent = False
        posted = self._posted
        while posted:
            posted.popleft()()
