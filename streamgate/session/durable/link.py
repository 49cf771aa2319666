"""The link that outlives what runs its model: a log in front of one or several engines.

Clients see a pause where an engine is lost or a sequence moves, and nothing else. What is promised
and what is not: docs/durability.md.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from streamgate.core.commands import Rejection
from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.engine.host import Host
from streamgate.engine.rejections import failure_for, refusal_for
from streamgate.errors import Code, EndReason, EndWarning, Failure
from streamgate.link.contract import (
    UNSTARTED,
    MovableLink,
    Needs,
    OnAnyEnd,
    OnHandOver,
    OnReservation,
    OnSnapshot,
    OnWarning,
)
from streamgate.link.losses import Cause, Loss
from streamgate.model.config import ModelConfig
from streamgate.model.request import Request, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import DurabilityStatistics, ModelStatistics, SlotTable
from streamgate.session.durable.arrivals import Arrivals
from streamgate.session.durable.counters import DurabilityCounters
from streamgate.session.durable.hibernation import Hibernation
from streamgate.session.durable.lane import Lane, Place, Sink, Step
from streamgate.session.durable.measure import size_of
from streamgate.session.durable.moves import Moves
from streamgate.session.durable.observer import OpenObserver
from streamgate.session.durable.places import Places
from streamgate.session.durable.recovery import Recovery
from streamgate.session.durable.sequences import Sequences
from streamgate.session.durable.stateless import Stateless
from streamgate.session.durable.trials import Trials
from streamgate.session.durable.warnings import Warnings
from streamgate.session.durable.watch import Watch
from streamgate.session.sums import sum_statistics

LOOK_SECONDS: Final = 0.02
"""How often is looked whether a place that drains has come to have nothing left."""

PATIENCE_NS: Final = 30_000_000_000
"""How long a sequence that was lost waits for something that takes it over."""


class DurableLink:
    """Implements `streamgate.link.contract.MovableLink` over other such links: its places.

    All are of one version of one model; they may come and go. The numbers of requests are its own.
    Without `keeps_log` nothing can be recovered, and nothing is kept for it: what runs the model
    can't be lost, or all is lost with it. Without `watches_stalls` others see to those.
    `open_observer` says who is told of a sequence's log; what is lost together shares `trials`.
    """

    def __init__(
        self,
        config: ModelConfig,
        version: str,
        host: Host,
        *,
        patience_ns: int = PATIENCE_NS,
        keeps_log: bool = True,
        watches_stalls: bool = True,
        open_observer: OpenObserver | None = None,
        trials: Trials | None = None,
    ) -> None:
        self.version = version
        self._config = config
        self._host = host
        self._numbers = 0
        self._counters = counters = DurabilityCounters()
        self._places = places = Places()
        self._keeps_log = keeps_log
        self._sequences = Sequences(
            config, version, host, counters, open_observer, keeps_log=keeps_log
        )
        trials = trials or Trials()
        lifetime_ns = config.sequences.max_lifetime_ns if config.sequences is not None else 0
        self._arrivals = Arrivals(
            self._sequences, places, host, counters, patience_ns, lifetime_ns, trials
        )
        self._recovery = Recovery(self._sequences, self._arrivals, trials, host, counters)
        self._sequences.troubles = self._recovery
        self._moves = Moves(self._sequences, places, self._arrivals, self._recovery, host)
        self._hibernation = Hibernation(config, self._sequences, self._arrivals, host, counters)
        self._warnings = Warnings(self._sequences, places, host)
        self._stateless = Stateless(config, places, host, counters)
        stall_ns = config.durability.stall_ns if keeps_log and watches_stalls else 0
        self.watch = Watch(self._sequences, self._recovery, host, counters, places, stall_ns)
        self._on_snapshot_above: OnSnapshot | None = None
        self._is_stateful = config.stateful
        limit = config.sequences or config.ensemble
        self._max_pending = limit.max_pending if limit is not None else 0

    @property
    def config(self) -> ModelConfig:
        """That of a place, whose instances may change."""
        place = next(iter(self._places), None)
        return self._config if place is None else place.link.config

    @config.setter
    def config(self, config: ModelConfig) -> None:
        self._config = config

    # -- places

    def add_place(self, link: MovableLink, name: str = "") -> None:
        """One more link that sequences may live at. `name` is what tells it from the others for
        good, for the hash that chooses among them."""
        place = self._places.add(link, name)
        link.watch_sequences(partial(self._on_end, place), partial(self._warnings.hear, place))
        if self._is_stateful and (self._keeps_log or self._on_snapshot_above is not None):
            link.watch_snapshots(partial(self._on_snapshot, place))
        self._stateless.welcome()

    def remove_place(self, link: MovableLink, loss: Loss | None = None) -> None:
        """What was there is lost, and goes on elsewhere. `loss` says why, if the place failed."""
        place = self._places.of(link)
        if place is None:
            return
        self._places.remove(place)
        for lane in list(place.lanes):
            self._recovery.recover(lane, loss=loss or Loss(Cause.OUTSIDE))
        self._stateless.leave(place)

    def set_draining(self, link: MovableLink, *, draining: bool) -> bool:
        """Whether nothing new is to go there, where there is another place. Returns whether that is
        news."""
        place = self._places.of(link)
        if place is None or place.is_draining is draining:
            return False
        place.is_draining = draining
        return True

    def pin(self, sequences: Iterable[SequenceKey]) -> None:
        """Leave these where they are, unless they are lost there."""
        for sequence in sequences:
            lane = self._sequences.lanes.get(sequence)
            if lane is not None:
                lane.is_pinned = True

    async def drain_place(
        self,
        link: MovableLink,
        timeout_seconds: float,
        but: Callable[[SequenceKey], bool] = lambda _: False,
    ) -> int:
        """Move its sequences to the other places, all `but` these, and send nothing new there.
        Returns how many are left: those that can't be moved, or have nowhere to go."""
        place = self._places.of(link)
        if place is None:
            return 0
        place.is_draining = True
        deadline = self._host.now() + round(timeout_seconds * 1e9)
        while True:
            staying = [lane for lane in place.lanes if not (lane.is_pinned or but(lane.key))]
            for lane in staying:
                self._moves.leave(lane)
            if not staying:
                break
            if self._host.now() >= deadline or not place.is_draining:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return len(place.lanes)

    def warn_at(self, link: MovableLink, warning: EndWarning) -> None:
        """The place goes, and what is still there stays: tell those who have it."""
        self._warnings.tell_all(self._places.of(link), warning)

    def recover(self, sequence: SequenceKey) -> bool:
        """Begin a sequence anew from its log, because it is stuck. False where that can't be."""
        lane = self._sequences.lanes.get(sequence)
        if lane is None or lane.place is None or not lane.tenancies[0].log.is_recoverable:
            return False
        self._recovery.recover(lane)
        return True

    # -- life

    async def wait_idle(self) -> None:
        """Wait until no sequence lives. May wait long: bound it."""
        while self._sequences.lanes:
            self._sequences.when_empty = asyncio.Event()
            await self._sequences.when_empty.wait()

    def close(self) -> None:
        """End what is at no place, and recover nothing any more."""
        self.watch.close()
        self._recovery.close()

    # -- the link

    def submit(
        self, request: Request, sink: Sink, owner: OwnerNumber, position: int
    ) -> RequestNumber:
        self._numbers += 1
        number = RequestNumber(self._numbers)
        sequences = self._sequences
        lane = sequences.lanes.get(request.sequence)
        if position < 0 or (lane is None and not request.start):
            where = lane.place if lane is not None else None
            self._stateless.submit(number, request, sink, owner, position, where)
            return number
        now = self._host.now()
        if request.start:
            tenancy = sequences.begin(request, now)
            self._arrivals.welcome(tenancy)
            lane = tenancy.lane
            self.watch.begin()
        else:
            assert lane is not None
            tenancy = lane.tenancies[-1]
        size = size_of(request.inputs) if self._keeps_log else 0
        step = Step(number, request, sink, owner, position, tenancy, now, size)
        if tenancy.log.append(step):
            self._counters.outgrown += 1
        lane.owner = owner
        sequences.steps[number] = step
        place = lane.place
        if place is not None and not (lane.pending or lane.is_leaving):
            tenancy.is_attached = True
            sequences.send(place, step)
        else:
            self._hold(lane, step)
        return number

    def _hold(self, lane: Lane, step: Step) -> None:
        """A step of a sequence that does not flow."""
        is_new = not lane.pending and step.request.start and len(lane.tenancies) == 1
        if lane.place is None and not lane.is_recovering and (is_new or lane.hibernated_bytes):
            lane.pending.append(step)
            self._arrivals.attach(lane)
            return
        tenancy = step.tenancy
        reason = None
        if self._max_pending and len(lane.pending) >= self._max_pending:
            reason = Rejection.QUEUE_FULL
        elif tenancy.ending is not None and not step.request.start:
            reason = Rejection.MISSING_START
        if reason is None:
            self._recovery.queue(lane, step)
            return
        self._host.call_soon(partial(self._refuse, step, reason))

    def _refuse(self, step: Step, reason: Rejection) -> None:
        if step.is_done:
            return
        tenancy = step.tenancy
        tenancy.log.drop(step)
        if step.request.start and not tenancy.is_over:
            self._sequences.withdraw(tenancy)
        self._sequences.answer(
            step, step.failed(failure_for(reason, step.request, tenancy.ending), admitted=False)
        )

    def reserve(self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation) -> None:
        if sequence in self._sequences.lanes:
            refusal = refusal_for(Rejection.SEQUENCE_LIVES, self.config.name, sequence)
            self._host.call_soon(partial(on_answer, refusal))
            return
        tenancy = self._sequences.add(sequence, self._sequences.new_log(), reserved=True)
        self.watch.begin()
        tenancy.on_answer = on_answer
        tenancy.lane.owner = owner
        self._arrivals.attach(tenancy.lane)

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        if sequence in self._sequences.lanes:
            refusal = refusal_for(Rejection.SEQUENCE_LIVES, self.config.name, sequence)
            self._host.call_soon(partial(on_answer, refusal))
            return
        log = self._sequences.new_log(snapshot=snapshot)
        tenancy = self._sequences.add(sequence, log, reserved=False, age_ns=snapshot.age_ns)
        self._arrivals.watch_lifetime(tenancy)
        self.watch.begin()
        tenancy.on_answer = on_answer
        tenancy.lane.owner = owner
        self._arrivals.attach(tenancy.lane)

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        lane = self._sequences.lanes.get(sequence)
        if lane is None:
            self._host.call_soon(partial(on_answer, self._unknown(sequence)))
        else:
            self._moves.hand_over(lane, on_answer)

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        lane = self._sequences.lanes.get(sequence)
        if lane is None:
            self._host.call_soon(partial(on_answer, self._unknown(sequence)))
            return
        kept = lane.tenancies[0].log.snapshot
        if lane.hibernated_bytes and kept is not None:
            self._host.call_soon(partial(on_answer, kept))
        elif lane.place is not None and lane.flows:
            lane.place.link.take_snapshot(sequence, on_answer)
        else:
            text = f"sequence {sequence} is on its way: no snapshot can be taken just now"
            self._host.call_soon(partial(on_answer, Failure(Code.UNAVAILABLE, text)))

    def _unknown(self, sequence: SequenceKey) -> Failure:
        text = f"no sequence {sequence} of model '{self.config.name}' lives here"
        return Failure(Code.NOT_FOUND, text)

    def watch_snapshots(self, on_snapshot: OnSnapshot) -> None:
        self._on_snapshot_above = on_snapshot
        if not self._keeps_log:
            for place in self._places:
                place.link.watch_snapshots(partial(self._on_snapshot, place))

    def cancel(self, number: RequestNumber) -> None:
        step = self._sequences.steps.get(number)
        if step is None:
            self._stateless.cancel(number)
            return
        step.is_cancelled = True
        place = self._place_of(step)
        if place is not None:
            place.link.cancel(step.inner)
        else:
            self._host.call_soon(partial(self._cancel_held, step))

    def _cancel_held(self, step: Step) -> None:
        if not step.is_done and self._place_of(step) is None:
            self._recovery.cancel_pending(step)
        elif not step.is_done:
            self.cancel(step.number)

    @staticmethod
    def _place_of(step: Step) -> Place | None:
        """Where a step is under way; None for one that waits here."""
        return step.tenancy.lane.place if step.sent == step.tenancy.log.epoch else None

    def pause(self, numbers: Sequence[RequestNumber]) -> None:
        self._pause(numbers, paused=True)

    def resume(self, numbers: Sequence[RequestNumber]) -> None:
        self._pause(numbers, paused=False)

    def _pause(self, numbers: Sequence[RequestNumber], *, paused: bool) -> None:
        asked: dict[Place, list[RequestNumber]] = {}
        for number in numbers:
            step = self._sequences.steps.get(number)
            place: Place | None = None
            inner = number
            if step is not None:
                step.is_paused = paused
                place, inner = self._place_of(step), step.inner
            elif number in self._stateless:
                self._stateless.pause(number, paused=paused)
                place, inner = self._stateless.place_of(number)
            if place is not None:
                asked.setdefault(place, []).append(inner)
        for place, inners in asked.items():
            (place.link.pause if paused else place.link.resume)(inners)

    def touch(self, sequence: SequenceKey) -> None:
        lane = self._sequences.lanes.get(sequence)
        if lane is None:
            return
        if lane.place is not None:
            lane.place.link.touch(sequence)
        elif lane.hibernated_bytes:
            self._hibernation.touch(lane)

    def hang_up(self, owner: OwnerNumber) -> None:
        for place in list(self._places):
            place.link.hang_up(owner)
        for lane in list(self._sequences.held):
            self._hang_up(lane, owner)

    def _hang_up(self, lane: Lane, owner: OwnerNumber) -> None:
        """As an engine does, for a lane of which it has not seen everything."""
        if lane.owner == owner:
            self._arrivals.detach(lane)
            for tenancy in list(lane.tenancies):
                self._sequences.finish(tenancy, EndReason.CLIENT_ABORT)
            return
        for step in list(lane.pending):
            if step.owner == owner and not step.is_done:
                self._recovery.cancel_pending(step)

    def end_sequence(self, sequence: SequenceKey, reason: EndReason, *, drain: bool) -> None:
        lane = self._sequences.lanes.get(sequence)
        if lane is None:
            return
        tenancy = lane.tenancies[0]
        place = lane.place
        if drain and tenancy.ending is None:
            tenancy.ending = reason
        if place is not None and lane.flows:
            place.link.end_sequence(sequence, reason, drain=drain)
        elif not drain or not tenancy.log.open_entries():
            self._recovery.end_now(lane, tenancy, reason)

    def needs_for(self, request: Request) -> Needs:
        lane = self._sequences.lanes.get(request.sequence)
        place = (lane.place if lane is not None else None) or self._places.for_request()
        return place.link.needs_for(request) if place is not None else ()

    def needs_of(self, number: RequestNumber) -> Needs:
        if number in self._stateless:
            runs_at, inner = self._stateless.place_of(number)
            return runs_at.link.needs_of(inner)
        step = self._sequences.steps.get(number)
        if step is None:
            return ()
        place = self._place_of(step)
        return place.link.needs_of(step.inner) if place else self.needs_for(step.request)

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        self._sequences.watcher = (on_end, on_warning)

    async def is_ready(self) -> bool:
        """Whether one of its places is."""
        for place in list(self._places):
            if await place.link.is_ready():
                return True
        return False

    def statistics(self) -> ModelStatistics:
        """Of all its places together. There must be one."""
        (joined,) = sum_statistics([place.link.statistics()] for place in self._places)
        return replace(joined, durability=self.durability())

    def durability(self) -> DurabilityStatistics:
        """What was recovered here, and what is kept for that."""
        return self._counters.read(self._sequences.lanes.values(), self.watch.stalled)

    def slot_tables(
        self, limit: int, only: Collection[SequenceKey] | None = None
    ) -> Sequence[SlotTable]:
        return [table for place in self._places for table in place.link.slot_tables(limit, only)]

    # -- what places tell

    def _on_end(self, place: Place, key: SequenceKey, reason: EndReason, number: int) -> None:
        """A sequence ended at a place, of those of its ID the `number`-th from the oldest."""
        if key in place.ghosts and number < place.ghosts[key]:
            place.lay_ghost(key)
            return
        lane = self._sequences.lanes.get(key)
        if lane is None or lane.place is not place:
            return
        index = 0 if number == UNSTARTED else number - place.ghosts.get(key, 0)
        if index >= len(lane.tenancies):
            return
        tenancy = lane.tenancies[index]
        if number == UNSTARTED and not tenancy.awaits_start:
            # Its START, sent meanwhile, is one as others are, and is let in on its own.
            tenancy.reserved = False
            if self._sequences.watcher is not None:
                self._sequences.watcher[0](key, reason, UNSTARTED)
            return
        if reason is EndReason.ENGINE_LOST:
            self._recovery.on_engine_lost(lane, tenancy)
        else:
            self._recovery.on_end(lane, tenancy, reason)

    def _on_snapshot(
        self, place: Place, key: SequenceKey, snapshot: Snapshot, hibernates: bool
    ) -> bool:
        """Whether somebody keeps it."""
        lane = self._sequences.lanes.get(key)
        if lane is None or lane.place is not place or key in place.ghosts:
            self._counters.stale_snapshots += 1
            return True
        tenancy = lane.tenancies[0]
        if not tenancy.log.cut(tenancy.log.epoch, snapshot):
            self._counters.stale_snapshots += 1
            if hibernates:
                # It has left, and not with what it should have.
                tenancy.is_attached = False
                self._recovery.recover(lane)
            return True
        self._counters.snapshots += 1
        self._counters.snapshot_bytes += snapshot.size_bytes
        above = self._on_snapshot_above
        is_kept_above = above is not None and above(key, snapshot, hibernates) is not False
        if hibernates and is_kept_above:
            self._sequences.hand_back(tenancy, None)
        elif hibernates:
            self._hibernation.begin(lane)
        return is_kept_above or hibernates or self._keeps_log
