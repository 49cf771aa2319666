"""Turns on a device: by deadline, never more than there is room for, and nobody waits for long."""

from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamgate.core.device_line import HOLD_NS, PATIENCE_NS, DeviceLine, Ticket
from streamgate.core.ids import Ns
from streamgate.core.urgency import SEQUENCE_BUDGET_NS, STATELESS_BUDGET_NS, Urgency
from tests.model.settings import LONG, MODEL

MS = 1_000_000


def at(ms: float) -> Ns:
    return Ns(round(ms * MS))


class TestLine:
    def test_the_earliest_deadline_is_next(self) -> None:
        line = DeviceLine(1)
        first = line.enter(at(50), at(0))
        assert line.admit(at(0)) == [first]
        late, soon, same = (line.enter(at(ms), at(1)) for ms in (90, 60, 60))
        assert line.admit(at(1)) == []
        order = []
        running = first
        while line.waiting:
            line.leave(running)
            (running,) = line.admit(at(2))
            order.append(running)
        assert order == [soon, same, late]

    def test_two_at_a_time(self) -> None:
        line = DeviceLine(2)
        tickets = [line.enter(at(ms), at(0)) for ms in (3, 1, 2)]
        assert line.admit(at(0)) == [tickets[1], tickets[2]]
        assert line.admit(at(1)) == []
        line.leave(tickets[1])
        assert line.admit(at(1)) == [tickets[0]]

    def test_one_that_is_given_up_is_not_waited_for(self) -> None:
        line = DeviceLine(1)
        running, given_up, other = (line.enter(at(ms), at(0)) for ms in (1, 2, 3))
        line.admit(at(0))
        line.leave(given_up)
        line.leave(running)
        assert line.admit(at(1)) == [other]

    def test_a_step_that_hangs_keeps_nobody_off(self) -> None:
        line = DeviceLine(1)
        hanging = line.enter(at(1), at(0))
        assert line.admit(at(0)) == [hanging]
        assert line.wake_at() is None
        other = line.enter(at(2), at(5))
        assert line.wake_at() == HOLD_NS
        assert line.admit(Ns(HOLD_NS - 1)) == []
        assert line.admit(Ns(HOLD_NS)) == [other]
        third = line.enter(at(3), Ns(HOLD_NS + 5))
        assert line.admit(Ns(HOLD_NS + 5)) == []
        assert line.wake_at() == 2 * HOLD_NS
        line.leave(hanging)
        assert line.admit(Ns(HOLD_NS + 6)) == []
        line.leave(other)
        assert line.admit(Ns(HOLD_NS + 7)) == [third]

    def test_who_has_waited_for_long_goes_before_the_urgent(self) -> None:
        line = DeviceLine(1)
        running = line.enter(at(0), at(0))
        line.admit(at(0))
        patient = line.enter(at(10**9), at(0))
        urgent = line.enter(at(0), at(1))
        line.leave(running)
        assert line.admit(Ns(PATIENCE_NS - 1)) == [urgent]
        again = line.enter(at(0), Ns(PATIENCE_NS))
        line.leave(urgent)
        assert line.admit(Ns(PATIENCE_NS)) == [patient]
        line.leave(patient)
        assert line.admit(Ns(PATIENCE_NS)) == [again]


class LineMachine(RuleBasedStateMachine):
    """Steps come with any deadlines and last as long as they like."""

    @initialize(width=st.integers(1, 3))
    def begin(self, width: int) -> None:
        self.width = width
        self.line = DeviceLine(width, patience_ns=1000, hold_ns=200)
        self.now = Ns(0)
        self.waiting: list[Ticket] = []
        self.on: list[Ticket] = []
        self.overtaken: dict[Ticket, int] = {}

    @rule(deadline=st.integers(0, 3000))
    def enter(self, deadline: int) -> None:
        if len(self.waiting) < 6:  # as many as there are instances
            ticket = self.line.enter(Ns(self.now + deadline - 500), self.now)
            self.waiting.append(ticket)
            self.overtaken[ticket] = 0

    @rule(gap=st.one_of(st.integers(0, 50), st.integers(0, 2000)))
    def wait(self, gap: int) -> None:
        self.now = Ns(self.now + gap)

    @rule()
    def wake(self) -> None:
        wake_at = self.line.wake_at()
        if wake_at is None:
            return
        if wake_at > self.now:
            self.now = Ns(wake_at - 1)
            assert self.line.admit(self.now) == []
        self.now = Ns(max(self.now, wake_at))
        assert self.waiting
        self.admit()

    @rule()
    def admit(self) -> None:
        count = sum(1 for each in self.on if not self.is_overdue(each))
        for ticket in self.line.admit(self.now):
            assert count < self.width
            count += 1
            best = min(self.waiting, key=self.rank)
            assert self.rank(ticket) == self.rank(best)
            for other in self.waiting:
                if other.number < ticket.number and self.now - other.arrived_at >= 1000:
                    raise AssertionError("who is patient was overtaken by one who came later")
            self.waiting.remove(ticket)
            self.on.append(ticket)
        assert count >= self.width or not self.waiting

    @precondition(lambda self: self.on)
    @rule(which=st.integers(0, 9))
    def end(self, which: int) -> None:
        self.line.leave(self.on.pop(which % len(self.on)))

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 9))
    def give_up(self, which: int) -> None:
        self.line.leave(self.waiting.pop(which % len(self.waiting)))

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "line"):
            assert (self.line.waiting, self.line.running) == (len(self.waiting), len(self.on))

    def is_overdue(self, ticket: Ticket) -> bool:
        assert ticket.started_at is not None
        return self.now - ticket.started_at >= 200

    def rank(self, ticket: Ticket) -> tuple[int, int, int]:
        if self.now - ticket.arrived_at >= 1000:
            return 0, ticket.arrived_at, ticket.number
        return 1, ticket.deadline_at, ticket.number


