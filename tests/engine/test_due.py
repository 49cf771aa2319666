"""When snapshots are due, in simulated time."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.core.ids import Ns
from streamgate.engine.due import NS, Budget, Due
from streamgate.model.config import Durability
from tests.model.settings import LONG, MODEL

KB = 1_000


def rules(steps: int = 0, ns: int = 0, budget: int = 0) -> Durability:
    return Durability(snapshot_steps=steps, snapshot_ns=ns, snapshot_bytes_per_second=budget)


def ask(due: Due, key: int, now: int, size: int = KB) -> bool:
    """A step, and whether a snapshot is to be taken behind it."""
    return due.step(key, Ns(now)) and due.is_room(key, size, Ns(now))


def take(due: Due, key: int, now: int, size: int = KB) -> bool:
    """A step, and the snapshot behind it if one is due."""
    if not ask(due, key, now, size):
        return False
    due.taken(key, size, Ns(now), has_news=False)
    return True


def test_one_is_due_every_so_many_steps_but_not_all_at_once() -> None:
    due = Due(rules(steps=8))
    taken = [{key for key in range(160) if take(due, key, step)} for step in range(24)]
    # Each has its first one within eight steps, and from there one with each eighth step.
    assert set().union(*taken[:8]) == set(range(160))
    assert taken[:8] == taken[8:16] == taken[16:]
    # On average 20 have theirs together.
    assert max(map(len, taken)) <= 40


def test_of_one_that_is_let_be_none_is_due_until_another_begins() -> None:
    due = Due(rules(steps=8, ns=1_000))
    assert any(take(due, 7, now) for now in range(8))
    due.step(7, Ns(8))
    due.let_be(7)
    assert due.next_at() is None
    assert not any(ask(due, 7, now) for now in range(9, 5_000))
    assert due.overdue(Ns(10_000)) == []
    due.begin(7)
    assert any(take(due, 7, now) for now in range(5_000, 5_008))
    # What is forgotten has left nothing behind.
    due.let_be(7)
    due.forget(7)
    assert len(due) == 0
    assert any(take(due, 7, now) for now in range(6_000, 6_008))


def test_one_is_due_after_so_long() -> None:
    due = Due(rules(ns=100))
    times = [now for now in range(0, 1_000, 30) if take(due, 7, now)]
    assert times[0] <= 120
    gaps = {after - before for before, after in pairwise(times)}
    assert gaps == {120}  # with the first step that is late enough


def test_whatever_is_first_counts() -> None:
    due = Due(rules(steps=10, ns=100))
    now, gaps, before = 0, Counter[str](), None
    for step in range(200):
        now += 2 if step < 100 else 40
        if take(due, 7, now):
            if before is not None:
                gaps["steps" if step - before[0] == 10 else "time"] += 1
                assert step - before[0] == 10 or now - before[1] >= 100
            before = step, now
    assert gaps["steps"] >= 8
    assert gaps["time"] >= 30


def test_nothing_is_due_where_neither_is_asked_for() -> None:
    due = Due(rules())
    assert not any(take(due, 7, now * NS) for now in range(100))
    assert due.next_at() is None


def test_who_rests_has_its_snapshot_in_time() -> None:
    due = Due(rules(steps=50, ns=100))
    while not take(due, 7, 0):
        pass  # the first one is due early
    assert due.next_at() is None  # nothing has happened since
    assert not ask(due, 7, 10, KB)
    assert due.next_at() == 100
    assert due.overdue(Ns(99)) == []
    assert due.overdue(Ns(100)) == [7]
    assert due.is_room(7, KB, Ns(100))
    assert not ask(due, 7, 105, KB), "it is being taken"
    due.taken(7, KB, Ns(110), has_news=True)
    assert due.next_at() == 210
    assert due.overdue(Ns(210)) == [7]
    assert due.is_room(7, KB, Ns(210))
    due.taken(7, KB, Ns(211), has_news=False)
    assert due.next_at() is None


def test_one_that_could_not_be_taken_is_due_with_the_next_step() -> None:
    due = Due(rules(steps=4, ns=100, budget=KB))
    now = 0
    while not ask(due, 7, now, KB):
        now += 1
    due.missed(7, Ns(now))
    assert due.next_at() == now + 100
    assert ask(due, 7, now + 1, KB), "what it did not take was given back"


def test_nothing_is_left_of_who_has_gone() -> None:
    due = Due(rules(steps=4, ns=100, budget=KB))
    while not ask(due, 1, 0, KB):
        pass
    ask(due, 2, 0, KB)
    for key in (1, 2, 3):
        due.forget(key)
    assert len(due) == 0
    assert due.next_at() is None
    due.taken(1, KB, Ns(1), has_news=True)  # comes too late
    due.missed(1, Ns(1))
    assert due.next_at() is None


def test_a_snapshot_that_does_not_fit_waits_until_it_does() -> None:
    due = Due(rules(steps=1, ns=NS, budget=KB))
    assert take(due, 1, 0)
    assert not take(due, 2, 0)
    # There is room for it in a second; then it is taken, with a step or without.
    at = due.next_at()
    assert at is not None
    assert NS <= at <= NS + 2
    assert due.overdue(at) == [2]
    assert due.is_room(2, KB, at)


def test_one_that_is_larger_than_a_seconds_worth_is_paid_off() -> None:
    budget = Budget(KB)
    assert budget.spend(5 * KB, Ns(0))
    assert not budget.spend(1, Ns(3 * NS))
    assert budget.free_at(5 * KB, Ns(3 * NS)) == pytest.approx(5 * NS, abs=10)
    assert budget.spend(5 * KB, Ns(5 * NS + 2))


@pytest.mark.timeout(900 if LONG else 120)
@settings(MODEL, max_examples=5_000 if LONG else 200)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 9),
            st.integers(1, 3 * KB),
            st.integers(0, 2 * KB),
            st.sampled_from((0, NS // 100, NS // 3, 3 * NS)),
        ),
        max_size=120,
    )
)
def test_all_together_never_take_more_than_they_may(
    steps: list[tuple[int, int, int, int]],
) -> None:
    """Also where a snapshot has another size than was thought, which is made up for."""
    due, now, total = Due(rules(steps=2, ns=NS // 2, budget=KB)), 0, 0
    largest = 0
    for key, size, actual, passes in steps:
        now += passes
        if ask(due, key, now, size):
            due.taken(key, actual, Ns(now), has_news=False)
            total += actual
            largest = max(largest, actual)
            # A second's worth was there at first, and one may be larger than what is there.
            assert total <= KB + KB * now / NS + largest
        for late in due.overdue(Ns(now)):
            if due.is_room(late, size, Ns(now)):
                due.missed(late, Ns(now))
