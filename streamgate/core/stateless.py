"""The schedulers of stateless models: one request a step, or dynamic batching.

Order of responses: a step holds its requests in queue order, and steps are numbered in the order
in which they left the queue. Instances may finish in another order; where `preserve_ordering` is
asked for, the engine holds responses back, as only it knows when they are ready.
"""

from collections.abc import Collection, Sequence
from itertools import accumulate, islice
from typing import assert_never, final

from streamgate.core.batching import BatchRules, Prefix
from streamgate.core.commands import (
    Command,
    HandOverRefused,
    Reject,
    Rejection,
    ReservationRefused,
    RestoreRefused,
    Row,
    Run,
    Step,
)
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
from streamgate.core.gate import Gate
from streamgate.core.ids import (
    NO_OWNER,
    InstanceIndex,
    Ns,
    OwnerNumber,
    RequestNumber,
    StepNumber,
)
from streamgate.core.queueing import Queued, RequestQueue
from streamgate.core.rota import Rota
from streamgate.core.scheduler import SchedulerStatistics, SlotHolder
from streamgate.model.config import DynamicBatching
from streamgate.model.request import SequenceKey


@final
class StatelessScheduler:
    """Runs a prefix of the queue on each instance that is free, the longest idle one first.

    `largest_rows` is the most rows that one request may have; more is a fault of the caller.
    """

    def __init__(
        self,
        queue_rules: DynamicBatching,
        batch_rules: BatchRules,
        largest_rows: int,
        instances: int,
        gate: Gate | None = None,
    ) -> None:
        self._gate = gate
        self._in_line: set[InstanceIndex] = set()
        self._queue = RequestQueue(queue_rules)
        self._prefix = Prefix(batch_rules)
        self._prefix_current = True
        self._largest_rows = largest_rows
        self._out: list[Command] = []
        self._rota = Rota(instances, self._out)
        self._idle = self._rota.idle
        self._owned: dict[OwnerNumber, dict[RequestNumber, None]] = {}
        self._steps = 0
        self._stopping = False
        self._refusal: Rejection | None = None
        self._wake_at: Ns | None = None
        self._received = False

    def receive(self, event: Event, now: Ns) -> None:
        if not self._received:
            self._received = True
            self._wake_at = now
        match event:
            case Submit():
                self._submit(event, now)
            case Completed():
                self._end_turn(event.step, now)
                self._rota.complete(event.step)
            case TurnCame():
                pass  # the next poll asks again
            case Cancel():
                self._cancel(event.request)
            case HangUp():
                for request in tuple(self._owned.get(event.owner, ())):
                    self._cancel(request)
            case InstanceLost():
                for step, index in self._rota.running.items():
                    if index == event.instance:
                        self._end_turn(step, now)
                self._rota.lose(event, now)
            case InstanceBack():
                self._rota.welcome(event.instance)
                self._decide_on_arrivals()
            case Resize():
                self._rota.resize(event, now)
                self._decide_on_arrivals()
            case Drain():
                self._stopping = True
                self._decide_on_arrivals()
            case Close():
                self._stopping = True
                self._decide_on_arrivals()
                self._reject_all(Rejection.STOPPING)
            case Reserve():
                self._out.append(ReservationRefused(event.request, Rejection.NOTHING_TO_RESERVE))
            case Restore():
                self._out.append(RestoreRefused(event.request, Rejection.NOTHING_TO_RESERVE))
            case HandOver():
                self._out.append(HandOverRefused(event.request))
            case EndSequence() | Touch() | Arrived() | Copied() | NotCopied() | Hibernate():
                pass  # there are none
            case Pause() | Resume():
                pass  # requests that no order binds are few enough to run
            case _:
                assert_never(event)

    def poll(self, now: Ns) -> list[Command]:
        if self._wake_at is None or now < self._wake_at:
            return []
        self._received = False
        timeout_at = self._queue.next_at()
        if timeout_at is not None and timeout_at <= now:
            self._expire(now)
        away_at = self._rota.next_at()
        if away_at is not None and away_at <= now and self._rota.expire(now):
            self._decide_on_arrivals()
        due_at: Ns | None = None
        while self._idle and len(self._queue):
            count = self._grow().take(now)
            if count == 0:
                due_at = self._prefix.due_at()
                break
            index = self._idle[0]
            if self._gate is not None:
                index, count = self._ask(count, now)
                if count == 0:
                    break
            self._run(count, index, now)
        if self._gate is not None:
            self._rest(now)
        self._wake_at = _earliest(_earliest(self._queue.next_at(), due_at), self._rota.next_at())
        out = self._out.copy()
        self._out.clear()
        return out

    def wake_at(self) -> Ns | None:
        return self._wake_at

    def statistics(self) -> SchedulerStatistics:
        return SchedulerStatistics(pending=len(self._queue), running_steps=len(self._rota.running))

    def holders(self, limit: int, only: Collection[SequenceKey] | None = None) -> list[SlotHolder]:
        del limit, only
        return []

    def _submit(self, event: Submit, now: Ns) -> None:
        assert 1 <= event.rows <= self._largest_rows, "a request larger than the model's batch"
        if self._refusal is not None:
            self._out.append(Reject(event.request, self._refusal, admitted=False))
            return
        queued = self._queue.put(event, now)
        if queued is None:
            self._out.append(Reject(event.request, Rejection.QUEUE_FULL, admitted=False))
            return
        if event.owner != NO_OWNER:
            self._owned.setdefault(event.owner, {})[event.request] = None
        if self._prefix_current and not self._queue.is_last(queued):
            self._prefix_current = False
        if self._prefix_current:
            self._prefix.extend(event.rows, event.signature, now)

    def _decide_on_arrivals(self) -> None:
        """Whether requests are let in, and why not; those that are in follow them out."""
        deserted = self._rota.is_deserted
        if self._stopping:
            self._refusal = Rejection.STOPPING
        else:
            self._refusal = Rejection.INSTANCE_AWAY if deserted else None
        if deserted:
            self._reject_all(Rejection.INSTANCE_AWAY)

    def _reject_all(self, reason: Rejection) -> None:
        for queued in tuple(self._queue):
            self._reject(queued, reason)

    def _expire(self, now: Ns) -> None:
        self._prefix_current = False
        for queued in self._queue.expire(now):
            self._forget(queued)
            self._out.append(Reject(queued.event.request, Rejection.TIMEOUT, admitted=True))

    def _cancel(self, request: RequestNumber) -> None:
        queued = self._queue.get(request)
        if queued is not None:
            self._reject(queued, Rejection.CANCELLED)

    def _reject(self, queued: Queued, reason: Rejection) -> None:
        self._queue.remove(queued)
        self._prefix_current = False
        self._forget(queued)
        self._out.append(Reject(queued.event.request, reason, admitted=True))

    def _forget(self, queued: Queued) -> None:
        """The request left the queue: its owner can't cancel it any more."""
        owner = queued.event.owner
        if owner != NO_OWNER:
            requests = self._owned[owner]
            del requests[queued.event.request]
            if not requests:
                del self._owned[owner]

    def _grow(self) -> Prefix:
        """The prefix of the queue as it is now."""
        prefix = self._prefix
        if not self._prefix_current:
            self._prefix_current = True
            prefix.clear()
            for queued in self._queue:
                if not prefix.extend(queued.event.rows, queued.event.signature, queued.arrived_at):
                    break
        return prefix

    def _ask(self, count: int, now: Ns) -> tuple[InstanceIndex, int]:
        """The first idle instance that may start a step of these first requests on its device now,
        and how many of them it is to have; 0 for none."""
        assert self._gate is not None
        front = list(islice(self._queue, count))
        most = sum(each.event.rows for each in front)
        for index in self._idle:
            self._in_line.add(index)
            requests = ((each.arrived_at, each.event.timeout_ns) for each in front)
            limit = self._gate.ask(index, front[0].event.rows, most, requests, now)
            if limit:
                return index, _within(front, limit)
        return self._idle[0], 0

    def _rest(self, now: Ns) -> None:
        """Whoever is in line for what is not there any more leaves it."""
        assert self._gate is not None
        is_due = len(self._queue) and self._grow().take(now)
        gone = self._in_line.difference(self._idle if is_due else ())
        for index in gone:
            self._gate.rest(index, now)
        self._in_line -= gone

    def _end_turn(self, step: StepNumber, now: Ns) -> None:
        index = self._rota.running.get(step)
        if self._gate is not None and index is not None:
            self._gate.end(index, now)

    def _run(self, count: int, index: InstanceIndex, now: Ns) -> None:
        chosen = self._queue.pop(count)
        for queued in chosen:
            self._forget(queued)
        self._prefix.clear()
        self._prefix_current = not len(self._queue)
        self._steps += 1
        number = StepNumber(self._steps)
        self._rota.start(number, index)
        if self._gate is not None:
            self._in_line.discard(index)
            self._gate.start(index, sum(queued.event.rows for queued in chosen), now)
        rows = tuple([Row(queued.event.request, rows=queued.event.rows) for queued in chosen])
        self._out.append(Run(Step(number, index, rows)))


def _within(front: Sequence[Queued], limit: int) -> int:
    """How many of these requests have no more than so many rows together."""
    rows = accumulate(each.event.rows for each in front)
    return max(1, sum(total <= limit for total in rows))


def _earliest(one: Ns | None, other: Ns | None) -> Ns | None:
    """The earlier of two moments that may not come."""
    if one is None or (other is not None and other < one):
        return other
    return one
