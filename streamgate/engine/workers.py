"""Who does an instance's jobs, one after another: a thread of its own, or whoever gives them."""

import queue
import threading
from collections.abc import Callable
from typing import Protocol

Job = Callable[[], None]


class Worker(Protocol):
    """Does jobs in the order in which they are given, one at a time."""

    def do(self, job: Job) -> None:
        """Do this after what was given before. The job must not raise."""

    def stop(self) -> None:
        """Nothing is given any more: end after what was."""


class OwnThread:
    """Does jobs in order on a thread of its own."""

    def __init__(self, name: str) -> None:
        # Bounded by its user: the scheduler has one step per instance under way, and the engine
        # asks for few snapshots at a time.
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Job) -> None:
        self._jobs.put(job)

    def stop(self) -> None:
        """End the thread after what was given to it."""
        self._jobs.put(None)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()
            del job


class Inline:
    """Does jobs at once, on the thread that gives them."""

    def do(self, job: Job) -> None:
        job()

    def stop(self) -> None:
        """Nothing to stop."""
