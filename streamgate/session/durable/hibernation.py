"""Sequences that lost their slot while they were idle, and live in their snapshots alone.

Nobody else watches over them: their idle limit counts here. What all of them take is bounded; then
those that have slept for longest end.
"""

from functools import partial

from streamgate.core.ids import Ns
from streamgate.engine.host import Host
from streamgate.errors import EndReason, EndWarning, WarningCause
from streamgate.model.config import ModelConfig
from streamgate.session.durable.arrivals import Arrivals
from streamgate.session.durable.counters import DurabilityCounters
from streamgate.session.durable.lane import Lane
from streamgate.session.durable.sequences import Sequences


class Hibernation:
    """The sleepers of one model version. The next step of each wakes it."""

    def __init__(
        self,
        config: ModelConfig,
        sequences: Sequences,
        arrivals: Arrivals,
        host: Host,
        counters: DurabilityCounters,
    ) -> None:
        rules = config.sequences or config.ensemble
        self._idle_ns = rules.max_idle_ns if rules is not None else 0
        self._warning_ns = config.sequences.idle_warning_ns if config.sequences is not None else 0
        self._limit_bytes = config.durability.hibernated_bytes
        self._sequences = sequences
        self._arrivals = arrivals
        self._host = host
        self._counters = counters

    def begin(self, lane: Lane) -> None:
        """Its place has given its slot away and told its snapshot."""
        tenancy = lane.tenancies[0]
        tenancy.is_attached = False
        snapshot = tenancy.log.snapshot
        self._arrivals.detach(lane)
        self._counters.hibernations += 1
        if any(not step.is_done for step in lane.pending) or tenancy.ending is not None:
            # Something was on its way to it.
            self._arrivals.attach(lane)
            return
        self._sequences.put_to_sleep(lane, snapshot.size_bytes if snapshot is not None else 0)
        self.touch(lane)
        while self._limit_bytes and self._sequences.asleep_bytes > self._limit_bytes:
            longest = next(iter(self._sequences.asleep))
            self._sequences.finish(longest.tenancies[0], EndReason.PREEMPTED)

    def touch(self, lane: Lane) -> None:
        """It is idle from now on."""
        if self._idle_ns:
            due = Ns(self._host.now() + self._idle_ns - self._warning_ns)
            lane.set_timer(self._host.call_at(due, partial(self._warn, lane)))

    def _warn(self, lane: Lane) -> None:
        if self._warning_ns and self._sequences.watcher is not None:
            due = Ns(self._host.now() + self._warning_ns)
            lane.set_timer(self._host.call_at(due, partial(self._end, lane)))
            warning = EndWarning(WarningCause.IDLE, self._warning_ns / 1e9)
            self._sequences.watcher[1](lane.key, warning)
        else:
            self._end(lane)

    def _end(self, lane: Lane) -> None:
        lane.timer = None
        if lane.hibernated_bytes:
            self._sequences.finish(lane.tenancies[0], EndReason.IDLE)
