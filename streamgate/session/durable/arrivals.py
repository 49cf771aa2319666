"""The way back of sequences that are nowhere: to a place, with their state and what came since.

A lane is attached to a place: the snapshot is restored there, or a START goes there anew, and the
steps behind it follow, a few at a time. Whatever goes wrong on the way leads back to where it
began, with a pause that grows, until time is up.
"""

import logging
from dataclasses import replace
from functools import partial
from typing import Final

from streamgate.core.ids import Ns
from streamgate.engine.host import Host
from streamgate.errors import Code, EndReason, Failure
from streamgate.session.durable.counters import DurabilityCounters
from streamgate.session.durable.lane import Lane, Place, Step, Tenancy
from streamgate.session.durable.places import Places
from streamgate.session.durable.sequences import Sequences
from streamgate.session.durable.tally import Tally
from streamgate.session.durable.trials import Trials

log = logging.getLogger(__name__)

WINDOW: Final = 32
"""Steps of one sequence that are replayed at a time."""

PAUSE_NS: Final = 25_000_000
"""The first pause before another attempt; each is twice as long as the last."""

PAUSE_MAX_NS: Final = 1_000_000_000

_FOR_GOOD: Final = frozenset((Code.INVALID_ARG, Code.UNSUPPORTED))
"""Why a place can't have a snapshot, now or later. Whatever else goes wrong may not do so again."""


