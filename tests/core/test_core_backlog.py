from streamgate.core.backlog import Backlog
from streamgate.core.ids import Ns
from streamgate.core.sequence import Sequence
from streamgate.core.timers import Timers


def backlog(limit: int = 0) -> tuple[Backlog, Timers[object]]:
    timers: Timers[object] = Timers()
    return Backlog(limit, timers), timers


def sequences(count: int) -> list[Sequence]:
    return [Sequence(order, order, Ns(0)) for order in range(1, count + 1)]


def test_first_come_first_served() -> None:
    waiting, _ = backlog()
    a, b, c = sequences(3)
    for sequence in (a, b, c):
        waiting.add(sequence)
    waiting.remove(b)
    assert len(waiting) == 2
    assert [waiting.pop(), waiting.pop(), waiting.pop()] == [a, c, None]
    assert len(waiting) == 0


def test_limit() -> None:
    waiting, _ = backlog(limit=2)
    a, b = sequences(2)
    waiting.add(a)
    with_one = waiting.is_full
    waiting.add(b)
    with_two = waiting.is_full
    waiting.remove(a)
    assert (with_one, with_two, waiting.is_full) == (False, True, False)


def test_no_limit() -> None:
    waiting, _ = backlog(limit=0)
    for sequence in sequences(100):
        waiting.add(sequence)
    assert not waiting.is_full


def test_sequence_with_a_predecessor_is_passed_over_and_keeps_its_place() -> None:
    waiting, _ = backlog()
    old, held, other = sequences(3)
    held.predecessor = old
    waiting.add(held)
    waiting.add(other)
    assert len(waiting) == 2
    third = Sequence(9, 9, Ns(0))
    waiting.add(third)
    assert waiting.pop() is other
    held.predecessor = None
    waiting.admit(held)
    assert waiting.pop() is held
    assert waiting.pop() is third


def test_earliest_deadline_counts_and_goes_with_its_sequence() -> None:
    waiting, timers = backlog()
    (sequence,) = sequences(1)
    waiting.add(sequence)
    waiting.expect(sequence, Ns(50))
    waiting.expect(sequence, Ns(70))
    assert timers.next_at() == 50
    waiting.expect(sequence, Ns(30))
    assert timers.next_at() == 30
    assert len(timers) == 1
    waiting.set_deadline(sequence, Ns(30))
    waiting.set_deadline(sequence, Ns(60))
    assert timers.next_at() == 60
    assert waiting.pop() is sequence
    assert timers.next_at() is None
    assert sequence.timer is None
