"""The scheduler of stateful models: admission, steps and their completion.

Order of responses: as for stateless models, `preserve_ordering` is the engine's affair.
"""

from collections.abc import Callable, Collection
from typing import assert_never, final

from streamgate.core.commands import (
    Command,
    Reject,
    Rejection,
    ReservationRefused,
    Reserved,
    Row,
    Run,
    Step,
)
from streamgate.core.crew import Crew
from streamgate.core.endings import Endings
from streamgate.core.events import (
    Arrived,
    Cancel,
    Close,
    Completed,
    Copied,
    Drain,
    EndSequence,
    Event,
    HandOver,
    HangUp,
    Hibernate,
    InstanceBack,
    InstanceLost,
    NotCopied,
    Pause,
    Reserve,
    Resize,
    Restore,
    Resume,
    Submit,
    Touch,
    TurnCame,
)
from streamgate.core.fleet import Absence, Departure
from streamgate.core.gate import Gate
from streamgate.core.gated import Gated
from streamgate.core.headroom import Headroom
from streamgate.core.ids import NO_REQUEST, InstanceIndex, Ns, RequestNumber, StepNumber
from streamgate.core.instance import Instance
from streamgate.core.lineup import Lineup
from streamgate.core.moves import Moves
from streamgate.core.scheduler import SchedulerStatistics, SlotHolder
from streamgate.core.sequence import Eviction, Pending, Sequence
from streamgate.core.tenancies import Tenancies
from streamgate.core.timers import Timers
from streamgate.errors import EndReason
from streamgate.model.config import SequenceBatching
from streamgate.model.request import SequenceKey


