import pytest

from streamgate.core.events import Submit
from streamgate.core.ids import InstanceIndex, Ns, RequestNumber, SlotIndex
from streamgate.core.sequence import Pending, Sequence
from streamgate.core.slots import Slot


def sequence(flags: str, *, fresh: bool = True) -> Sequence:
    """One request for each letter: S is START, E is END, B both, - neither."""
    made = Sequence(7, 1, Ns(0))
    made.fresh = fresh
    for number, flag in enumerate(flags, 1):
        start = flag in "SB"
        event = Submit(RequestNumber(number), 7, start, flag in "EB")
        made.queue.append(Pending(event, made, start, Ns(number)))
    made.later_starts = sum(flag in "SB" for flag in flags) - fresh
    return made


def numbers(pending: list[Pending]) -> list[int]:
    return [each.event.request for each in pending]


@pytest.mark.parametrize(
    ("flags", "fresh", "struck", "cancelled", "orphaned", "left"),
    [
        ("S--E", True, {3}, [3], [], [1, 2, 4]),
        ("---", False, {1, 3}, [1, 3], [], [2]),
        ("S--", True, {1}, [1], [2, 3], []),
        ("S--", True, {1, 2}, [1, 2], [3], []),
        ("S-S-", True, {1}, [1], [2], [3, 4]),
        ("-S-S-", False, {2}, [2], [3], [1, 4, 5]),
        ("-S-", False, {2}, [2], [3], [1]),
        ("B", True, {1}, [1], [], []),
    ],
)
def test_defect_7_only_what_needs_a_cancelled_start_goes_with_it(
    flags: str,
    fresh: bool,
    struck: set[int],
    cancelled: list[int],
    orphaned: list[int],
    left: list[int],
) -> None:
    made = sequence(flags, fresh=fresh)
    result = made.strike([each for each in made.queue if each.event.request in struck])
    assert numbers(result.cancelled) == cancelled
    assert numbers(result.orphaned) == orphaned
    assert numbers(made.queue) == left
    own_start_left = fresh and not result.own_start
    assert made.later_starts == sum(each.start for each in made.queue) - own_start_left


@pytest.mark.parametrize(
    ("flags", "fresh", "struck", "own", "later", "newest", "end"),
    [
        ("S--", True, 1, True, 0, True, False),
        ("S-S-", True, 1, True, 0, False, False),
        ("S-S-", True, 3, False, 1, True, False),
        ("-S-S", False, 2, False, 1, False, False),
        ("S-E", True, 3, False, 0, False, True),
        ("S-E", True, 2, False, 0, False, False),
        ("B", True, 1, True, 0, True, False),
        ("-B", False, 2, False, 1, True, False),
    ],
)
def test_strike_tells_what_it_means(
    flags: str, fresh: bool, struck: int, own: bool, later: int, newest: bool, end: bool
) -> None:
    made = sequence(flags, fresh=fresh)
    result = made.strike((made.queue[struck - 1],))
    assert (result.own_start, len(result.later_starts), result.newest, result.end) == (
        own,
        later,
        newest,
        end,
    )


def test_deadline_is_that_of_the_most_impatient_request() -> None:
    made = Sequence(7, 1, Ns(0))
    assert made.deadline is None
    for number, (arrived_at, timeout_ns) in enumerate(((0, 90), (5, 0), (10, 30)), 1):
        event = Submit(RequestNumber(number), 7, timeout_ns=timeout_ns)
        made.queue.append(Pending(event, made, False, Ns(arrived_at)))
    assert made.deadline == 40


def test_ready_with_a_slot_a_request_and_none_running() -> None:
    made = sequence("S-")
    seen = [made.is_ready]
    made.slot = Slot(InstanceIndex(0), SlotIndex(0))
    seen.append(made.is_ready)
    made.running = made.queue.pop(0)
    seen.append(made.is_ready)
    made.running = None
    made.queue.clear()
    seen.append(made.is_ready)
    assert seen == [False, True, False, False]
