"""The place of each request in its sequence, and who is told of the sequence's end."""

from collections import defaultdict
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamgate.errors import EndReason, EndWarning, WarningCause
from streamgate.link.contract import UNSTARTED, Listener
from streamgate.model.request import Request, SequenceKey
from streamgate.session.positions import Positions

Told = list[tuple[str, SequenceKey, EndReason | EndWarning]]

IDLE = EndWarning(WarningCause.IDLE, 2.5)


def step(key: SequenceKey, *, start: bool = False) -> Request:
    return Request("m", sequence=key, start=start)


def listener(told: Told, name: str) -> Listener:
    return Listener(
        lambda key, reason: told.append((name, key, reason)),
        lambda key, warning: told.append((name, key, warning)),
    )


def test_positions_count_from_the_start_over_all_connections() -> None:
    positions = Positions()
    requests = [step(7, start=True), step(7), step("7", start=True), step(7), step("7")]
    assert [positions.assign(request, None) for request in requests] == [0, 1, 0, 2, 1]
    assert set(positions.keys()) == {7, "7"}


def test_the_listener_of_the_newest_request_is_warned() -> None:
    positions = Positions()
    told: Told = []
    positions.assign(step(7, start=True), listener(told, "first"))
    positions.assign(step(7), listener(told, "second"))
    positions.warn(7, IDLE)
    positions.warn("7", IDLE)
    assert told == [("second", 7, IDLE)]


def test_a_request_of_no_sequence_has_no_position() -> None:
    positions = Positions()
    assert positions.assign(step(7), None) == -1
    positions.assign(step(7, start=True), None)
    positions.end(7, EndReason.IDLE)
    assert positions.assign(step(7), None) == -1
    assert len(positions) == 0


def test_the_listener_of_the_newest_request_is_told_of_the_end() -> None:
    told: Told = []
    positions = Positions()
    positions.assign(step(7, start=True), listener(told, "first"))
    positions.assign(step(7), listener(told, "second"))
    positions.end(7, EndReason.IDLE)
    positions.end(7, EndReason.IDLE)
    positions.end(8, EndReason.IDLE)
    assert told == [("second", 7, EndReason.IDLE)]


def test_who_is_superseded_is_told_and_not_who_supersedes() -> None:
    told: Told = []
    positions = Positions()
    positions.assign(step(7, start=True), listener(told, "old"))
    positions.assign(step(7), listener(told, "old"))
    assert positions.assign(step(7, start=True), listener(told, "new")) == 0
    assert positions.assign(step(7), listener(told, "new")) == 1
    positions.end(7, EndReason.SUPERSEDED)
    assert told == [("old", 7, EndReason.SUPERSEDED)]
    assert positions.assign(step(7), listener(told, "new")) == 2
    positions.end(7, EndReason.CLIENT_END)
    assert told[1:] == [("new", 7, EndReason.CLIENT_END)]
    assert len(positions) == 0


def test_a_start_that_is_given_up_while_it_waits_is_told_so_itself() -> None:
    told: Told = []
    positions = Positions()
    for name in ("old", "given up", "last"):
        positions.assign(step(7, start=True), listener(told, name))
    positions.end(7, EndReason.CLIENT_ABORT, place=1)
    positions.end(7, EndReason.SUPERSEDED)
    positions.end(7, EndReason.IDLE)
    assert told == [
        ("given up", 7, EndReason.CLIENT_ABORT),
        ("old", 7, EndReason.SUPERSEDED),
        ("last", 7, EndReason.IDLE),
    ]


def test_a_refused_start_began_nothing_and_takes_nobodys_place() -> None:
    told: Told = []
    positions = Positions()
    first, second = step(7, start=True), step(7, start=True)
    positions.assign(first, listener(told, "old"))
    positions.assign(second, listener(told, "new"))
    positions.refuse(second)
    positions.refuse(step(7))
    positions.refuse(step(8, start=True))
    assert positions.assign(step(7), listener(told, "old")) == 1
    positions.end(7, EndReason.IDLE)
    assert told == [("old", 7, EndReason.IDLE)]
    positions.assign(first, None)
    positions.refuse(first)
    assert 7 not in positions


def test_a_sequence_may_end_without_anybody_to_tell() -> None:
    positions = Positions()
    positions.assign(step(7, start=True), None)
    positions.end(7, EndReason.CLIENT_END)
    assert len(positions) == 0


