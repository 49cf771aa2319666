from streamgate.core.batching import BatchRules
from streamgate.core.commands import Row
from streamgate.core.ids import InstanceIndex, Ns, RequestNumber, SlotIndex
from streamgate.core.oldest import OldestLineup
from streamgate.core.slots import Slot
from tests.core.lines import keys, ready


def lineup(rules: BatchRules, *signatures: str | None) -> OldestLineup:
    made = OldestLineup(rules)
    for slot, signature in enumerate(signatures):
        made.add(ready(slot, 0, signature), Ns(100 + slot))
    return made


def test_nothing_ready_is_no_step() -> None:
    made = lineup(BatchRules(4))
    assert made.choose(Ns(0)) == []
    assert made.due_at() is None


def test_in_the_order_of_becoming_ready_whatever_the_slot() -> None:
    made = OldestLineup(BatchRules(4))
    for slot in (3, 0, 2):
        made.add(ready(slot), Ns(0))
    assert keys(made.choose(Ns(0))) == [4, 1, 3]


def test_no_more_rows_than_the_model_takes() -> None:
    """Facts 4.4: at most max_batch_size, even if candidates are more."""
    made = lineup(BatchRules(2, (2,)), None, None, None)
    assert keys(made.choose(Ns(100))) == [1, 2]
    assert keys(made.choose(Ns(100))) == [3]


def test_lone_request_waits_for_the_delay_and_a_preferred_size_does_not() -> None:
    """Facts 4.4: preferred [4] with a delay: four run at once, the fifth waits."""
    made = lineup(BatchRules(8, (4,), 300), None, None, None, None, None)
    assert keys(made.choose(Ns(104))) == [1, 2, 3, 4]
    assert made.choose(Ns(104)) == []
    assert made.due_at() == 404
    assert made.choose(Ns(403)) == []
    assert keys(made.choose(Ns(404))) == [5]


def test_delay_counts_from_becoming_ready_and_not_from_arrival() -> None:
    made = OldestLineup(BatchRules(8, (4,), 300))
    made.add(ready(0, arrived_at=0), Ns(1_000))
    assert made.choose(Ns(1_299)) == []
    assert keys(made.choose(Ns(1_300))) == [1]


def test_full_step_does_not_wait() -> None:
    made = lineup(BatchRules(2, (8,), 300), None, None)
    assert keys(made.choose(Ns(101))) == [1, 2]


def test_other_signature_flushes_what_is_before_it() -> None:
    made = lineup(BatchRules(8, (8,), 300), "a", "a", "b", "a")
    assert keys(made.choose(Ns(100))) == [1, 2]
    assert keys(made.choose(Ns(100))) == [3]
    assert made.choose(Ns(100)) == []
    made.add(ready(4, 0, "b"), Ns(120))
    assert keys(made.choose(Ns(120))) == [4]


def test_sequence_that_leaves_is_not_chosen_and_brings_its_neighbours_together() -> None:
    made = OldestLineup(BatchRules(8, (3,), 300))
    different = ready(1, 0, "b")
    for sequence in (ready(0, 0, "a"), different, ready(2, 0, "a")):
        made.add(sequence, Ns(100))
    made.remove(different)
    made.add(ready(3, 0, "a"), Ns(100))
    assert keys(made.choose(Ns(100))) == [1, 3, 4]


def test_unbatched_model_runs_one_row_a_step() -> None:
    """Facts 4.4: with max_batch_size 0 candidates interleave request by request."""
    made = lineup(BatchRules(0), None, None)
    assert keys(made.choose(Ns(0))) == [1]
    assert keys(made.choose(Ns(0))) == [2]


def test_rows_are_compact() -> None:
    made = lineup(BatchRules(4))
    made.renew(Slot(InstanceIndex(0), SlotIndex(0)))
    rows = [Row(RequestNumber(2), SlotIndex(3)), Row(RequestNumber(1), SlotIndex(0))]
    assert made.arrange(rows) == tuple(rows)