class Arrivals:
    """`patience_ns` is how long a lost sequence may take until it goes on, `lifetime_ns` how long
    any may live (0: for ever). Once this `is_closed`, none goes on."""

    def __init__(
        self,
        sequences: Sequences,
        places: Places,
        host: Host,
        counters: DurabilityCounters,
        patience_ns: int,
        lifetime_ns: int,
        trials: Trials,
    ) -> None:
        self.patience_ns = patience_ns
        self._lifetime_ns = lifetime_ns
        self.is_closed = False
        self._tally = Tally(sequences.name)
        self._sequences = sequences
        self._places = places
        self._host = host
        self._counters = counters
        self._trials = trials

    def begin_clock(self, lane: Lane) -> None:
        """From now on it has its time to arrive."""
        if not lane.is_recovering:
            lane.lost_ns = self._host.now()
            lane.deadline_ns = lane.lost_ns + self.patience_ns
            self._tally.wait_for(lane)

    def detach(self, lane: Lane) -> None:
        """The lane is nowhere, and all it needs is still to be sent. What lives of it at its place
        ends there, and nobody is told."""
        place, lane.place = lane.place, None
        attached = 0
        for tenancy in lane.tenancies:
            self.watch_lifetime(tenancy)
            tenancy.log.raise_epoch()
            attached += tenancy.is_attached
            tenancy.is_attached = False
            if tenancy.start is not None:
                tenancy.reserved = False
        # No end is told of one whose state has not come; if it comes yet, `_restored` sees to it.
        ghosts = attached - 1 if lane.is_restoring and attached else attached
        lane.is_restoring = lane.is_leaving = lane.is_shaken = False
        lane.in_flight = lane.heard = 0
        lane.set_timer(None)
        self._sequences.held[lane] = None
        lane.pending.clear()
        for step in lane.steps():
            step.is_windowed = False
            lane.pending.append(step)
        if place is not None:
            place.lanes.discard(lane)
            place.add_ghosts(lane.key, ghosts)
            for _ in range(attached):
                place.link.end_sequence(lane.key, EndReason.ENGINE_LOST, drain=False)

    def welcome(self, tenancy: Tenancy) -> None:
        """A START came, perhaps one that is run again for a sequence that lived elsewhere."""
        if tenancy.start is not None and tenancy.start.age_ns:
            self.watch_lifetime(tenancy)

    def watch_lifetime(self, tenancy: Tenancy) -> None:
        """Where it goes, or has come from, its time would begin anew."""
        if self._lifetime_ns and not tenancy.is_timed:
            tenancy.is_timed = True
            due = Ns(tenancy.began_ns + self._lifetime_ns)
            self._host.call_at(due, partial(self._outlive, tenancy))

    def _outlive(self, tenancy: Tenancy) -> None:
        lane = tenancy.lane
        if tenancy.is_over or lane.tenancies[0] is not tenancy:
            return
        if lane.place is not None and lane.flows and not lane.is_restoring:
            lane.place.link.end_sequence(lane.key, EndReason.LIFETIME, drain=False)
        else:
            self.detach(lane)
            self._sequences.finish(tenancy, EndReason.LIFETIME)
            if lane.tenancies:
                self.attach(lane)

    def attach(self, lane: Lane) -> None:
        """Begin anew at a place, when there is one."""
        now = self._host.now()
        if self.is_closed or (lane.is_recovering and now >= lane.deadline_ns):
            self.give_up(lane)
            return
        place = self._choose(lane)
        if place is None:
            self.try_later(lane)
            return
        lane.set_timer(None)
        self._sequences.wake(lane)
        head = lane.tenancies[0]
        epoch = head.log.epoch
        lane.settle_down(place)
        head.is_attached = True
        snapshot = head.log.snapshot
        if lane.is_recovering:
            due = Ns(lane.deadline_ns)
            lane.set_timer(self._host.call_at(due, partial(self._run_out, lane, epoch)))
        for tenancy in lane.tenancies:
            if tenancy.start is not None:
                tenancy.start.age_ns = now - tenancy.began_ns
        if snapshot is not None:
            lane.is_restoring = True
            place.link.restore(
                lane.key,
                lane.owner,
                replace(snapshot, age_ns=now - head.began_ns),
                partial(self._restored, lane, place, head, epoch),
            )
        elif head.awaits_start:
            lane.is_restoring = True
            place.link.reserve(
                lane.key, lane.owner, partial(self._reserved, lane, place, head, epoch)
            )
        self.pump(lane)

    def _choose(self, lane: Lane) -> Place | None:
        but = {place for place in self._places if lane.key in place.ghosts} | lane.refused_by
        place = None
        if lane.avoided is not None:
            place = self._places.for_sequence(lane.key, but | {lane.avoided})
        place = place or self._places.for_sequence(lane.key, but)
        if place is None and lane.is_pinned:
            # Where it was to go it can't be: back to where it came from.
            place = self._places.for_sequence(lane.key, but, draining=True)
        return place

    def _restored(
        self, lane: Lane, place: Place, tenancy: Tenancy, epoch: int, failure: Failure | None
    ) -> None:
        if tenancy.log.epoch != epoch or tenancy.is_over:
            # It has gone on elsewhere, or is over.
            if failure is None and not tenancy.is_over:
                place.add_ghosts(lane.key, 1)
            if failure is None:
                place.link.end_sequence(lane.key, EndReason.ENGINE_LOST, drain=False)
            return
        if failure is None:
            lane.is_restoring = False
            lane.heard += 1
            self._arrived(lane)
            self._answer(tenancy, None)
            return
        if failure.code in _FOR_GOOD:
            log.warning(
                "sequence %s of model '%s' can't be restored at %s: %s",
                lane.key,
                self._sequences.name,
                place.name,
                failure.message,
            )
            lane.refused_by.add(place)
            lane.is_pinned = lane.is_pinned or lane.is_moving
        lane.avoided = place
        self.detach(lane)
        self.try_later(lane)

    def _reserved(
        self, lane: Lane, place: Place, tenancy: Tenancy, epoch: int, failure: Failure | None
    ) -> None:
        if tenancy.log.epoch != epoch or tenancy.is_over:
            if failure is None:
                if not tenancy.is_over:
                    place.add_ghosts(lane.key, 1)
                place.link.end_sequence(lane.key, EndReason.ENGINE_LOST, drain=False)
            return
        lane.is_restoring = False
        if failure is None:
            lane.heard += 1
            self._arrived(lane)
            self._answer(tenancy, None)
        elif tenancy.start is not None:
            # A START that was sent behind it is one as others are.
            tenancy.reserved = False
            self._answer(tenancy, failure)
        elif lane.is_recovering:
            tenancy.is_attached = False
            self.detach(lane)
            self.try_later(lane)
        elif not self.try_elsewhere(lane, tenancy, failure):
            self._sequences.withdraw(tenancy)
            self._answer(tenancy, failure)

    @staticmethod
    def _answer(tenancy: Tenancy, failure: Failure | None) -> None:
        on_answer, tenancy.on_answer = tenancy.on_answer, None
        if on_answer is not None:
            on_answer(failure)

    def try_elsewhere(self, lane: Lane, tenancy: Tenancy, failure: Failure) -> bool:
        """A new sequence was not let in at its place: perhaps another has room."""
        place = lane.place
        if failure.code is not Code.UNAVAILABLE or len(self._places) < 2 or place is None:
            return False
        if len(lane.tenancies) > 1 or (tenancy.reserved and tenancy.start is not None):
            return False
        lane.refused_by.add(place)
        if self._places.for_sequence(lane.key, lane.refused_by) is None:
            return False
        tenancy.is_attached = False
        self.detach(lane)
        self.attach(lane)
        return True

    def try_later(self, lane: Lane) -> None:
        pause = min(PAUSE_MAX_NS, PAUSE_NS << min(lane.attempts, 10))
        lane.attempts += 1
        self.begin_clock(lane)
        self._sequences.held[lane] = None
        due = Ns(min(self._host.now() + pause, lane.deadline_ns))
        lane.set_timer(self._host.call_at(due, partial(self._try_again, lane)))

    def _try_again(self, lane: Lane) -> None:
        lane.timer = None
        if lane.tenancies and lane.place is None:
            if len(lane.refused_by) >= len(self._places) > 0:
                self.give_up(lane)
            else:
                self.attach(lane)

    def _run_out(self, lane: Lane, epoch: int) -> None:
        """Its time is up, and it has not arrived where it was to go on."""
        lane.timer = None
        if lane.tenancies and lane.tenancies[0].log.epoch == epoch and lane.is_recovering:
            self.detach(lane)
            self.give_up(lane)

    def give_up(self, lane: Lane) -> None:
        seconds = (self._host.now() - lane.lost_ns) / 1e9 if lane.is_recovering else 0.0
        log.error(
            "sequence %s of model '%s' is lost: nothing could take it over for %.1f s",
            lane.key,
            self._sequences.name,
            seconds,
        )
        for tenancy in list(lane.tenancies):
            if tenancy.on_answer is not None and not tenancy.reserved:
                # Who wanted to bring it here has it still.
                text = f"nothing could take over sequence {lane.key} for {seconds:.1f} s"
                self._sequences.hand_back(tenancy, Failure(Code.UNAVAILABLE, text))
                continue
            self._counters.lost += 1
            self._sequences.finish(tenancy, EndReason.ENGINE_LOST)
        self._tally.look()

    def pump(self, lane: Lane) -> None:
        """Send what waits to be sent, as much as may be under way at a time."""
        place = lane.place
        if place is None or lane.is_leaving:
            return
        window = 1 if lane.suspect is not None and self._trials.is_on_trial(lane) else WINDOW
        while lane.pending and lane.in_flight < window and lane.place is place:
            step = lane.pending.popleft()
            lane.in_flight += 1
            step.is_windowed = True
            step.tenancy.is_attached = True
            if step.is_done or step.delivered:
                self._counters.replayed_steps += 1
            self._sequences.send(place, step)
        if not lane.pending:
            if lane in self._sequences.held:
                self._say_endings(lane, place)
            if not lane.in_flight and lane.is_recovering and not lane.is_restoring:
                self._recovered(lane)
            self._sequences.held.pop(lane, None)

    def _say_endings(self, lane: Lane, place: Place) -> None:
        """Ends that were asked for while it was on its way, behind all that was to come before."""
        for tenancy in list(lane.tenancies):
            if tenancy.ending is not None and tenancy.is_attached:
                place.link.end_sequence(lane.key, tenancy.ending, drain=True)

    def on_progress(self, step: Step, *, final: bool) -> None:
        """A result came of a step that is waited for."""
        lane = step.tenancy.lane
        if lane.suspect is step and final:
            step.losses = ()
            lane.suspect = None
            self._trials.leave(lane)
        if lane.place is None:
            return
        self._arrived(lane)
        if final:
            self.sent_one(lane, step)
        if lane.is_recovering and (not step.is_windowed or not (lane.pending or lane.in_flight)):
            self._recovered(lane)

    def sent_one(self, lane: Lane, step: Step) -> None:
        if step.is_windowed:
            step.is_windowed = False
            lane.in_flight -= 1
            self.pump(lane)

    def _arrived(self, lane: Lane) -> None:
        """The place has it: from now on the place says what becomes of it."""
        lane.set_timer(None)
        lane.attempts = 0
        lane.refused_by.clear()
        lane.avoided = None
        if not (lane.pending or lane.in_flight) and lane.is_recovering:
            self._recovered(lane)

    def _recovered(self, lane: Lane) -> None:
        seconds = (self._host.now() - lane.lost_ns) / 1e9
        lane.lost_ns = 0
        if lane.is_moving:
            lane.is_moving = False
            self._counters.moved += 1
        else:
            self._counters.recovered += 1
            self._counters.recovery_seconds.add(seconds)
        self._tally.note(lane, seconds)

    def begin_trial(self, lane: Lane) -> None:
        """It has waited for its turn, and goes on: from now on it has its time again."""
        if lane.place is None and lane.tenancies:
            now = self._host.now()
            lane.deadline_ns = max(lane.deadline_ns, now + self.patience_ns)
            self._host.call_soon(partial(self._try_again, lane))
