"""Models that take turns on one simulated device: real schedulers and lines, time made up."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from streamgate.core.commands import Reject, Run, Step
from streamgate.core.device_line import STATELESS_SHARE, DeviceLine
from streamgate.core.events import Completed, Event, Submit, TurnCame
from streamgate.core.factory import create_scheduler
from streamgate.core.ids import InstanceIndex, Ns, OwnerNumber, RequestNumber
from streamgate.core.model_turns import ModelTurns
from streamgate.core.party import Party
from streamgate.core.scheduler import Scheduler
from streamgate.core.urgency import Urgency
from streamgate.model.config import DynamicBatching, Scheduling, SequenceBatching
from tests.core.play import MS, oldest

StepTime = Callable[[int], float]
"""Milliseconds that a step of so many rows takes."""


@dataclass
class Model:
    """One model on the device. `lags` are its requests' times from arrival to answer, and `starts`
    its steps: when, how many rows."""

    name: str
    step_time: StepTime
    of_sequences: bool
    gate: ModelTurns
    requests: "count[int]" = field(default_factory=lambda: count(1))
    arrived: dict[int, int] = field(default_factory=dict)
    answered: dict[int, Callable[[], None]] = field(default_factory=dict)
    lags: list[tuple[int, int]] = field(default_factory=list)
    starts: list[tuple[int, int]] = field(default_factory=list)
    used_ns: int = 0

    def __post_init__(self) -> None:
        self.parties: dict[Party, InstanceIndex] = {}

    def lag_ms(self, since_ms: float = 0, share: float = 1.0) -> float:
        """Of the requests that arrived from then on; so many of them had no more."""
        lags = sorted(lag for at, lag in self.lags if at >= since_ms * MS)
        return lags[min(len(lags) - 1, int(len(lags) * share))] / MS

    def answers(self, since_ms: float = 0) -> int:
        return sum(at + lag >= since_ms * MS for at, lag in self.lags)


class SharedDevice:
    """`log` has what was started: when, by whom, how many rows, and who else was in line."""

    def __init__(
        self, width: int = 1, share: float = STATELESS_SHARE, *, noise: float = 0.0, seed: int = 0
    ) -> None:
        self.line = DeviceLine(width, share)
        self.models: list[Model] = []
        self.now = Ns(0)
        self.on_start: Callable[[Model, int], None] = lambda _model, _rows: None
        self.on_rest: Callable[[], None] = lambda: None
        self._noise = noise
        self._random = random.Random(seed)
        self._order = count()
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._schedulers: dict[str, Scheduler] = {}
        self._told: set[str] = set()

    def add(
        self,
        name: str,
        scheduling: Scheduling,
        step_time: StepTime,
        *,
        rows: int = 1,
        instances: int = 1,
        deadline_ms: float = 0,
        known: bool = True,
    ) -> Model:
        """`known`: it has had steps enough to be known."""
        of_sequences = isinstance(scheduling, SequenceBatching)
        pace_ns = scheduling.pace_ns if isinstance(scheduling, SequenceBatching) else 0
        urgency = Urgency.of(round(deadline_ms * MS), pace_ns, of_sequences=of_sequences)
        gate = ModelTurns(urgency, lambda _: None)
        model = Model(name, step_time, of_sequences, gate)
        for index in map(InstanceIndex, range(instances)):
            party = gate.join(index, self.line)
            model.parties[party] = index
            for number in range(40 if known else 0):
                size = 1 + number % rows
                party.note(size, round(step_time(size) * MS))
        self.models.append(model)
        self._schedulers[name] = create_scheduler(scheduling, rows, instances, gate)
        return model

    def at(self, at: int, do: Callable[[], None]) -> None:
        heappush(self._agenda, (at, next(self._order), do))

    def submit(
        self,
        model: Model,
        sequence: int = 0,
        *,
        start: bool = False,
        rows: int = 1,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        request = next(model.requests)
        model.arrived[request] = self.now
        model.answered[request] = answered
        event = Submit(
            RequestNumber(request), sequence, start=start, rows=rows, owner=OwnerNumber(1)
        )
        self._tell(model, event)

    def stream(self, model: Model, sequence: int, phase_ms: float, jitter_ms: float = 0) -> None:
        """A sequence with a step every pace, each up to so much late."""
        pace_ns = model.gate._urgency.interval_ns

        def step(number: int) -> None:
            self.submit(model, sequence, start=number == 0)
            late = round(self._random.uniform(0, jitter_ms) * MS)
            due = round(phase_ms * MS) + (number + 1) * pace_ns
            self.at(due + late, lambda: step(number + 1))

        self.at(round(phase_ms * MS), lambda: step(0))

    def callers(self, model: Model, number: int, rows: int = 1) -> None:
        """Clients that are never without a request."""

        def call() -> None:
            self.submit(model, rows=rows, answered=lambda: self.at(self.now, call))

        for _ in range(number):
            self.at(0, call)

    def run(self, duration_ms: float) -> None:
        until = self.now + round(duration_ms * MS)
        while self._agenda and self._agenda[0][0] <= until:
            at, _, do = heappop(self._agenda)
            self.now = Ns(at)
            do()
            # What is due at the same moment is seen together, as in one turn of a loop.
            if not self._agenda or self._agenda[0][0] > at:
                self._turn()
        self.now = Ns(until)

    def _tell(self, model: Model, event: Event) -> None:
        self._schedulers[model.name].receive(event, self.now)
        self._told.add(model.name)

    def _turn(self) -> None:
        for model in self.models:
            if model.name in self._told:
                self._poll(model)
        self._told.clear()
        while (following := self.line.next(self.now)) is not None:
            model = next(each for each in self.models if following[0] in each.parties)
            self._tell(model, TurnCame(model.parties[following[0]]))
            before = len(model.starts)
            self._poll(model)
            assert len(model.starts) > before, "whose turn it is has nothing to start"
        self.on_rest()
        wake_at = self.line.wake_at(self.now)
        if wake_at is not None:
            assert wake_at > self.now
            self.at(wake_at, lambda: None)

    def _poll(self, model: Model) -> None:
        scheduler = self._schedulers[model.name]
        for command in scheduler.poll(self.now):
            assert not isinstance(command, Reject), command
            if isinstance(command, Run):
                self._start(model, command.step)
        wake_at = scheduler.wake_at()
        if wake_at is not None:
            self.at(max(wake_at, self.now), lambda: self._wake(model))

    def _wake(self, model: Model) -> None:
        self._told.add(model.name)

    def _start(self, model: Model, step: Step) -> None:
        rows = sum(row.rows for row in step.rows if row.request)
        model.starts.append((self.now, rows))
        self.on_start(model, rows)
        taken = model.step_time(rows) * MS
        if self._noise:
            taken *= self._random.lognormvariate(0.0, self._noise)
        model.used_ns += round(taken)

        def done() -> None:
            for row in step.rows:
                arrived = model.arrived.pop(row.request)
                model.lags.append((arrived, self.now - arrived))
            self._tell(model, Completed(step.number))
            for row in step.rows:
                model.answered.pop(row.request)()

        self.at(self.now + round(taken), done)


def streams(pace_ms: float, slots: int = 8) -> SequenceBatching:
    return oldest(slots, pace_ns=round(pace_ms * MS), max_idle_ns=10**13)


def batched(delay_ms: float = 0, preferred: tuple[int, ...] = ()) -> DynamicBatching:
    return DynamicBatching(preferred_sizes=preferred, max_delay_ns=round(delay_ms * MS))
