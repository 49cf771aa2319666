import pytest

from streamgate.core.commands import Row
from streamgate.core.direct import DirectLineup
from streamgate.core.ids import NO_REQUEST, Generation, InstanceIndex, Ns, RequestNumber, SlotIndex
from streamgate.core.sequence import Sequence
from streamgate.core.slots import Slot
from streamgate.model.config import DirectStrategy
from tests.core.lines import keys, ready

AT_ONCE = DirectStrategy()
WAITS = DirectStrategy(max_delay_ns=500, minimum_slot_utilization=0.75)


def lineup(*sequences: Sequence, strategy: DirectStrategy = AT_ONCE) -> DirectLineup:
    made = DirectLineup(strategy, 4)
    for sequence in sequences:
        made.add(sequence, Ns(0))
    return made


def row(slot: int, request: int) -> Row:
    return Row(RequestNumber(request), SlotIndex(slot), Generation(5), 9)


def test_nothing_ready_is_no_step() -> None:
    made = lineup()
    assert made.choose(Ns(0)) == []
    assert made.due_at() is None


@pytest.mark.parametrize("strategy", [AT_ONCE, DirectStrategy(500, 0.0), DirectStrategy(0, 0.75)])
def test_without_both_delay_and_utilization_everything_runs_at_once(
    strategy: DirectStrategy,
) -> None:
    """Facts 4.3: both are needed to wait."""
    made = lineup(ready(2), ready(0), strategy=strategy)
    assert keys(made.choose(Ns(0))) == [3, 1]
    assert made.choose(Ns(0)) == []


def test_waits_for_the_utilization() -> None:
    """Facts 4.3: of four slots with 0.75, the third arrival releases the step."""
    made = lineup(ready(0, 100), ready(1, 200), strategy=WAITS)
    assert made.choose(Ns(250)) == []
    assert made.due_at() == 600
    made.add(ready(3, 300), Ns(300))
    assert sorted(map(str, keys(made.choose(Ns(300))))) == ["1", "2", "4"]


def test_waits_no_longer_than_the_delay_of_the_oldest_request() -> None:
    made = lineup(ready(0, 200), ready(1, 100), strategy=WAITS)
    assert made.choose(Ns(599)) == []
    assert keys(made.choose(Ns(600))) == [1, 2]
    assert made.due_at() is None


def test_oldest_request_is_looked_for_when_a_sequence_leaves() -> None:
    oldest = ready(1, 100)
    made = lineup(ready(0, 200), oldest, strategy=WAITS)
    assert made.choose(Ns(300)) == []
    made.remove(oldest)
    made.add(ready(2, 250), Ns(250))
    assert made.choose(Ns(300)) == []
    assert made.due_at() == 700


def test_only_what_agrees_with_the_lowest_slot_runs() -> None:
    """Facts 4.3: others are held back, and their slots have null rows meanwhile."""
    made = lineup(ready(2, 0, "b"), ready(1, 0, "a"), ready(3, 0, "a"))
    assert keys(made.choose(Ns(0))) == [2, 4]
    assert keys(made.choose(Ns(0))) == [3]
    assert made.due_at() is None


def test_rows_stand_in_their_slots_with_null_rows_in_the_gaps() -> None:
    """Facts 4.3: the step ends with the last ready slot."""
    made = lineup()
    slot = Slot(InstanceIndex(0), SlotIndex(2))
    slot.renew()
    made.renew(slot)
    rows = made.arrange([row(3, 8), row(1, 7)])
    assert [(each.request, each.slot, each.generation) for each in rows] == [
        (NO_REQUEST, 0, 0),
        (7, 1, 5),
        (NO_REQUEST, 2, 1),
        (8, 3, 5),
    ]
    assert not any(each.start or each.end or each.sequence for each in rows if not each.request)
    assert len(made.arrange([row(0, 9)])) == 1
