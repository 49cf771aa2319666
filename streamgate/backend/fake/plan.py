"""What goes wrong in a fake model, and when."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from streamgate.backend.contract import SessionLostError
from streamgate.errors import BackendError, Code


@dataclass(frozen=True, slots=True)
class Fail:
    """The step fails as a backend's own error; with `row`, only that request of the batch.

    One row can fail only in the style `request`; in the style `tensor` the whole step does.
    """

    message: str = "the fake was told to fail"
    code: Code = Code.INTERNAL
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Crash:
    """The step raises an exception that no contract knows."""

    message: str = "the fake was told to crash"


@dataclass(frozen=True, slots=True)
class Lose:
    """The session is lost with this step. Once only: the next session counts its steps from 0."""

    message: str = "Stub process 'fake_0' is not healthy."
    happened: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Nan:
    """Every floating-point output of the step is NaN; the hash goes on."""


@dataclass(frozen=True, slots=True)
class Block:
    """The step sets `entered` and waits for `release`, at most `timeout_ns`, then goes on."""

    entered: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    timeout_ns: int = 10_000_000_000


Fault = Fail | Crash | Lose | Nan | Block


def _history() -> deque[tuple[str, int, int]]:
    return deque(maxlen=1000)


@dataclass(slots=True, eq=False)
class Plan:
    """The faults of chosen steps. The steps of one session count from 0.

    `faults` is keyed by (instance name, number), or by the number alone for every instance. Every
    step first sleeps for `latency_ns`. `steps` keeps the last thousand steps of all instances as
    (instance name, number, rows).
    """

    faults: Mapping[int | tuple[str, int], Fault] = field(default_factory=dict)
    latency_ns: int = 0
    sleep: Callable[[float], None] = time.sleep
    steps: deque[tuple[str, int, int]] = field(default_factory=_history)

    def begin(self, instance: str, number: int, rows: int) -> Fault | None:
        """What every step does first: wait, and raise what is to be raised.

        A fault that is left to the step comes back: Nan, or Fail of one row.
        """
        self.steps.append((instance, number, rows))
        if self.latency_ns:
            self.sleep(self.latency_ns / 1e9)
        fault = self.faults.get((instance, number), self.faults.get(number))
        match fault:
            case None | Nan():
                return fault
            case Fail():
                if fault.row is None:
                    raise BackendError(fault.message, fault.code)
                return fault
            case Crash():
                raise RuntimeError(fault.message)
            case Lose():
                if fault.happened.is_set():
                    return None
                fault.happened.set()
                raise SessionLostError(fault.message)
            case Block():
                fault.entered.set()
                if not fault.release.wait(fault.timeout_ns / 1e9):
                    raise BackendError(f"step {number} of instance '{instance}' was not released")
                return None
            case _:
                assert_never(fault)