def test_a_reservation_is_begun_by_its_start() -> None:
    positions = Positions()
    told: Told = []
    assert positions.reserve(7, listener(told, "reserved"))
    assert not positions.reserve(7, listener(told, "again"))
    positions.warn(7, IDLE)
    assert positions.assign(step(7), listener(told, "early")) == -1
    assert positions.assign(step(7, start=True), listener(told, "start")) == 0
    assert positions.assign(step(7), listener(told, "step")) == 1
    positions.end(7, EndReason.CLIENT_END)
    assert told == [("reserved", 7, IDLE), ("step", 7, EndReason.CLIENT_END)]
    assert len(positions) == 0


def test_who_reserved_is_told_that_it_ended_without_a_start() -> None:
    positions = Positions()
    told: Told = []
    positions.reserve(7, listener(told, "reserved"))
    positions.end(7, EndReason.IDLE, UNSTARTED)
    assert told == [("reserved", 7, EndReason.IDLE)]
    assert 7 not in positions


def test_a_start_that_crosses_the_end_of_its_reservation_begins_another_sequence() -> None:
    positions = Positions()
    told: Told = []
    positions.reserve(7, listener(told, "reserved"))
    positions.assign(step(7, start=True), listener(told, "start"))
    positions.end(7, EndReason.IDLE, UNSTARTED)
    assert positions.assign(step(7), listener(told, "step")) == 1
    positions.end(7, EndReason.CLIENT_END)
    assert told == [("step", 7, EndReason.CLIENT_END)]
    assert len(positions) == 0


def test_a_refused_reservation_leaves_nothing_but_the_start_behind_it() -> None:
    positions = Positions()
    positions.reserve(7, None)
    positions.refuse_reservation(7)
    assert 7 not in positions
    positions.reserve(7, None)
    start = step(7, start=True)
    positions.assign(start, None)
    positions.refuse_reservation(7)
    assert 7 in positions
    positions.refuse(start)
    assert 7 not in positions


def test_a_refused_start_leaves_the_reservation_to_the_next_one() -> None:
    positions = Positions()
    told: Told = []
    positions.reserve(7, listener(told, "reserved"))
    first, second, third = (step(7, start=True) for _ in range(3))
    positions.assign(first, listener(told, "first"))
    positions.assign(step(7), listener(told, "first"))
    positions.refuse(first)
    assert positions.assign(step(7), None) == -1
    assert positions.assign(second, listener(told, "second")) == 0
    assert positions.assign(third, listener(told, "third")) == 0
    # What the second was to begin, the third begins: it is one sequence.
    positions.refuse(second)
    assert positions.assign(step(7), listener(told, "third")) == 1
    positions.end(7, EndReason.IDLE)
    assert told == [("third", 7, EndReason.IDLE)]
    assert len(positions) == 0


def test_what_comes_from_elsewhere_goes_on_at_its_position() -> None:
    positions = Positions()
    told: Told = []
    assert positions.restore(7, listener(told, "restored"), 41)
    assert not positions.restore(7, listener(told, "again"), 41)
    assert not positions.reserve(7, listener(told, "again"))
    assert positions.assign(step(7), listener(told, "step")) == 41
    assert positions.newest_of(7) == 41
    assert positions.assign(step(7, start=True), listener(told, "start")) == 0
    positions.end(7, EndReason.SUPERSEDED)
    assert told == [("step", 7, EndReason.SUPERSEDED)]
    assert positions.assign(step(7), None) == 1


def test_what_leaves_is_forgotten_and_nobody_is_told() -> None:
    positions = Positions()
    told: Told = []
    positions.assign(step(7, start=True), listener(told, "start"))
    positions.assign(step(7, start=True), listener(told, "next"))
    positions.leave(7)
    assert positions.assign(step(7), listener(told, "next")) == 1
    positions.leave(7)
    positions.leave(7)
    assert 7 not in positions
    assert told == []
    positions.reserve(7, listener(told, "reserved"))
    positions.leave(7)  # it has not begun: it can't have left
    assert 7 in positions


