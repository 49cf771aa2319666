"""A host whose time stands still and whose workers do a job when the test says so."""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from streamgate.core.ids import Ns
from streamgate.engine.workers import Job

TURNS_MAX = 100_000


@dataclass(eq=False)
class PlayTimer:
    when: int
    callback: Callable[[], None] | None

    def cancel(self) -> None:
        self.callback = None


@dataclass(eq=False)
class PlayWorker:
    """Does its jobs at once while its models are loaded, and later one by one."""

    name: str
    eager: bool
    jobs: deque[Job] = field(default_factory=deque)

    def do(self, job: Job) -> None:
        if self.eager:
            job()
        else:
            self.jobs.append(job)

    def stop(self) -> None:
        """Nothing to stop."""


class PlayHost:
    """Implements `Host` on one thread."""

    def __init__(self) -> None:
        self.time = 1_000_000_000
        self.workers: list[PlayWorker] = []
        self.eager = True
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[int, int, PlayTimer]] = []
        self._count = 0

    def now(self) -> Ns:
        return Ns(self.time)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_at(self, when: Ns, callback: Callable[[], None]) -> PlayTimer:
        timer = PlayTimer(when, callback)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def post(self, callback: Callable[[], None], *, urgent: bool = False) -> None:
        del urgent
        self._soon.append(callback)

    def late_ns(self) -> int:
        return 0

    def while_waiting(self, interrupt: Callable[[], None] | None) -> bool:
        return interrupt is None  # Nobody waits here.

    def worker(self, name: str) -> PlayWorker:
        worker = PlayWorker(name, self.eager)
        self.workers.append(worker)
        return worker

    def loaded(self) -> None:
        """From now on, jobs wait for `work`."""
        self.eager = False
        for worker in self.workers:
            worker.eager = False

    def settle(self) -> None:
        """Do all that is to be done on the host's thread."""
        for _ in range(TURNS_MAX):
            if not self._soon:
                return
            self._soon.popleft()()
        raise AssertionError("the host does not come to rest")

    def busy(self) -> list[PlayWorker]:
        """The workers that have a job."""
        return [worker for worker in self.workers if worker.jobs]

    def work(self, worker: PlayWorker) -> None:
        """Let a worker do its next job, and take in what comes of it."""
        worker.jobs.popleft()()
        self.settle()

    def finish(self) -> None:
        """Let everybody work until nothing is left to do."""
        self.settle()
        for _ in range(TURNS_MAX):
            if not self.busy():
                return
            self.work(self.busy()[0])
        raise AssertionError("the workers do not come to rest")

    def sleep(self, duration_ns: int) -> None:
        """Let time pass."""
        until = self.time + duration_ns
        while self._timers and self._timers[0][0] <= until:
            when, _, timer = heapq.heappop(self._timers)
            self.time = max(self.time, when)
            if timer.callback is not None:
                timer.callback()
                self.settle()
        self.time = until
