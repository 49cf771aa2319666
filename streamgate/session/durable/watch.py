"""Looks at live sequences now and then: how far their results lag, and whether one has stalled.

Between two looks nothing is paid but a count of results. A sequence that has stalled is told in the
log, counted, and begun anew from its log, elsewhere if it can be.
"""

import logging
from collections.abc import Iterator
from typing import Final

from streamgate.core.ids import Ns
from streamgate.engine.host import Host, Timer
from streamgate.session.durable.counters import DurabilityCounters
from streamgate.session.durable.lane import Lane, Step, Tenancy
from streamgate.session.durable.places import Places
from streamgate.session.durable.recovery import Recovery
from streamgate.session.durable.sequences import Sequences
from streamgate.session.durable.stalls import Sign, Stall, Stalls

log = logging.getLogger(__name__)

LOOK_NS: Final = 1_000_000_000
"""At least so often, while a sequence lives."""

LOOK_NS_MIN: Final = 20_000_000

LOOKS_PER_LIMIT: Final = 4
"""A stall is found at the latest this part of the limit behind it."""

STUCK_NS: Final = 10_000_000_000
"""How long new sequences avoid a place where one has stalled and nothing has come since."""

SLOTS_LOOKED_AT: Final = 1


class Watch:
    """The watch over the sequences of one model version. `stall_ns` 0: none ever stalls."""

    def __init__(
        self,
        sequences: Sequences,
        recovery: Recovery,
        host: Host,
        counters: DurabilityCounters,
        places: Places,
        stall_ns: int,
    ) -> None:
        self._places = places
        self._sequences = sequences
        self._recovery = recovery
        self._host = host
        self._counters = counters
        self._stall_ns = stall_ns
        self._every_ns = LOOK_NS
        if stall_ns:
            self._every_ns = max(LOOK_NS_MIN, min(LOOK_NS, stall_ns // LOOKS_PER_LIMIT))
        self._stalls: Stalls[Tenancy] = Stalls(stall_ns)
        self._timer: Timer | None = None

    @property
    def stalled(self) -> int:
        """How many sequences have stalled, and have not got past it yet."""
        return self._stalls.stalled

    def begin(self) -> None:
        """A sequence lives."""
        if self._timer is None:
            due = Ns(self._host.now() + self._every_ns)
            self._timer = self._host.call_at(due, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        now = self._host.now()
        oldest = self._oldest()
        self._note_lags(now, oldest)
        if self._stall_ns:
            for place in self._places:
                if now - place.stuck_ns > STUCK_NS:
                    place.stuck_ns = 0
            signs = (self._sign(lane, step) for lane, step in oldest.items())
            for stall in self._stalls.look(now, signs):
                self._tell(stall, now)
        if self._sequences.lanes:
            self.begin()

    def _oldest(self) -> dict[Lane, Step]:
        """What each lane that waits for results has waited for longest."""
        found: dict[Lane, Step] = {}
        # They are in the order in which they came.
        for step in self._sequences.steps.values():
            found.setdefault(step.tenancy.lane, step)
        return found

    def _note_lags(self, now: int, oldest: dict[Lane, Step]) -> None:
        lags = self._counters.lag_seconds
        for step in oldest.values():
            lags.add((now - step.at_ns) / 1e9)
        lags.add_many(0.0, len(self._sequences.lanes) - len(oldest))

    def _sign(self, lane: Lane, step: Step) -> Sign[Tenancy]:
        """A lane that is on its way again has come to another step than the one it owes."""
        if lane.is_recovering:
            step = next(_under_way(lane), step)
        epoch = step.tenancy.log.epoch
        is_held = (
            lane.place is None
            or lane.is_restoring
            or lane.is_leaving
            or step.sent != epoch
            or step.is_paused
            or not (lane.heard or self._has_slot(lane))
        )
        return Sign(step.tenancy, epoch, step.position, lane.heard, is_held)

    @staticmethod
    def _has_slot(lane: Lane) -> bool:
        """Whether its place, which has said nothing of it yet, has given it a slot. A place that
        does not know, as an engine in another process, has not; where nothing gets on, there is
        no use in waiting for one."""
        place = lane.place
        if place is None:
            return False
        if place.stuck_ns:
            return True
        tables = place.link.slot_tables(SLOTS_LOOKED_AT, (lane.key,))
        return any(view.sequence == lane.key for table in tables for view in table.views)

    def _tell(self, stall: Stall[Tenancy], now: int) -> None:
        tenancy = stall.stream
        lane = tenancy.lane
        place = lane.place
        self._counters.stalls += 1
        head = lane.tenancies[0].log
        log.warning(
            "sequence %s of model '%s' has stalled at %s: no result of its request at position %d "
            "for %.3f s, stall %d of this request; %s",
            lane.key,
            self._sequences.name,
            place.name if place is not None else "no place",
            stall.position,
            stall.silent_ns / 1e9,
            stall.count,
            "it begins anew from its log" if head.is_recoverable else head.why_lost,
        )
        # A request that may never have begun is not to blame.
        has_begun = lane.heard > 0
        if place is not None and has_begun:
            place.stuck_ns = now
        if head.is_recoverable:
            at = (step for step in tenancy.log if has_begun and step.position == stall.position)
            self._recovery.recover(lane, blamed=next(at, None))


def _under_way(lane: Lane) -> Iterator[Step]:
    """The steps that its place has and has not answered, the oldest first."""
    for tenancy in lane.tenancies:
        epoch = tenancy.log.epoch
        for step in tenancy.log:
            if step.sent == epoch and step.answered != epoch:
                yield step