@final
class SequenceScheduler:
    """Sequences over the slots of one or more instances, each with a line-up of the strategy.

    What no two requests have in common is written out in the methods that see each request, at
    the price of a few lines twice: calls are most of what a request costs here.
    """

    def __init__(
        self,
        rules: SequenceBatching,
        slots: int,
        instances: int,
        new_lineup: Callable[[], Lineup],
        headroom: Headroom | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._headroom = headroom
        self._gated = None if gate is None else Gated(gate)
        self._iterative = rules.iterative
        self._max_pending = rules.max_pending or None
        self._out: list[Command] = []
        self._instances: dict[InstanceIndex, Instance] = {}
        self._requests: dict[RequestNumber, Pending] = {}
        self._timers: Timers[object] = Timers()
        limit = None if headroom is None else headroom.limit
        self._tenancies = Tenancies(rules, slots, self._instances, self._timers, self._out, limit)
        self._endings = Endings(
            self._tenancies, self._requests, self._out, iterative=rules.iterative
        )
        self._crew = Crew(
            self._tenancies, self._endings, self._instances, self._timers, self._out, new_lineup
        )
        self._moves = Moves(
            self._tenancies,
            self._endings,
            self._instances,
            self._out,
            can_move=not rules.iterative,
        )
        for index in range(instances):
            self._crew.join(InstanceIndex(index))
        self._touched = self._crew.touched
        self._roster = self._tenancies.roster
        self._idle = self._tenancies.idle
        self._warned = self._tenancies.warned
        self._overdue: set[RequestNumber] = set()
        self._running: dict[StepNumber, tuple[Instance, list[Pending]]] = {}
        self._running_rows = 0
        self._steps = 0
        self._stopping = False
        self._no_starts: Rejection | None = None
        self._closed = False
        self._wake_at: Ns | None = None
        self._received = False

    def receive(self, event: Event, now: Ns) -> None:
        if not self._received:
            self._received = True
            self._wake_at = now
            if self._headroom is not None:
                self._headroom.look(self._tenancies.slots.held, now)
        if isinstance(event, Submit):
            self._submit(event, now)
            return
        match event:
            case Completed():
                if self._headroom is not None:
                    self._note_step(self._headroom, event, now)
                self._complete(event, now)
            case TurnCame():
                self._crew.look_at(event.instance)
            case Reserve():
                self._reserve(event, now)
            case Restore():
                self._moves.restore(event, self._no_starts, now)
            case Arrived():
                self._moves.arrive(event, now)
            case HandOver():
                self._moves.hand_over(event, now)
            case Copied():
                self._moves.copied(event, now)
            case NotCopied():
                self._moves.not_copied(event, now)
            case Hibernate():
                self._moves.hibernate(event, now)
            case Cancel():
                self._endings.cancel(event.request, now)
            case Pause():
                self._pause(event.requests)
            case Resume():
                self._resume(event.requests, now)
            case Touch():
                self._tenancies.touch(event.sequence, now)
            case HangUp():
                self._endings.hang_up(event.owner, now)
            case EndSequence():
                self._endings.end_sequence(event, now)
            case InstanceLost():
                self._lose(event, now)
            case InstanceBack():
                self._crew.welcome(event, now)
                self._decide_on_starts()
            case Resize():
                self._crew.resize(event, now)
                self._decide_on_starts()
            case Drain():
                self._stopping = True
                self._decide_on_starts()
            case Close():
                self._stopping = self._closed = True
                self._decide_on_starts()
                self._endings.close(event.reason, now)
            case _:
                assert_never(event)

    def poll(self, now: Ns) -> list[Command]:
        if self._wake_at is None or now < self._wake_at:
            return []
        self._received = False
        self._expire(now)
        self._moves.evict(now)
        for instance in self._touched:
            instance.rest()
            if instance.busy:
                continue
            member = instance.member
            if member.departure is not None and self._crew.is_gone(instance):
                if self._headroom is not None:
                    self._headroom.forget(instance.index)
                continue
            if member.absence is None and (
                self._gated is None or self._gated.has_turn(instance, now)
            ):
                self._start(instance, now)
        self._touched.clear()
        self._wake_at = self._next_at(now)
        out = self._out.copy()
        self._out.clear()
        return out

    def wake_at(self) -> Ns | None:
        return self._wake_at

    def statistics(self) -> SchedulerStatistics:
        return SchedulerStatistics(
            pending=len(self._requests) - self._running_rows,
            running_steps=len(self._running),
            slots=self._tenancies.slots.size,
            headroom=0 if self._no_starts is not None else self._tenancies.slots.free,
            active_sequences=self._tenancies.slots.taken,
            backlog_sequences=len(self._tenancies.backlog),
        )

    def holders(self, limit: int, only: Collection[SequenceKey] | None = None) -> list[SlotHolder]:
        return self._tenancies.holders(limit, only)

    def _submit(self, event: Submit, now: Ns) -> None:
        """Admission, in Triton's order (2.51)."""
        key, start = event.sequence, event.start
        if event.rows > 1:
            return self._refuse(event, Rejection.BATCH_IN_SEQUENCE)
        if not key:
            if not self._iterative:
                return self._refuse(event, Rejection.NO_CORRELATION_ID)
            key, start = self._roster.unused_key(), True
        sequence = self._roster.newest(key)
        if self._no_starts is not None and (
            self._closed or (start and (sequence is None or not sequence.reserved))
        ):
            return self._turn_away(event, self._no_starts, sequence, now)
        if sequence is not None and sequence.open:
            if self._max_pending is not None and len(sequence.queue) >= self._max_pending:
                return self._turn_away(event, Rejection.QUEUE_FULL, sequence, now)
            if sequence.reserved:
                if not start:
                    return self._refuse(event, Rejection.MISSING_START)
                sequence.reserved = False
            elif start:
                sequence.later_starts += 1
        elif not start:
            leaves = sequence is not None and sequence.hand_over != NO_REQUEST
            return self._refuse(event, Rejection.MOVED if leaves else Rejection.MISSING_START)
        else:
            slots = self._tenancies.slots
            if self._headroom is not None and sequence is None and slots.is_crowded:
                return self._refuse(event, Rejection.NO_HEADROOM, slots.taken)
            sequence = self._tenancies.open(key, now)
            if sequence is None:
                return self._refuse(event, Rejection.BACKLOG_FULL)
        self._requests[event.request] = pending = Pending(event, sequence, start, now)
        sequence.queue.append(pending)
        if event.owner != sequence.owner:
            self._roster.note_owner(sequence, event.owner)
        if event.end:
            sequence.open = False
        if sequence.slot is None:
            if event.timeout_ns > 0 and sequence.restores == NO_REQUEST:
                self._tenancies.backlog.expect(sequence, Ns(now + event.timeout_ns))
        elif sequence.running is None and len(sequence.queue) == 1 and not sequence.held:
            # It had nothing to do until now.
            self._idle.stop(sequence)
            if self._warned is not None:
                self._warned.stop(sequence)
            if self._tenancies.turns is not None:
                self._tenancies.turns.rested.stop(sequence)
                if sequence.eviction is not None:
                    sequence.eviction = Eviction.CALLED_OFF
            self._instances[sequence.slot.instance].add(sequence, now)
        if self._gated is not None and sequence.slot is not None:
            self._gated.arrived(self._instances[sequence.slot.instance], sequence, now)
        return None

    def _reserve(self, event: Reserve, now: Ns) -> None:
        """A slot now or none, and where there is a pace only while all can keep it. What waits in
        the backlog is not overtaken: a slot is only free when nobody there can have it."""
        reason: Rejection | None = None
        slots = 0
        if self._iterative:
            reason = Rejection.NOTHING_TO_RESERVE
        elif not event.sequence:
            reason = Rejection.NO_CORRELATION_ID
        elif self._no_starts is not None:
            reason = self._no_starts
        elif self._roster.newest(event.sequence) is not None:
            reason = Rejection.SEQUENCE_LIVES
        elif self._crew.is_away:
            reason = Rejection.INSTANCE_AWAY
        else:
            sequence = self._tenancies.reserve(event.sequence, now)
            if sequence is not None:
                self._roster.note_owner(sequence, event.owner)
                self._out.append(Reserved(event.request))
                return
            pool = self._tenancies.slots
            if pool.is_crowded:
                reason, slots = Rejection.NO_HEADROOM, pool.taken
            else:
                reason, slots = Rejection.SLOTS_TAKEN, pool.open
        self._out.append(ReservationRefused(event.request, reason, slots))

    def _decide_on_starts(self) -> None:
        """Whether new sequences are let in, and why not."""
        if self._stopping:
            self._no_starts = Rejection.STOPPING
        elif self._crew.is_deserted:
            self._no_starts = Rejection.INSTANCE_AWAY
        else:
            self._no_starts = None

    def _refuse(self, event: Submit, reason: Rejection, served: int = 0) -> None:
        self._out.append(Reject(event.request, reason, admitted=False, served=served))

    def _turn_away(
        self, event: Submit, reason: Rejection, sequence: Sequence | None, now: Ns
    ) -> None:
        """Refuse a request though a sequence of its ID may live.

        Steps that were sent behind a START are not for the sequence that it was to replace.
        """
        self._refuse(event, reason)
        if event.start and sequence is not None and sequence.open:
            self._endings.shut(sequence, EndReason.SUPERSEDED, now)

    def _pause(self, requests: tuple[RequestNumber, ...]) -> None:
        for request in requests:
            pending = self._requests.get(request)
            if pending is None:
                continue
            queue = pending.sequence.queue
            if queue and queue[0] is pending:
                self._tenancies.withdraw(pending.sequence)
            pending.paused = True

    def _resume(self, requests: tuple[RequestNumber, ...], now: Ns) -> None:
        for request in requests:
            pending = self._requests.get(request)
            if pending is None or not pending.paused:
                continue
            pending.paused = False
            sequence = pending.sequence
            if sequence.is_ready and sequence.queue[0] is pending:
                self._tenancies.settle(sequence, now)

    def _expire(self, now: Ns) -> None:
        """Everything whose time has come: waits for a slot, held back steps, idle sequences."""
        while (subject := self._timers.pop_due(now)) is not None:
            match subject:
                case Sequence():
                    subject.timer = None
                    self._endings.time_out(subject, now)
                case Instance():
                    subject.timer = None
                    subject.touch()
                case Absence() | Departure():
                    self._crew.expire(subject, now)
                    self._decide_on_starts()
                case _:
                    raise AssertionError(f"nothing is due for {subject!r}")
        lifetime = self._tenancies.lifetime
        while lifetime is not None and (sequence := lifetime.pop_due(now)) is not None:
            if sequence.running is None:
                self._endings.outlive(sequence, now)
            elif sequence.queue or sequence.closing is None:
                self._overdue.add(sequence.running.event.request)
        self._tenancies.expire_idle(now)

    def _next_at(self, now: Ns) -> Ns | None:
        """When time alone will change something."""
        next_at = self._timers.next_at()
        evicts_at = self._moves.next_at(now)
        if next_at is None or (evicts_at is not None and evicts_at < next_at):
            next_at = evicts_at
        for countdown in self._tenancies.countdowns:
            at = countdown.next_at()
            if next_at is None or (at is not None and at < next_at):
                next_at = at
        return next_at

    def _start(self, instance: Instance, now: Ns) -> None:
        """Run a step on a free instance, or see when the next one is due."""
        chosen = instance.lineup.choose(now)
        due_at = None if chosen else instance.lineup.due_at()
        if instance.timer is not None and instance.timer.key != due_at:
            self._timers.discard(instance.timer)
            instance.timer = None
        if due_at is not None and instance.timer is None:
            instance.timer = self._timers.push(due_at, instance)
        if not chosen:
            return
        taken: list[Pending] = []
        rows: list[Row] = []
        for sequence in chosen:
            pending = sequence.queue[0]
            start = pending.start
            if start:
                self._begin(sequence, now)
            del sequence.queue[0]
            sequence.running = pending
            taken.append(pending)
            slot = sequence.slot
            assert slot is not None
            rows.append(
                Row(
                    pending.event.request,
                    slot.index,
                    slot.generation,
                    sequence.key,
                    start,
                    pending.end,
                )
            )
        self._steps += 1
        step = Step(StepNumber(self._steps), instance.index, instance.lineup.arrange(rows))
        self._running[step.number] = (instance, taken)
        self._running_rows += len(taken)
        instance.busy = True
        instance.started_at = now
        if self._gated is not None:
            self._gated.start(instance, len(taken), now)
        self._out.append(Run(step))

    def _begin(self, sequence: Sequence, now: Ns) -> None:
        """A START runs: that of the present tenancy, or one that takes over from it."""
        if not sequence.fresh:
            self._tenancies.pass_on(sequence, EndReason.SUPERSEDED, now)
        sequence.fresh = False

    def _lose(self, event: InstanceLost, now: Ns) -> None:
        """An instance is lost, and so is what it ran."""
        # Its slots are not for those who wait.
        self._tenancies.hold()
        for number, (instance, _) in tuple(self._running.items()):
            if instance.index == event.instance:
                self._complete(Completed(number), now)
        self._crew.lose(event, now)
        if self._gated is not None and event.instance in self._instances:
            self._gated.lose(self._instances[event.instance], now)

    def _note_step(self, headroom: Headroom, event: Completed, now: Ns) -> None:
        """What a step took, and how long its clients waited, behind results of their own or not."""
        instance, done = self._running[event.step]
        headroom.note(instance.index, len(done), Ns(now - instance.started_at))
        for pending in done:
            since = max(pending.arrived_at, pending.sequence.active_at)
            headroom.note_lag(instance.index, now - since + event.outside_ns)
        self._tenancies.fill_room(now)

    def _complete(self, event: Completed, now: Ns) -> None:
        instance, done = self._running.pop(event.step)
        self._running_rows -= len(done)
        instance.busy = False
        instance.touch()
        if self._gated is not None:
            self._gated.end(instance, now)
        special: frozenset[RequestNumber] | None = None
        if event.ended or event.rescheduled or event.failed or self._overdue:
            special = event.ended | event.rescheduled | event.failed | self._overdue
        for pending in done:
            sequence = pending.sequence
            sequence.running = None
            sequence.steps += 1
            sequence.active_at = now
            if special and pending.event.request in special:
                self._complete_special(event, pending, now)
                continue
            del self._requests[pending.event.request]
            if pending.event.end:
                self._tenancies.end(sequence, EndReason.CLIENT_END, now)
            elif self._iterative:
                self._endings.rest(sequence, EndReason.CLIENT_END, now)
            else:
                self._tenancies.settle(sequence, now)

    def _complete_special(self, event: Completed, pending: Pending, now: Ns) -> None:
        """The request's sequence is over with it, or the model wants to run the request again: as
        the next of its sequence and without flags."""
        request, sequence = pending.event.request, pending.sequence
        again = request in event.rescheduled and request not in event.ended
        reason: EndReason | None = None
        if request in event.ended or (pending.event.end and not again):
            reason = EndReason.CLIENT_END
        elif request in event.failed:
            reason = EndReason.ERROR
        elif request in self._overdue:
            reason = EndReason.LIFETIME
        self._overdue.discard(request)
        if not again:
            del self._requests[request]
        elif pending.revoked is not None:
            self._endings.refuse_again(pending)
        else:
            pending.start = pending.end = False
            pending.arrived_at = now
            sequence.queue.insert(0, pending)
        if reason is not None:
            self._endings.finish(sequence, reason, Rejection.SEQUENCE_ENDED, now)
        else:
            self._endings.rest(sequence, EndReason.CLIENT_ABORT, now)
