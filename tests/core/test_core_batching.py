import pytest

from streamgate.core.batching import BatchRules, Prefix
from streamgate.core.ids import Ns


def prefix(rules: BatchRules, *rows: int) -> Prefix:
    grown = Prefix(rules)
    for count in rows:
        grown.extend(count, None, Ns(100))
    return grown


def test_without_delay_everything_runs_at_once() -> None:
    assert prefix(BatchRules(8, (8,)), 1, 2).take(Ns(100)) == 2


def test_preferred_prefix_runs_rather_than_everything() -> None:
    assert prefix(BatchRules(8, (4,)), 2, 2, 1).take(Ns(100)) == 2


def test_larger_preferred_size_wins_if_it_is_reached() -> None:
    assert prefix(BatchRules(8, (2, 4)), 1, 1, 1, 1, 1).take(Ns(100)) == 4
    assert prefix(BatchRules(8, (2, 4)), 1, 1, 1).take(Ns(100)) == 2


def test_preferred_size_counts_rows_and_not_requests() -> None:
    assert prefix(BatchRules(8, (5,), 50), 3, 2).take(Ns(100)) == 2
    assert prefix(BatchRules(8, (2,), 50), 1, 1).take(Ns(100)) == 2


@pytest.mark.parametrize("delay_ns", [0, 50])
def test_no_step_of_several_is_larger_than_the_largest_preferred_size(delay_ns: int) -> None:
    rules = BatchRules(8, (2, 4), delay_ns)
    assert prefix(rules, 3, 2).take(Ns(100)) == 1
    assert prefix(rules, 1, 5).take(Ns(100)) == 1
    assert prefix(rules, 5, 1).take(Ns(100)) == 1, "larger on its own"


def test_with_delay_what_is_not_preferred_waits_exactly_so_long() -> None:
    grown = prefix(BatchRules(8, (4,), 50), 1, 1)
    assert grown.take(Ns(149)) == 0
    assert grown.due_at() == 150
    assert grown.take(Ns(150)) == 2


def test_delay_over_takes_everything_and_not_only_a_preferred_prefix() -> None:
    grown = prefix(BatchRules(8, (2, 8), 50), 1, 1, 1)
    assert grown.take(Ns(100)) == 2
    assert grown.take(Ns(150)) == 3


def test_delay_counts_from_the_oldest_request() -> None:
    grown = Prefix(BatchRules(8, (8,), 50))
    grown.extend(1, None, Ns(100))
    grown.extend(1, None, Ns(90))
    grown.extend(1, None, Ns(120))
    assert grown.due_at() == 140


def test_full_step_does_not_wait() -> None:
    assert prefix(BatchRules(8, (4,), 50), 2, 2).take(Ns(100)) == 2


def test_request_that_does_not_fit_closes_the_step() -> None:
    grown = prefix(BatchRules(4, (4,), 50), 3)
    assert grown.take(Ns(100)) == 0
    assert not grown.extend(2, None, Ns(100))
    assert not grown.extend(1, None, Ns(100))
    assert grown.count == 1
    assert grown.take(Ns(100)) == 1


def test_other_signature_closes_the_step() -> None:
    grown = Prefix(BatchRules(8, (8,), 50))
    assert grown.extend(1, "a", Ns(100))
    assert grown.extend(1, "a", Ns(100))
    assert not grown.extend(1, "b", Ns(100))
    assert not grown.extend(1, "a", Ns(100))
    assert grown.take(Ns(100)) == 2


@pytest.mark.parametrize("rows", [1, 5])
def test_unbatched_request_runs_alone_whatever_its_rows(rows: int) -> None:
    grown = Prefix(BatchRules())
    assert grown.extend(rows, None, Ns(100))
    assert not grown.extend(1, None, Ns(100))
    assert grown.take(Ns(100)) == 1


def test_unbatched_request_never_waits() -> None:
    assert prefix(BatchRules(0, (), 50), 1).take(Ns(100)) == 1


def test_cleared_prefix_begins_anew() -> None:
    grown = prefix(BatchRules(4, (2,), 50), 2, 2)
    grown.clear()
    assert grown.count == 0
    assert grown.extend(1, "other", Ns(200))
    assert grown.take(Ns(200)) == 0
    assert grown.due_at() == 250


def test_full_step_is_what_is_preferred_when_nothing_else_is() -> None:
    rules = BatchRules(4)
    assert rules.preferred_within(3) == 0
    assert rules.preferred_within(9) == 4
