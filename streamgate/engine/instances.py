"""The instances of one model version: loads them, loads the lost ones again, closes them.

On the host's thread, but for what their steppers do. Knows no scheduler and no requests.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from streamgate.backend.contract import Session, SessionLostError
from streamgate.core.commands import Step
from streamgate.core.ids import InstanceIndex, Ns, SlotIndex
from streamgate.engine.departures import Departure
from streamgate.engine.device_turns import ModelDevices
from streamgate.engine.host import Host, Timer
from streamgate.engine.live import LiveRequest
from streamgate.engine.snapshots import Keepers
from streamgate.engine.step_watch import StepWatch
from streamgate.engine.stepper import Stepper
from streamgate.engine.tensor_runner import Outcome
from streamgate.engine.workers import Inline
from streamgate.errors import Code, StreamGateError
from streamgate.model.config import Execution, Instance, ModelConfig
from streamgate.model.request import SequenceKey
from streamgate.model.statistics import InstanceStatistics

T = TypeVar("T")

log = logging.getLogger(__name__)

LoadInstance = Callable[[Instance, Callable[[SessionLostError], None]], Session]
"""Loads one instance, on its own thread. The second argument is `LoadContext.on_lost`."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How lost instances are loaded again.

    The first attempts wait `delays_ns` each, all further ones the last of these. The count begins
    anew when an instance has worked for `healthy_ns`. Requests wait for a lost instance during
    `patience_ns`.
    """

    delays_ns: Sequence[int] = (
        0,
        100_000_000,
        500_000_000,
        2_000_000_000,
        5_000_000_000,
        10_000_000_000,
    )
    healthy_ns: int = 60_000_000_000
    patience_ns: int = 10_000_000_000

    def delay_ns(self, attempt: int) -> int:
        """How long attempt number `attempt`, from 0, is waited with."""
        return self.delays_ns[min(attempt, len(self.delays_ns) - 1)]


class InstanceWatcher(Protocol):
    """Who is told what becomes of instances."""

    def instance_lost(
        self, index: InstanceIndex, error: SessionLostError, *, keeps_states: bool
    ) -> None:
        """It works no more; no step runs on it. It is being loaded again. `keeps_states`: what its
        sequences have is in the arena, which stays."""

    def answers_lost(self, index: InstanceIndex, error: SessionLostError) -> None:
        """One that has left is lost: answers that it still owed do not come any more."""

    def instance_back(self, index: InstanceIndex) -> None:
        """It works again."""


@dataclass(slots=True, eq=False)
class _Unit:
    """One instance. `loads` counts its sessions, so that a word of an old one is known as such."""

    index: InstanceIndex
    instance: Instance
    stepper: Stepper
    loads: int = 0
    attempts: int = 0
    works_since: int = 0
    is_away: bool = False
    is_busy: bool = False
    is_closed: bool = False
    loss: SessionLostError | None = None
    timer: Timer | None = None


class Instances:
    """All instances, by the index under which the scheduler knows them."""

    def __init__(
        self,
        config: ModelConfig,
        host: Host,
        watcher: InstanceWatcher,
        on_outcome: Callable[[Outcome], None],
        policy: RestartPolicy,
        devices: ModelDevices | None = None,
    ) -> None:
        self._config = config
        self._devices = devices
        self._slots = config.sequences.slots if config.sequences else 1
        self._host = host
        self._watcher = watcher
        self._on_outcome = on_outcome
        self._policy = policy
        self._units: dict[InstanceIndex, _Unit] = {}
        self._load: LoadInstance | None = None
        self._added = 0
        self._gone: set[Future[None]] = set()
        self._closed = False
        self.losses = 0
        self.restarts = 0
        self._old_violations = 0
        # A process of its own is watched, and ended, by its session.
        is_watched = config.execution is Execution.THREAD
        limit_ns = config.worker_limits.step_timeout_ns if is_watched else 0
        self._clock = host.now if limit_ns else None
        self._watch = StepWatch(
            host,
            limit_ns,
            lambda: [
                (each.stepper, each.is_busy or each.stepper.has_hooks)
                for each in self._units.values()
            ],
        )
        self._add([self._new(instance) for instance in config.instances])

    def __len__(self) -> int:
        return len(self._units)

    def statistics(self) -> InstanceStatistics:
        violations = sum(unit.stepper.violations for unit in self._units.values())
        return InstanceStatistics(
            len(self),
            self.working,
            self.losses,
            self.restarts,
            self._old_violations + violations,
            self._watch.hung,
        )

    def names(self) -> list[str]:
        """All their names."""
        return [unit.instance.name for unit in self._units.values()]

    def name_of(self, index: InstanceIndex) -> str:
        """The name of one that is there."""
        return self._units[index].instance.name

    def state_bytes(self, index: InstanceIndex, slot: int) -> int:
        """The bytes of the states in one of its slots, now or a step ago."""
        return self._units[index].stepper.state_bytes(slot)

    @property
    def working(self) -> int:
        """How many are not lost."""
        return sum(not unit.is_away for unit in self._units.values())

    async def load(self, load: LoadInstance) -> None:
        """Load all, each on its own thread. Raises what the first failure raised."""
        self._load = load
        await self._load_units(list(self._units.values()))

    async def prepare(
        self, wanted: Sequence[Instance], load: LoadInstance
    ) -> tuple[InstanceIndex, ...]:
        """Load those of the wanted instances that are not there; the indexes of all wanted ones,
        which hold until something else is awaited. Raises what the first failure raised; then
        nothing has changed.

        One that is there stands in for one of another name on the same device. `load` is how all
        instances are loaded from now on.
        """
        before, self._load = self._load, load
        while missing := self._match(wanted)[1]:
            # Whichever was to go may have gone while others were loaded.
            units = [self._new(instance) for instance in missing]
            try:
                await self._load_units(units)
                if self._closed:
                    raise StreamGateError(
                        Code.UNAVAILABLE, f"model '{self._config.name}' is being unloaded"
                    )
            except BaseException:
                self._load = before
                for unit in units:
                    self._see_off(unit)
                raise
            self._add(units)
            for unit in units:
                if unit.loss is not None:
                    # Lost before anybody knew of it: to be told when the scheduler does.
                    self._on_lost(unit, unit.loads, unit.loss)
        return tuple(self._match(wanted)[0])

    def _match(self, wanted: Sequence[Instance]) -> tuple[list[InstanceIndex], list[Instance]]:
        """The instances that there are for those wanted, and the wanted ones that are missing."""
        units = list(self._units.values())
        found: list[InstanceIndex] = []
        for alike in (_same, _of_one_kind):
            missing = []
            for instance in wanted:
                unit = next((each for each in units if alike(each.instance, instance)), None)
                if unit is None:
                    missing.append(instance)
                else:
                    units.remove(unit)
                    found.append(unit.index)
            wanted = missing
        return found, list(wanted)

    def run(self, index: InstanceIndex, step: Step, lives: Sequence[LiveRequest | None]) -> None:
        """Run a step; its outcome goes to `on_outcome`, and what it says is told to `ended`."""
        unit = self._units[index]
        unit.is_busy = True
        self._watch.begin()
        unit.stepper.run(step, lives)

    def ended(self, index: InstanceIndex, outcome: Outcome) -> None:
        """A step is over, and the scheduler knows it."""
        unit = self._units[index]
        unit.is_busy = False
        loss = outcome.lost or unit.loss
        if loss is not None:
            self._lose(unit, loss)

    async def is_ready(self) -> bool:
        """Whether an instance works, and all those that do say that they can serve: none hangs."""
        if self._watch.hung:
            return False
        self._watch.begin()
        # Requests go to every instance that works, so one that can't serve is enough.
        working = [unit.stepper for unit in self._units.values() if not unit.is_away]
        answers = await asyncio.gather(*(stepper.is_ready() for stepper in working))
        return bool(working) and all(answers)

    def ask_keepers(self, index: InstanceIndex, question: Callable[[Keepers], T]) -> "Future[T]":
        """Ask where an instance keeps its sequences, between two of its steps."""
        self._watch.begin()
        return self._units[index].stepper.ask_keepers(question)

    def depart(self, index: InstanceIndex, departure: Departure) -> None:
        """A sequence of the instance is over."""
        unit = self._units[index]
        if not unit.is_away:
            self._watch.begin()
            unit.stepper.depart(departure)

    def forget(self, index: InstanceIndex, sequence: SequenceKey, slot: SlotIndex) -> None:
        """A sequence of the instance has left for elsewhere."""
        unit = self._units[index]
        if not unit.is_away:
            self._watch.begin()
            unit.stepper.forget(sequence, slot)

    def remove(self, index: InstanceIndex) -> None:
        """Close one that has nothing left to do."""
        unit = self._units.pop(index)
        self._old_violations += unit.stepper.violations
        self._see_off(unit)

    def _see_off(self, unit: _Unit) -> None:
        closing = self._close(unit)
        self._gone.add(closing)
        closing.add_done_callback(lambda done: self._host.post(partial(self._gone.discard, done)))

    def close(self) -> list["Future[None]"]:
        """Close all, each when its step is over, and load none again."""
        self._closed = True
        self._watch.close()
        return [self._close(unit) for unit in self._units.values()] + list(self._gone)

    # -- loading

    def _new(self, instance: Instance) -> _Unit:
        index = InstanceIndex(self._added)
        self._added += 1
        inline = self._config.execution is Execution.INLINE
        worker = Inline() if inline else self._host.worker(f"stepper-{instance.name}")
        stepper = Stepper(instance.name, worker, self._on_outcome, self._clock)
        if self._devices is not None:
            self._devices.join(index, instance)
        return _Unit(index, instance, stepper)

    def _add(self, units: Sequence[_Unit]) -> None:
        self._units.update((unit.index, unit) for unit in units)

    async def _load_units(self, units: Sequence[_Unit]) -> None:
        loading = [asyncio.wrap_future(self._load_unit(unit)) for unit in units]
        results = await asyncio.gather(*loading, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            raise failures[0]
        for unit in units:
            unit.works_since = self._host.now()

    def _load_unit(self, unit: _Unit) -> "Future[None]":
        load = self._load
        assert load is not None
        unit.loads += 1
        instance, on_lost = unit.instance, partial(self._on_lost, unit, unit.loads)
        return unit.stepper.load(lambda: load(instance, on_lost), self._config, self._slots)

    def _close(self, unit: _Unit) -> "Future[None]":
        unit.is_closed = True
        if self._devices is not None:
            self._devices.part(unit.index)
        if unit.timer is not None:
            unit.timer.cancel()
        return unit.stepper.close()

    # -- losing

    def _on_lost(self, unit: _Unit, load: int, error: SessionLostError) -> None:
        """From any thread: the session of this load is lost."""
        self._host.post(partial(self._note_loss, unit, load, error))

    def _note_loss(self, unit: _Unit, load: int, error: SessionLostError) -> None:
        if unit.loads != load:
            return
        if unit.is_closed:
            self._watcher.answers_lost(unit.index, error)
            return
        unit.loss = error
        if unit.index in self._units and not unit.is_busy and not unit.is_away:
            self._lose(unit, error)

    def _lose(self, unit: _Unit, error: SessionLostError) -> None:
        log.error("model instance '%s' is lost: %s", unit.instance.name, error)
        unit.is_away = True
        self.losses += 1
        now = self._host.now()
        if now - unit.works_since >= self._policy.healthy_ns:
            unit.attempts = 0
        self._watcher.instance_lost(unit.index, error, keeps_states=unit.stepper.keeps_states)
        self._try_later(unit)

    def _try_later(self, unit: _Unit) -> None:
        if unit.is_closed:
            return
        delay_ns = self._policy.delay_ns(unit.attempts)
        unit.attempts += 1
        unit.timer = self._host.call_at(Ns(self._host.now() + delay_ns), partial(self._try, unit))

    def _try(self, unit: _Unit) -> None:
        unit.timer = None
        unit.loss = None
        loading = self._load_unit(unit)
        loading.add_done_callback(lambda done: self._host.post(partial(self._tried, unit, done)))

    def _tried(self, unit: _Unit, loading: "Future[None]") -> None:
        error = loading.exception()
        if unit.is_closed:
            return
        if error is not None:
            log.error("model instance '%s' could not be loaded again: %s", unit.stepper.name, error)
            self._try_later(unit)
            return
        log.warning("model instance '%s' works again", unit.instance.name)
        unit.is_away = False
        unit.works_since = self._host.now()
        self.restarts += 1
        self._watcher.instance_back(unit.index)
        if unit.loss is not None:
            self._lose(unit, unit.loss)


def _same(one: Instance, other: Instance) -> bool:
    return one == other


def _of_one_kind(one: Instance, other: Instance) -> bool:
    return (one.kind, one.device_id) == (other.kind, other.device_id)
