"""The scheduler of stateful models: sequences, slots and steps.

Order of responses: as for stateless models, `preserve_ordering` is the engine's affair.
"""

from collections.abc import Collection
from typing import assert_never, final

from streamgate.core.commands import Command, Reject, Rejection, Row, Run, Step
from streamgate.core.events import (
    Cancel,
    Close,
    Completed,
    Drain,
    EndSequence,
    Event,
    HangUp,
    Submit,
)
from streamgate.core.ids import InstanceIndex, Ns, OwnerNumber, RequestNumber, StepNumber
from streamgate.core.instance import Instance
from streamgate.core.lineup import Lineup
from streamgate.core.scheduler import SchedulerStatistics
from streamgate.core.sequence import Pending, Sequence
from streamgate.core.tenancies import Tenancies
from streamgate.core.timers import Timers
from streamgate.errors import EndReason
from streamgate.model.config import SequenceBatching
from streamgate.model.request import SequenceKey

_FIRST_AUTO_KEY = 1 << 63
"""Iterative models name sequences themselves, from here: where no client counts, and such that
the low bits, which are what most CORRID controls carry, are 1, 2, 3, ..."""


@final
class SequenceScheduler:
    """Sequences over the slots of one or more instances, each with a line-up of the strategy."""

    def __init__(self, rules: SequenceBatching, slots: int, lineups: list[Lineup]) -> None:
        self._iterative = rules.iterative
        self._max_pending = rules.max_pending
        self._out: list[Command] = []
        self._touched: list[Instance] = []
        self._instances = [
            Instance(InstanceIndex(index), lineup, self._touched)
            for index, lineup in enumerate(lineups)
        ]
        self._tenancies = Tenancies(rules, slots, self._instances, self._out)
        self._roster = self._tenancies.roster
        self._backlog = self._tenancies.backlog
        self._delays: Timers[Instance] = Timers()
        self._requests: dict[RequestNumber, Pending] = {}
        self._running: dict[StepNumber, tuple[Instance, list[Pending]]] = {}
        self._running_rows = 0
        self._steps = 0
        self._auto_keys = 0
        self._stopping = False
        self._closed = False
        self._received_at: Ns | None = None

    def receive(self, event: Event, now: Ns) -> None:
        self._received_at = now
        match event:
            case Submit():
                self._submit(event, now)
            case Completed():
                self._complete(event, now)
            case Cancel():
                self._cancel(event.request, now)
            case HangUp():
                self._hang_up(event.owner, now)
            case EndSequence():
                self._end_sequence(event, now)
            case Drain():
                self._stopping = True
            case Close():
                self._close(event.reason, now)
            case _:
                assert_never(event)

    def poll(self, now: Ns) -> list[Command]:
        wake_at = self.wake_at()
        if wake_at is None or now < wake_at:
            return []
        self._received_at = None
        self._expire(now)
        for instance in self._touched:
            instance.rest()
            if not instance.busy:
                self._start(instance, now)
        self._touched.clear()
        out = self._out.copy()
        self._out.clear()
        return out

    def wake_at(self) -> Ns | None:
        if self._received_at is not None:
            return self._received_at
        tenancy_at = self._tenancies.next_at()
        delay_at = self._delays.next_at()
        if tenancy_at is None or delay_at is None:
            return delay_at if tenancy_at is None else tenancy_at
        return min(tenancy_at, delay_at)

    def statistics(self) -> SchedulerStatistics:
        return SchedulerStatistics(
            pending=len(self._requests) - self._running_rows,
            running_steps=len(self._running),
            slots=self._tenancies.slots.size,
            active_sequences=self._tenancies.slots.taken,
            backlog_sequences=len(self._backlog),
        )

    def _submit(self, event: Submit, now: Ns) -> None:
        """Admission, in Triton's order (2.51)."""
        key, start = event.sequence, event.start
        if event.rows > 1:
            return self._refuse(event, Rejection.BATCH_IN_SEQUENCE)
        if not key:
            if not self._iterative:
                return self._refuse(event, Rejection.NO_CORRELATION_ID)
            key, start = self._auto_key(), True
        if self._closed or (self._stopping and start):
            return self._refuse(event, Rejection.STOPPING)
        sequence = self._roster.newest(key)
        if sequence is not None and sequence.open:
            if 0 < self._max_pending <= len(sequence.queue):
                return self._refuse(event, Rejection.QUEUE_FULL)
            if start:
                sequence.later_starts += 1
        elif not start:
            return self._refuse(event, Rejection.MISSING_START)
        else:
            sequence = self._tenancies.open(key, now)
            if sequence is None:
                return self._refuse(event, Rejection.BACKLOG_FULL)
        self._join(sequence, Pending(event, sequence, start, now), now)
        return None

    def _join(self, sequence: Sequence, pending: Pending, now: Ns) -> None:
        event = pending.event
        sequence.queue.append(pending)
        self._requests[event.request] = pending
        if event.owner != sequence.owner:
            self._roster.note_owner(sequence, event.owner)
        if event.end:
            sequence.open = False
        if sequence.slot is not None:
            self._tenancies.resume(sequence, now)
        elif event.timeout_ns > 0:
            self._backlog.set_deadline(sequence, sequence.deadline)

    def _refuse(self, event: Submit, reason: Rejection) -> None:
        self._out.append(Reject(event.request, reason, admitted=False))

    def _reject(self, pending: Pending, reason: Rejection) -> None:
        del self._requests[pending.event.request]
        self._out.append(Reject(pending.event.request, reason, admitted=True))

    def _auto_key(self) -> SequenceKey:
        while True:
            self._auto_keys += 1
            key = _FIRST_AUTO_KEY + self._auto_keys
            if self._roster.newest(key) is None:
                return key

    def _cancel(self, request: RequestNumber, now: Ns) -> None:
        pending = self._requests.get(request)
        if pending is None:
            return
        if pending.sequence.running is pending:
            pending.revoked = Rejection.CANCELLED
        else:
            self._strike(pending.sequence, (pending,), now)

    def _strike(self, sequence: Sequence, requests: Collection[Pending], now: Ns) -> None:
        """Take cancelled requests out of a queue; their neighbours stay, unless they can't."""
        tenancies = self._tenancies
        tenancies.withdraw(sequence)
        struck = sequence.strike(requests)
        for pending in struck.cancelled:
            self._reject(pending, Rejection.CANCELLED)
        for pending in struck.orphaned:
            self._reject(pending, Rejection.SEQUENCE_ENDED)
        if struck.own_start and sequence.queue:
            tenancies.pass_on(sequence, EndReason.CLIENT_ABORT, now)
        elif struck.own_start:
            tenancies.end(sequence, EndReason.CLIENT_ABORT, now)
        tenancies.drop_later_starts(sequence, struck.later_starts, EndReason.CLIENT_ABORT)
        if sequence.over:
            return
        if struck.newest:
            # What came before it was to make way for it, and nobody can add to that any more.
            sequence.open = False
            sequence.closing = sequence.closing or EndReason.SUPERSEDED
            sequence.owner = sequence.queue[-1].event.owner if sequence.queue else OwnerNumber(0)
        elif struck.end and sequence.closing is None:
            # Without its END the sequence lives on, unless a new one of its ID waits for its end.
            sequence.open = sequence.successor is None
            sequence.closing = None if sequence.open else EndReason.SUPERSEDED
        if sequence.slot is None:
            self._backlog.set_deadline(sequence, sequence.deadline)
        elif sequence.running is None:
            self._rest(sequence, EndReason.CLIENT_ABORT, now)

    def _rest(self, sequence: Sequence, reason: EndReason, now: Ns) -> None:
        """A request of the sequence is done with. An iterative sequence is over when nothing else
        waits; others when the client or the model says so."""
        if self._iterative and not sequence.queue:
            self._tenancies.end(sequence, sequence.closing or reason, now)
        else:
            self._tenancies.settle(sequence, now)

    def _abort(self, sequence: Sequence, reason: EndReason, rejection: Rejection, now: Ns) -> None:
        """End a sequence at once, or when its running request is back."""
        self._tenancies.withdraw(sequence)
        for pending in sequence.queue:
            self._reject(pending, rejection)
        sequence.queue.clear()
        self._tenancies.drop_later_starts(sequence, sequence.later_starts, reason)
        sequence.later_starts = 0
        sequence.open = False
        sequence.closing = reason
        if sequence.running is None:
            self._tenancies.end(sequence, reason, now)
        elif sequence.running.revoked is None:
            sequence.running.revoked = rejection

    def _hang_up(self, owner: OwnerNumber, now: Ns) -> None:
        for sequence in self._roster.pop_owned(owner):
            if sequence.running is not None and sequence.running.event.owner == owner:
                sequence.running.revoked = Rejection.CANCELLED
            owned = {pending for pending in sequence.queue if pending.event.owner == owner}
            if owned:
                self._strike(sequence, owned, now)
            if sequence.owner == owner and not sequence.over:
                self._abort(sequence, EndReason.CLIENT_ABORT, Rejection.SEQUENCE_ENDED, now)

    def _end_sequence(self, event: EndSequence, now: Ns) -> None:
        sequence = self._roster.oldest(event.sequence)
        if sequence is None:
            return
        if not event.drain:
            self._abort(sequence, event.reason, Rejection.SEQUENCE_ENDED, now)
        elif sequence.open:
            sequence.open = False
            sequence.closing = event.reason
            if not sequence.queue and sequence.running is None:
                self._tenancies.end(sequence, event.reason, now)

    def _close(self, reason: EndReason, now: Ns) -> None:
        self._stopping = self._closed = True
        self._tenancies.close()
        for sequence in tuple(self._roster):
            self._abort(sequence, reason, Rejection.STOPPING, now)

    def _expire(self, now: Ns) -> None:
        """Everything whose time has come: waits for a slot, idle sequences, held back steps."""
        tenancies = self._tenancies
        while (late := self._backlog.pop_late(now)) is not None:
            self._abort(late, EndReason.CLIENT_ABORT, Rejection.SEQUENCE_TIMEOUT, now)
        while (idle := tenancies.pop_idle(now)) is not None:
            tenancies.end(idle, EndReason.IDLE, now)
        while (instance := self._delays.pop_due(now)) is not None:
            instance.timer = None
            instance.touch()

    def _start(self, instance: Instance, now: Ns) -> None:
        """Run a step on a free instance, or see when the next one is due."""
        chosen = instance.lineup.choose(now)
        due_at = None if chosen else instance.lineup.due_at()
        if instance.timer is not None and instance.timer.key != due_at:
            self._delays.stop(instance.timer)
            instance.timer = None
        if due_at is not None and instance.timer is None:
            instance.timer = self._delays.start(due_at, instance)
        if not chosen:
            return
        pending = [self._take(sequence, now) for sequence in chosen]
        rows = instance.lineup.arrange([_row(each) for each in pending])
        self._steps += 1
        number = StepNumber(self._steps)
        self._running[number] = (instance, pending)
        self._running_rows += len(pending)
        instance.busy = True
        self._out.append(Run(Step(number, instance.index, rows)))

    def _take(self, sequence: Sequence, now: Ns) -> Pending:
        """Take a sequence's next request for a step; a START takes over from an older one."""
        pending = sequence.queue[0]
        if pending.start:
            if not sequence.fresh:
                self._tenancies.pass_on(sequence, EndReason.SUPERSEDED, now)
            sequence.fresh = False
        del sequence.queue[0]
        sequence.running = pending
        return pending

    def _complete(self, event: Completed, now: Ns) -> None:
        instance, done = self._running.pop(event.step)
        self._running_rows -= len(done)
        instance.busy = False
        instance.touch()
        for pending in done:
            sequence = pending.sequence
            sequence.running = None
            request = pending.event.request
            if request in event.ended:
                del self._requests[request]
                self._model_ended(sequence, now)
            elif request in event.rescheduled:
                self._reschedule(pending, now)
            else:
                del self._requests[request]
                if pending.event.end:
                    self._tenancies.end(sequence, EndReason.CLIENT_END, now)
                else:
                    self._rest(sequence, EndReason.CLIENT_END, now)

    def _reschedule(self, pending: Pending, now: Ns) -> None:
        """The model wants to run a request again: next of its sequence, with no flags."""
        sequence = pending.sequence
        if pending.revoked is not None:
            self._reject(pending, pending.revoked)
            self._rest(sequence, EndReason.CLIENT_ABORT, now)
            return
        pending.start = pending.end = False
        pending.arrived_at = now
        sequence.queue.insert(0, pending)
        self._tenancies.settle(sequence, now)

    def _model_ended(self, sequence: Sequence, now: Ns) -> None:
        """The model declared a sequence over: what it has queued can't run, up to a new START."""
        queue = sequence.queue
        count = next((i for i, pending in enumerate(queue) if pending.start), len(queue))
        for pending in queue[:count]:
            self._reject(pending, Rejection.SEQUENCE_ENDED)
        del queue[:count]
        if queue:
            self._tenancies.pass_on(sequence, EndReason.CLIENT_END, now)
            self._tenancies.settle(sequence, now)
        else:
            self._tenancies.end(sequence, EndReason.CLIENT_END, now)


def _row(pending: Pending) -> Row:
    sequence = pending.sequence
    slot = sequence.slot
    assert slot is not None
    return Row(
        pending.event.request,
        slot.index,
        slot.generation,
        sequence.key,
        pending.start,
        pending.end,
    )
