"""Real-time streams on a simulated device: who is let in, and how late results are."""

import random
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

from streamgate.core.commands import Command, Reject, ReservationRefused, Reserved, Run
from streamgate.core.events import Completed, EndSequence, Event, Reserve, Submit
from streamgate.core.factory import create_scheduler
from streamgate.core.ids import Ns, OwnerNumber, RequestNumber
from streamgate.errors import EndReason
from streamgate.model.config import SequenceBatching
from tests.core.play import MS, direct, oldest

StepTime = Callable[[int], float]
"""Nanoseconds that a step of so many rows takes."""

PACE_NS = 160 * MS


def affine(fixed_ms: float, row_ms: float) -> StepTime:
    return lambda rows: (fixed_ms + row_ms * rows) * MS


class PacedServer:
    """A scheduler, a device whose speed may change, and clients that send a step every pace.

    A stream leaves after `lifetime_ns`. `lags` are what a step took from its arrival to its result,
    as (when it arrived, nanoseconds).
    """

    def __init__(
        self,
        scheduling: SequenceBatching,
        max_batch_size: int,
        step_time: StepTime,
        *,
        instances: int = 1,
        noise: float = 0.0,
        seed: int = 0,
        pace_ns: int = PACE_NS,
        lifetime_ns: int = 10**12,
    ) -> None:
        self.scheduler = create_scheduler(scheduling, max_batch_size, instances)
        self.step_time = step_time
        self.now = Ns(0)
        self.lags: list[tuple[int, int]] = []
        self.refused = 0
        self.answered_at_once = True
        self.live: set[int] = set()
        self._pace_ns = pace_ns
        self._lifetime_ns = lifetime_ns
        self._noise = noise
        self._random = random.Random(seed)
        self._keys = count(1)
        self._requests = count(1)
        self._order = count()
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._arrived: dict[int, int] = {}
        self._asked: dict[int, tuple[int, int]] = {}

    @property
    def headroom(self) -> int:
        return self.scheduler.statistics().headroom

    def offer(self, streams: int, over_ns: int) -> None:
        """So many clients knock, at random moments of the time to come."""
        self.arrive([self._random.randrange(over_ns) for _ in range(streams)])

    def arrive(self, after_ns: Sequence[int]) -> None:
        """A client knocks at each of these moments from now."""
        for each in after_ns:
            self._at(self.now + each, self._knock)

    def run(self, duration_ns: int) -> None:
        until = self.now + duration_ns
        while self._agenda and self._agenda[0][0] <= until:
            at, _, do = heappop(self._agenda)
            self.now = Ns(at)
            do()
            # What is due at the same moment is scheduled together, as by a loop's turn.
            if not self._agenda or self._agenda[0][0] > at:
                self._poll()
        self.now = Ns(until)

    def lag_ms(self, since: int = 0, until: int = 10**18, share: float = 0.99) -> float:
        """Of the steps that arrived from `since` to `until`; so many of them had less."""
        lags = sorted(lag for at, lag in self.lags if since <= at < until)
        return lags[min(len(lags) - 1, int(len(lags) * share))] / MS

    def _at(self, at: int, do: Callable[[], None]) -> None:
        heappush(self._agenda, (at, next(self._order), do))

    def _tell(self, event: Event) -> None:
        self.scheduler.receive(event, self.now)

    def _knock(self) -> None:
        key, request = next(self._keys), next(self._requests)
        self._asked[request] = (key, self.now)
        self._tell(Reserve(RequestNumber(request), key, OwnerNumber(1)))
        self._poll()

    def _step(self, key: int, *, start: bool = False) -> None:
        if key not in self.live:
            return
        request = next(self._requests)
        self._arrived[request] = self.now
        self._tell(Submit(RequestNumber(request), key, start=start))
        self._at(self.now + self._pace_ns, lambda: self._step(key))

    def _leave(self, key: int) -> None:
        self.live.discard(key)
        self._tell(EndSequence(key, EndReason.CLIENT_END))

    def _poll(self) -> None:
        commands = self.scheduler.poll(self.now)
        for command in commands:
            self._perform(command)
        wake_at = self.scheduler.wake_at()
        if wake_at is not None:
            self._at(max(wake_at, self.now), lambda: None)

    def _perform(self, command: Command) -> None:
        match command:
            case Run(step):
                rows = [row for row in step.rows if row.request]
                taken = self.step_time(len(step.rows))
                taken *= self._random.lognormvariate(0.0, self._noise) if self._noise else 1.0

                def done() -> None:
                    for row in rows:
                        arrived = self._arrived.pop(row.request)
                        self.lags.append((arrived, self.now - arrived))
                    self._tell(Completed(step.number))

                self._at(self.now + round(taken), done)
            case Reserved(request):
                key, asked_at = self._asked.pop(request)
                self.answered_at_once &= asked_at == self.now
                self.live.add(key)
                self._at(self.now, lambda: self._step(key, start=True))
                self._at(self.now + self._lifetime_ns, lambda: self._leave(key))
            case ReservationRefused(request):
                _, asked_at = self._asked.pop(request)
                self.answered_at_once &= asked_at == self.now
                self.refused += 1
            case Reject():
                raise AssertionError(f"a step of an accepted stream was refused: {command}")
            case _:
                pass


def paced_oldest(slots: int, **rest: Any) -> SequenceBatching:
    return oldest(slots, **({"pace_ns": PACE_NS, "max_idle_ns": 10**12} | rest))


def paced_direct(slots: int, **rest: Any) -> SequenceBatching:
    return direct(slots, **({"pace_ns": PACE_NS, "max_idle_ns": 10**12} | rest))
