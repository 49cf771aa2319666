"""A host whose clock, loop and workers a test drives: nothing happens but when the test says so."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any, TypeVar

from streamgate.core.ids import Ns

T = TypeVar("T")
Callback = Callable[[], None]

CALLBACKS_MAX = 10_000
"""More than any of these tests has ready at one time."""


class VirtualTimer:
    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualWorker:
    """Keeps its jobs until it is told to do one; with `quick`, it does each at once."""

    def __init__(self, host: "VirtualHost", name: str) -> None:
        self.name = name
        self.jobs: deque[Callback] = deque()
        self.stopped = False
        self._host = host

    def do(self, job: Callback) -> None:
        assert not self.stopped, "a job for a worker that was told to stop"
        self.jobs.append(job)
        if self._host.quick:
            self.do_all()

    def stop(self) -> None:
        self.stopped = True

    def do_one(self) -> None:
        self.jobs.popleft()()

    def do_all(self) -> None:
        while self.jobs:
            self.do_one()


class VirtualHost:
    """Implements `streamgate.engine.host.Host` in virtual time, on the test's own thread.

    Timers fire `lateness_ns` after they are due.
    """

    def __init__(self, lateness_ns: int = 0) -> None:
        self.quick = False
        self.workers: list[VirtualWorker] = []
        self.lateness_ns = lateness_ns
        self._now = Ns(1_000_000)
        self._soon: deque[Callback] = deque()
        self._posted: deque[Callback] = deque()
        self._timers: list[tuple[int, int, VirtualTimer]] = []
        self._timers_made = 0

    def now(self) -> Ns:
        return self._now

    def call_soon(self, callback: Callback) -> None:
        self._soon.append(callback)

    def call_at(self, when: Ns, callback: Callback) -> VirtualTimer:
        timer = VirtualTimer(callback)
        self._timers_made += 1
        heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def post(self, callback: Callback, *, urgent: bool = False) -> None:
        self._posted.append(callback)

    def while_waiting(self, interrupt: Callback | None) -> bool:
        # What is not over at once is not over before the test goes on.
        return interrupt is None

    def late_ns(self) -> int:
        return 0

    def worker(self, name: str) -> VirtualWorker:
        worker = VirtualWorker(self, name)
        self.workers.append(worker)
        return worker

    def run_ready(self, *, posted_first: bool = False) -> None:
        """Do what the loop would do now, and what comes of it."""
        queues = (self._posted, self._soon) if posted_first else (self._soon, self._posted)
        for _ in range(CALLBACKS_MAX):
            ready = next((queue for queue in queues if queue), None)
            if ready is None:
                return
            ready.popleft()()
        raise AssertionError("the loop never comes to rest")

    def next_timer_at(self) -> Ns | None:
        """When the next timer fires."""
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heappop(timers)
        return Ns(timers[0][0] + self.lateness_ns) if timers else None

    def pass_time(self, duration_ns: int) -> None:
        """Let the clock run, and the loop with it."""
        until = Ns(self._now + duration_ns)
        self.run_ready()
        for _ in range(CALLBACKS_MAX):
            at = self.next_timer_at()
            if at is None or at > until:
                self._now = until
                return
            self._now = max(self._now, at)
            callback = heappop(self._timers)[2].callback
            assert callback is not None
            callback()
            self.run_ready()
        raise AssertionError("timers without end")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a virtual host's clock, for what is a coroutine. It never waits."""

    def __init__(self, host: VirtualHost) -> None:
        super().__init__()
        self._host = host

    def time(self) -> float:
        return self._host.now() / 1e9

    def turn(self) -> None:
        """Do what is ready."""
        self.call_soon(self.stop)
        self.run_forever()

    def complete(self, coroutine: Coroutine[Any, Any, T], meanwhile: Callback) -> T:
        """Run a coroutine to its end, and `meanwhile` whenever it waits."""
        task = self.create_task(coroutine)
        for _ in range(CALLBACKS_MAX):
            self.turn()
            if task.done():
                return task.result()
            meanwhile()
        raise AssertionError("the coroutine never ends")