def test_what_could_not_be_restored_leaves_nothing_but_the_start_behind_it() -> None:
    positions = Positions()
    told: Told = []
    positions.restore(7, listener(told, "restored"), 3)
    positions.refuse_restored(7)
    assert 7 not in positions
    positions.restore(7, listener(told, "restored"), 3)
    positions.assign(step(7, start=True), listener(told, "start"))
    positions.refuse_restored(7)
    positions.refuse_restored(7)
    assert positions.assign(step(7), listener(told, "start")) == 1
    assert told == []


@dataclass
class Expected:
    """A sequence as `Positions` should know it."""

    name: str
    next_position: int
    start: Request | None = None
    is_restored: bool = False


class PositionsMachine(RuleBasedStateMachine):
    """Sequences that begin, come from elsewhere, leave and end in any order, under three IDs."""

    keys = st.integers(1, 3)

    def __init__(self) -> None:
        super().__init__()
        self.positions = Positions()
        self.told: Told = []
        self.expected_told: Told = []
        self.live: dict[int, list[Expected]] = defaultdict(list)
        self.names = 0

    def new(self) -> tuple[str, Listener]:
        self.names += 1
        return str(self.names), listener(self.told, str(self.names))

    @rule(key=keys)
    def start(self, key: int) -> None:
        name, told = self.new()
        request = step(key, start=True)
        assert self.positions.assign(request, told) == 0
        self.live[key].append(Expected(name, 1, request))

    @rule(key=keys)
    def go_on(self, key: int) -> None:
        name, told = self.new()
        position = self.positions.assign(step(key), told)
        if not self.live[key]:
            assert position == -1
            return
        newest = self.live[key][-1]
        assert position == newest.next_position
        newest.name = name
        newest.next_position += 1

    @rule(key=keys)
    def refuse_start(self, key: int) -> None:
        if self.live[key] and (start := self.live[key][-1].start) is not None:
            self.positions.refuse(start)
            self.live[key].pop()

    @rule(key=keys, next_position=st.integers(0, 1000))
    def restore(self, key: int, next_position: int) -> None:
        name, told = self.new()
        assert self.positions.restore(key, told, next_position) is (not self.live[key])
        if not self.live[key]:
            self.live[key].append(Expected(name, next_position, is_restored=True))

    @rule(key=keys)
    def refuse_restored(self, key: int) -> None:
        self.positions.refuse_restored(key)
        if self.live[key] and self.live[key][0].is_restored:
            self.live[key].pop(0)

    @rule(key=keys)
    def leave(self, key: int) -> None:
        self.positions.leave(key)
        self.live[key][:1] = []

    @precondition(lambda self: any(self.live.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([key for key, each in self.live.items() if each]))
        place = data.draw(st.integers(0, len(self.live[key]) - 1))
        self.positions.end(key, EndReason.IDLE, place)
        ended = self.live[key].pop(place)
        self.expected_told.append((ended.name, key, EndReason.IDLE))

    @invariant()
    def who_lives_is_known_and_who_ended_was_told(self) -> None:
        assert self.told == self.expected_told
        assert set(self.positions.keys()) == {key for key, each in self.live.items() if each}
        for key, live in self.live.items():
            newest = live[0].next_position - 1 if live else -1
            assert self.positions.newest_of(key) == newest


PositionsMachine.TestCase.settings = settings(max_examples=60, deadline=None)
TestPositionsMachine = PositionsMachine.TestCase


@given(st.lists(st.tuples(st.sampled_from(["start", "step", "refuse", "end"]), st.integers(1, 3))))
def test_each_admitted_start_is_told_of_one_end(actions: list[tuple[str, int]]) -> None:
    positions = Positions()
    told: Told = []
    waiting: dict[int, list[Request]] = defaultdict(list)
    admitted = 0
    for name, key in actions:
        if name == "start":
            request = step(key, start=True)
            assert positions.assign(request, listener(told, name)) == 0
            waiting[key].append(request)
            admitted += 1
        elif name == "step":
            position = positions.assign(step(key), listener(told, name))
            assert (position == -1) is (not waiting[key])
        elif waiting[key] and name == "refuse":
            positions.refuse(waiting[key].pop())
            admitted -= 1
        elif waiting[key]:
            positions.end(key, EndReason.IDLE)
            waiting[key].pop(0)
    for key, requests in waiting.items():
        for _ in requests:
            positions.end(key, EndReason.IDLE)
    assert len(told) == admitted
    assert len(positions) == 0