TestLineMachine = LineMachine.TestCase
TestLineMachine.settings = settings(MODEL, max_examples=1_000 if LONG else 150)
TestLineMachine = pytest.mark.timeout(900 if LONG else 120)(TestLineMachine)


class TestUrgency:
    def test_what_is_declared_comes_first(self) -> None:
        assert Urgency.of(5, 7, of_sequences=True).budget_ns == 5
        assert Urgency.of(0, 7, of_sequences=True).budget_ns == 7
        assert Urgency.of(0, 0, of_sequences=True).budget_ns == SEQUENCE_BUDGET_NS
        assert Urgency.of(0, 0, of_sequences=False).budget_ns == STATELESS_BUDGET_NS

    def test_the_most_urgent_request_counts(self) -> None:
        urgency = Urgency.of(at(100), 0, of_sequences=False)
        requests = [(at(10), 0), (at(20), at(30)), (at(30), at(500))]
        assert urgency.deadline_at(requests, at(30)) == at(50)
        assert urgency.deadline_at([], at(30)) == at(30)

    def test_sequences_catch_up_and_others_begin_anew(self) -> None:
        late = [(at(0), 0)]
        assert Urgency.of(at(100), 0, of_sequences=True).deadline_at(late, at(500)) == at(100)
        assert Urgency.of(at(100), 0, of_sequences=False).deadline_at(late, at(500)) == at(600)


# -- a device in simulated time


@dataclass
class Shared:
    """A device on which one model's streams have a step every `pace_ms`, all at one time, and
    stateless instances are never without work. `ordered` False: first come, first served."""

    pace_ms: float
    step_ms: float
    stateless: int
    stateless_ms: float
    ordered: bool
    backlog_ms: float = 0.0
    lags_ms: list[float] = field(default_factory=list)
    stateless_steps: int = 0
    longest_wait_ms: float = 0.0

    def run(self, seconds: float) -> None:
        line = DeviceLine(1)
        stream = Urgency.of(0, at(self.pace_ms), of_sequences=True)
        other = Urgency.of(0, 0, of_sequences=False)
        events: list[tuple[int, int, str, int]] = [(0, 0, "chunk", 0)]
        order = 0
        waiting_chunks: list[int] = []
        stream_is_in_line = False
        kinds: dict[Ticket, tuple[str, int]] = {}

        def enter(kind: str, arrived: int, now: Ns) -> None:
            urgency = stream if kind == "stream" else other
            deadline = urgency.deadline_at([(arrived, 0)], now)
            kinds[line.enter(deadline if self.ordered else now, now)] = kind, arrived

        for _ in range(self.stateless):
            enter("stateless", at(-self.backlog_ms), Ns(0))
        while events or line.waiting:
            if events:
                now = Ns(events[0][0])
            if now > at(1000 * seconds):
                return
            while events and events[0][0] == now:
                _, _, what, number = heappop(events)
                if what == "chunk":
                    waiting_chunks.append(now)
                    order += 1
                    heappush(events, (now + at(self.pace_ms), order, "chunk", 0))
                else:
                    ticket = next(each for each in kinds if each.number == number)
                    kind, arrived = kinds.pop(ticket)
                    line.leave(ticket)
                    if kind == "stream":
                        self.lags_ms.append((now - arrived) / MS)
                        stream_is_in_line = False
                    else:
                        self.stateless_steps += 1
                        enter("stateless", now - at(self.backlog_ms), now)
            if waiting_chunks and not stream_is_in_line:
                stream_is_in_line = True
                enter("stream", waiting_chunks.pop(0), now)
            for ticket in line.admit(now):
                waited = (now - ticket.arrived_at) / MS
                self.longest_wait_ms = max(self.longest_wait_ms, waited)
                is_stream = kinds[ticket][0] == "stream"
                order += 1
                end = now + at(self.step_ms if is_stream else self.stateless_ms)
                heappush(events, (end, order, "end", ticket.number))


def test_stateless_work_does_not_make_streams_late() -> None:
    """Eight stateless instances with 10 ms steps: in turn, a stream's step waits for all of them;
    by deadline, for the one that runs."""
    by_turn = Shared(80, 5, stateless=8, stateless_ms=10, ordered=False)
    by_turn.run(20)
    by_deadline = Shared(80, 5, stateless=8, stateless_ms=10, ordered=True)
    by_deadline.run(20)
    assert max(by_turn.lags_ms) > 80
    assert max(by_deadline.lags_ms) <= 10 + 5
    # What is left of the device is theirs all the same.
    assert by_deadline.stateless_steps >= 0.95 * by_turn.stateless_steps


def test_nor_does_stateless_work_that_is_late_for_long() -> None:
    """Its queue is 10 s long: all deadlines by arrival are over."""
    shared = Shared(80, 5, stateless=8, stateless_ms=10, ordered=True, backlog_ms=10_000)
    shared.run(20)
    assert max(shared.lags_ms) <= 10 + 5


def test_streams_that_fill_the_device_starve_nobody() -> None:
    """Steps take longer than the pace: the streams are late for ever, and never without one."""
    shared = Shared(20, 25, stateless=3, stateless_ms=10, ordered=True)
    shared.run(20)
    assert shared.stateless_steps >= 20
    assert shared.longest_wait_ms <= PATIENCE_NS / MS + 3 * 25 + 2 * 10
