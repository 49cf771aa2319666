"""Where steppers put the outcomes of their steps, and the engine's thread takes them from.

Waking the engine's thread through its event loop costs more than a quick step itself, and while
both threads run they compete for the interpreter. So after starting a step that is likely to be
over in a moment, the engine waits for it on the spot. A slow step, or one whose model releases the
interpreter for long, is never waited for, and no wait goes on once a step itself waits for the
engine: because its model calls another.
"""

import queue
from collections.abc import Callable
from typing import Final

from streamgate.engine.host import Host
from streamgate.engine.tensor_runner import Outcome

QUICK_NS: Final = 400_000
"""Steps are quick while they take less than this on average."""

WAIT_SECONDS: Final = 0.001
"""How long a quick step is waited for: what a wrong guess costs everybody else."""

_RECENT: Final = 8


class Outcomes:
    """Outcomes of one model's steps, in the order in which they ended.

    `wake` is called, on the stepper's thread, when the engine's thread has to be told; None where
    it is the same thread.
    """

    def __init__(self, host: Host, wake: Callable[[], None] | None) -> None:
        self._host = host
        self._wake = wake
        # Bounded by the steps under way, one for each instance. None ends a wait.
        self._queue: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        self._is_waited_for = False
        self._mean_ns: float | None = None

    def put(self, outcome: Outcome) -> None:
        """From the stepper's thread: a step is over."""
        self._queue.put(outcome)
        if self._wake is not None and not self._is_waited_for:
            self._wake()

    def take(self) -> Outcome | None:
        """The next outcome, if there is one."""
        outcome = None
        while outcome is None:
            try:
                outcome = self._queue.get_nowait()
            except queue.Empty:
                return None
        self._learn(outcome.ended_ns - outcome.started_ns)
        return outcome

    def wait(self) -> Outcome | None:
        """The next outcome, waited for if it is likely to come in a moment."""
        if self._wake is None or self._mean_ns is None or self._mean_ns > QUICK_NS:
            return self.take()
        if not self._host.while_waiting(self._interrupt):
            return self.take()
        self._is_waited_for = True
        try:
            outcome = self._queue.get(timeout=WAIT_SECONDS)
        except queue.Empty:
            outcome = None
        self._host.while_waiting(None)
        self._is_waited_for = False
        if outcome is None:
            # Put while it was still being waited for: nobody was woken for it.
            return self.take()
        self._learn(outcome.ended_ns - outcome.started_ns)
        return outcome

    def _interrupt(self) -> None:
        """From any thread: end the wait."""
        self._queue.put(None)

    def _learn(self, duration_ns: int) -> None:
        mean = self._mean_ns
        self._mean_ns = duration_ns if mean is None else mean + (duration_ns - mean) / _RECENT
