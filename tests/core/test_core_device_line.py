"""Turns on a device: by deadline, never more than there is room for, and nobody waits for long."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamgate.core.device_line import HOLD_NS, PACES, PATIENCE_NS, DeviceLine
from streamgate.core.ids import Ns
from streamgate.core.party import LATE, Party
from streamgate.core.urgency import SEQUENCE_BUDGET_NS, STATELESS_BUDGET_NS, Urgency
from tests.model.settings import LONG, MODEL

MS = 1_000_000

STREAMS = Urgency.of(0, 80 * MS, of_sequences=True)
STATELESS = Urgency.of(0, 0, of_sequences=False)


def at(ms: float) -> Ns:
    return Ns(round(ms * MS))


def party(line: DeviceLine, urgency: Urgency = STREAMS, step_ms: float = 0) -> Party:
    """An instance whose steps are known to take so long, if that is told."""
    made = line.join(urgency)
    for _ in range(20 if step_ms else 0):
        made.note(1, at(step_ms))
    return made


def turns(line: DeviceLine, now: Ns) -> list[tuple[Party, int]]:
    """Everybody whose turn it is now starts."""
    started = []
    while (following := line.next(now)) is not None:
        line.start(*following, now)
        started.append(following)
    return started


class TestLine:
    def test_the_earliest_deadline_is_next(self) -> None:
        line = DeviceLine(1)
        first, *others = (party(line) for _ in range(4))
        line.claim(first, 1, 1, at(50), at(0))
        assert turns(line, at(0)) == [(first, 1)]
        for other, deadline_ms in zip(others, (90, 60, 60), strict=True):
            line.claim(other, 1, 1, at(deadline_ms), at(1))
        assert turns(line, at(1)) == []
        order = []
        running = first
        while line.waiting:
            line.end(running, at(2))
            ((running, _),) = turns(line, at(2))
            order.append(running)
        assert order == [others[1], others[2], others[0]]

    def test_a_long_step_has_to_start_earlier(self) -> None:
        line = DeviceLine(1)
        short, long = party(line, step_ms=2), party(line, step_ms=50)
        line.claim(short, 1, 1, at(60), at(0))
        line.claim(long, 1, 1, at(80), at(0))
        assert turns(line, at(0)) == [(long, 1)]

    def test_whoever_comes_meanwhile_joins_the_step(self) -> None:
        line = DeviceLine(1)
        running, waiting = party(line), party(line)
        line.claim(running, 1, 1, at(80), at(0))
        assert turns(line, at(0)) == [(running, 1)]
        line.claim(waiting, 1, 1, at(80), at(1))
        line.claim(waiting, 3, 3, at(90), at(2))
        assert waiting.claim is not None
        assert waiting.claim.deadline_at == at(80)
        line.end(running, at(3))
        assert turns(line, at(3)) == [(waiting, 3)]

    def test_two_at_a_time(self) -> None:
        line = DeviceLine(2)
        parties = [party(line) for _ in range(3)]
        for each, deadline_ms in zip(parties, (3, 1, 2), strict=True):
            line.claim(each, 1, 1, at(deadline_ms), at(0))
        assert turns(line, at(0)) == [(parties[1], 1), (parties[2], 1)]
        line.end(parties[1], at(1))
        assert turns(line, at(1)) == [(parties[0], 1)]

    def test_one_that_is_given_up_is_not_waited_for(self) -> None:
        line = DeviceLine(1)
        running, given_up, gone, other = (party(line) for _ in range(4))
        for number, each in enumerate((running, given_up, gone, other)):
            line.claim(each, 1, 1, at(number), at(0))
        assert line.next(at(0)) == (running, 1)
        line.start(running, 1, at(0))
        line.drop(given_up, at(1))
        line.part(gone, at(1))
        line.end(running, at(1))
        assert turns(line, at(1)) == [(other, 1)]

    def test_a_step_that_hangs_keeps_nobody_off(self) -> None:
        line = DeviceLine(1)
        hanging, other, third = (party(line) for _ in range(3))
        line.claim(hanging, 1, 1, at(1), at(0))
        assert turns(line, at(0)) == [(hanging, 1)]
        assert line.wake_at(at(0)) is None
        line.claim(other, 1, 1, at(2), at(5))
        assert line.wake_at(at(5)) == HOLD_NS
        assert turns(line, Ns(HOLD_NS - 1)) == []
        assert turns(line, Ns(HOLD_NS)) == [(other, 1)]
        line.claim(third, 1, 1, at(3), Ns(HOLD_NS + 5))
        assert turns(line, Ns(HOLD_NS + 5)) == []
        assert line.wake_at(Ns(HOLD_NS + 5)) == 2 * HOLD_NS
        line.end(hanging, Ns(HOLD_NS + 6))
        assert turns(line, Ns(HOLD_NS + 6)) == []
        line.end(other, Ns(HOLD_NS + 7))
        assert turns(line, Ns(HOLD_NS + 7)) == [(third, 1)]

    def test_a_sequence_that_has_waited_for_long_goes_before_the_urgent(self) -> None:
        line = DeviceLine(1)
        running, patient, urgent, again = (party(line) for _ in range(4))
        line.claim(running, 1, 1, at(0), at(0))
        turns(line, at(0))
        line.claim(patient, 1, 1, at(10**6), at(0))
        line.claim(urgent, 1, 1, at(0), at(1))
        line.end(running, at(2))
        assert turns(line, Ns(PATIENCE_NS - 1)) == [(urgent, 1)]
        line.claim(again, 1, 1, at(0), Ns(PATIENCE_NS))
        line.end(urgent, Ns(PATIENCE_NS))
        assert turns(line, Ns(PATIENCE_NS)) == [(patient, 1)]
        line.end(patient, Ns(PATIENCE_NS))
        assert turns(line, Ns(PATIENCE_NS)) == [(again, 1)]


class TestStatelessWork:
    """One stream whose chunk comes every 80 ms, the next one at 80, and a stateless instance."""

    def line(self, stateless_ms: float, share: float = 0.05) -> tuple[DeviceLine, Party, Party]:
        line = DeviceLine(1, share)
        stream = party(line, STREAMS, step_ms=10)
        stateless = party(line, STATELESS, step_ms=stateless_ms)
        stream.expect_next(7, at(0))
        return line, stream, stateless

    def test_it_waits_where_a_stream_would_be_late_behind_it(self) -> None:
        line, _, stateless = self.line(100)
        line.claim(stateless, 1, 1, at(1000), at(49))
        assert turns(line, at(49)) == [(stateless, 1)]
        line, stream, stateless = self.line(100)
        line.claim(stateless, 1, 1, at(1000), at(51))
        assert turns(line, at(51)) == []
        line.claim(stream, 1, 1, at(160), at(80))
        stream.expect_next(7, at(80))
        assert turns(line, at(80)) == [(stream, 1)]
        line.end(stream, at(90))
        # The next is wanted by 240: until 230 there is room for 100.
        assert turns(line, at(90)) == [(stateless, 1)]

    def test_it_takes_as_many_rows_as_there_is_time_for(self) -> None:
        line, _, stateless = self.line(10)
        line.claim(stateless, 1, 16, at(1000), at(60))
        assert turns(line, at(60)) == [(stateless, 9)]
        line, _, stateless = self.line(10)
        line.claim(stateless, 10, 16, at(1000), at(60))
        assert turns(line, at(60)) == []
        line.claim(stateless, 8, 8, at(1000), at(60))
        assert turns(line, at(60)) == [(stateless, 8)]

    def test_nobody_is_expected_for_ever(self) -> None:
        line, _, stateless = self.line(75)
        line.claim(stateless, 1, 1, at(1000), at(79))
        assert turns(line, at(79)) == []
        lapses_at = at(80 + LATE * 80)
        assert line.wake_at(at(79)) == at(80)
        assert turns(line, at(80)) == []
        assert line.wake_at(at(80)) == lapses_at
        assert turns(line, Ns(lapses_at - 1)) == []
        assert turns(line, lapses_at) == [(stateless, 1)]

    def test_an_expected_step_is_none_once_it_can_be_met_behind_it(self) -> None:
        line, _, stateless = self.line(70)
        line.claim(stateless, 1, 1, at(1000), at(81))
        assert turns(line, at(81)) == [(stateless, 1)]

    @pytest.mark.parametrize(("share", "owed_ms"), [(0.05, 1000), (0.5, 2 * 100), (0.0, 1000)])
    def test_it_is_owed_a_share(self, share: float, owed_ms: float) -> None:
        """Two streams that come in turns leave no time for it."""
        line, stream, stateless = self.line(100, share)
        line.claim(stateless, 1, 4, at(1000), at(51))
        for ms in range(51, 51 + round(owed_ms)):
            stream.expect_next(7, at(ms - 40))
            stream.expect_next(8, at(ms - 60))
            assert turns(line, at(ms)) == []
            wake_at = line.wake_at(at(ms))
            assert wake_at is not None
            assert wake_at <= at(51 + owed_ms)
        line.claim(stream, 1, 1, at(0), at(51 + owed_ms))
        assert turns(line, at(51 + owed_ms)) == [(stateless, 1)]

    def test_it_is_owed_nothing_within_two_paces(self) -> None:
        line, stream, stateless = self.line(8)
        line.claim(stateless, 1, 1, at(1000), at(81))
        stream.expect_next(7, at(80))
        for ms in range(81, 81 + PACES * 80):
            line.claim(stream, 1, 1, at(ms + 10), at(ms))
            assert line.next(at(ms)) == (stream, 1)
        assert line.next(at(81 + PACES * 80)) == (stateless, 1)

    def test_who_is_about_to_ask_is_waited_for(self) -> None:
        line = DeviceLine(1)
        stream, stateless = party(line, STREAMS), party(line, STATELESS)
        stream.stirs = True
        line.claim(stateless, 1, 1, at(1000), at(0))
        assert turns(line, at(0)) == []
        line.drop(stream, at(0))
        assert turns(line, at(0)) == [(stateless, 1)]

    def test_where_there_is_room_for_a_stream_beside_it_it_need_not_wait(self) -> None:
        line = DeviceLine(2)
        stream, stateless = party(line, STREAMS, step_ms=10), party(line, STATELESS, step_ms=500)
        another = party(line, STATELESS, step_ms=500)
        stream.expect_next(7, at(0))
        for each in (stateless, another):
            line.claim(each, 1, 1, at(1000), at(60))
        assert turns(line, at(60)) == [(stateless, 1)]


class LineMachine(RuleBasedStateMachine):
    """Steps come with any deadlines and last as long as they like."""

    @initialize(width=st.integers(1, 3), share=st.sampled_from([0.0, 0.05, 0.3]))
    def begin(self, width: int, share: float) -> None:
        self.width = width
        self.line = DeviceLine(width, share, patience_ns=1000, hold_ns=200)
        streams = Urgency(300, of_sequences=True, interval_ns=300)
        stateless = Urgency(1000, of_sequences=False)
        self.parties = [self.line.join(streams) for _ in range(3)]
        self.parties += [self.line.join(stateless) for _ in range(3)]
        self.now = Ns(0)
        self.on: dict[Party, Ns] = {}
        self.deprived_since: Ns | None = None

    @rule(which=st.integers(0, 5), deadline=st.integers(0, 3000), rows=st.integers(1, 9))
    def claim(self, which: int, deadline: int, rows: int) -> None:
        party = self.parties[which]
        if party not in self.on:
            least = 1 if party.is_stateless else rows
            self.line.claim(party, least, rows, Ns(self.now + deadline - 500), self.now)
            self.note()

    @rule(which=st.integers(0, 2), sequence=st.integers(1, 3))
    def arrive(self, which: int, sequence: int) -> None:
        self.parties[which].expect_next(sequence, self.now)

    @rule(gap=st.one_of(st.integers(1, 50), st.integers(0, 2000)))
    def wait(self, gap: int) -> None:
        self.now = Ns(self.now + gap)

    @rule()
    def wake(self) -> None:
        self.admit()
        wake_at = self.line.wake_at(self.now)
        if wake_at is None:
            assert not any(each.claim for each in self.parties)
            return
        assert wake_at > self.now
        self.now = wake_at
        self.admit()

    @rule()
    def admit(self) -> None:
        while (following := self.line.next(self.now)) is not None:
            party, rows = following
            claim = party.claim
            assert claim is not None
            assert claim.least <= rows <= claim.most
            assert self.line.rows(party, self.now) == rows
            assert sum(not self.is_overdue(each) for each in self.on) < self.width
            if not party.is_stateless:
                assert self.rank(party) == min(
                    self.rank(each)
                    for each in self.parties
                    if each.claim is not None and not each.is_stateless
                )
            self.line.start(party, rows, self.now)
            self.on[party] = self.now
            self.note()
        if sum(not self.is_overdue(each) for each in self.on) < self.width:
            waiting = [each for each in self.parties if each.claim is not None]
            assert all(each.is_stateless for each in waiting), "a stream waits for nobody"
            if waiting:
                assert any(each.expected(self.now) for each in self.parties), "waits for nobody"
            if self.deprived_since is not None:
                assert self.now - self.deprived_since < 1000, "starved"

    @precondition(lambda self: self.on)
    @rule(which=st.integers(0, 9))
    def end(self, which: int) -> None:
        party = list(self.on)[which % len(self.on)]
        del self.on[party]
        self.line.end(party, self.now)
        self.note()

    @rule(which=st.integers(0, 5))
    def give_up(self, which: int) -> None:
        party = self.parties[which]
        if party not in self.on:
            self.line.drop(party, self.now)
            self.note()

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "line"):
            waiting = sum(each.claim is not None for each in self.parties)
            assert (self.line.waiting, self.line.running) == (waiting, len(self.on))

    def note(self) -> None:
        """Since when stateless work waits and has nothing on the device."""
        waits = any(each.claim for each in self.parties if each.is_stateless)
        if not waits or any(each.is_stateless for each in self.on):
            self.deprived_since = None
        elif self.deprived_since is None:
            self.deprived_since = self.now

    def is_overdue(self, party: Party) -> bool:
        return self.now - self.on[party] >= 200

    def rank(self, party: Party) -> tuple[int, int, int]:
        claim = party.claim
        assert claim is not None
        if self.now - claim.since >= 1000:
            return 1, claim.since, claim.number
        return 2, claim.deadline_at - party.length(claim.most), claim.number


TestLineMachine = LineMachine.TestCase
TestLineMachine.settings = settings(MODEL, max_examples=1_000 if LONG else 80)
TestLineMachine = pytest.mark.timeout(900 if LONG else 120)(TestLineMachine)


class TestUrgency:
    def test_what_is_declared_comes_first(self) -> None:
        assert Urgency.of(5, 7, of_sequences=True) == Urgency(5, True, 7)
        assert Urgency.of(5, 0, of_sequences=True) == Urgency(5, True, 5)
        assert Urgency.of(0, 7, of_sequences=True) == Urgency(7, True, 7)
        assert Urgency.of(0, 0, of_sequences=True) == Urgency(SEQUENCE_BUDGET_NS, True)
        assert Urgency.of(0, 0, of_sequences=False) == Urgency(STATELESS_BUDGET_NS, False)

    def test_the_most_urgent_request_counts(self) -> None:
        urgency = Urgency.of(at(100), 0, of_sequences=False)
        requests = [(at(10), 0), (at(20), at(30)), (at(30), at(500))]
        assert urgency.deadline_at(requests, at(30)) == at(50)
        assert urgency.deadline_at([], at(30)) == at(30)

    def test_sequences_catch_up_and_others_begin_anew(self) -> None:
        late = [(at(0), 0)]
        assert Urgency.of(at(100), 0, of_sequences=True).deadline_at(late, at(500)) == at(100)
        assert Urgency.of(at(100), 0, of_sequences=False).deadline_at(late, at(500)) == at(600)
