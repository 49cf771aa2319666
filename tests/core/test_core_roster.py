from streamgate.core.ids import NO_OWNER, Ns, OwnerNumber
from streamgate.core.roster import Roster
from streamgate.core.sequence import Sequence
from streamgate.model.request import SequenceKey

A = OwnerNumber(1)
B = OwnerNumber(2)


def added(roster: Roster, key: SequenceKey) -> Sequence:
    sequence = Sequence(key, 1, Ns(0))
    roster.add(sequence)
    return sequence


def test_integer_and_string_ids_never_match() -> None:
    """Facts 4.1: 7 and "7" are different sequences."""
    roster = Roster()
    number, string = added(roster, 7), added(roster, "7")
    assert roster.newest(7) is number
    assert roster.newest("7") is string
    assert roster.newest(8) is None
    assert roster.oldest(8) is None


def test_sequences_of_one_id_form_a_chain() -> None:
    roster = Roster()
    first, second, third = (added(roster, 7) for _ in range(3))
    assert roster.newest(7) is third
    assert roster.oldest(7) is first
    assert list(roster) == [first, second, third]
    assert first.followed
    assert second.followed
    assert not third.followed
    roster.remove(first)
    assert not second.predecessor
    assert roster.oldest(7) is second


def test_chain_closes_around_a_sequence_that_goes() -> None:
    roster = Roster()
    first, second, third = (added(roster, 7) for _ in range(3))
    roster.remove(second)
    assert (first.successor, third.predecessor) == (third, first)
    roster.remove(third)
    assert (roster.newest(7), first.successor) == (first, None)
    roster.remove(first)
    assert roster.newest(7) is None
    assert list(roster) == []


def test_owner_is_that_of_the_newest_request_and_all_are_remembered() -> None:
    roster = Roster()
    sequence = added(roster, 7)
    roster.note_owner(sequence, A)
    roster.note_owner(sequence, B)
    roster.note_owner(sequence, A)
    assert sequence.owner == A
    assert roster.pop_owned(B) == [sequence]
    assert roster.pop_owned(B) == []
    assert roster.pop_owned(A) == [sequence]


def test_nobody_owns_nothing() -> None:
    roster = Roster()
    sequence = added(roster, 7)
    roster.note_owner(sequence, A)
    roster.note_owner(sequence, NO_OWNER)
    assert not sequence.owner
    assert roster.pop_owned(NO_OWNER) == []


def test_owners_of_a_sequence_that_is_over_are_forgotten() -> None:
    roster = Roster()
    first, second = added(roster, 7), added(roster, 8)
    for sequence in (first, second):
        roster.note_owner(sequence, A)
        roster.note_owner(sequence, B)
    roster.remove(first)
    assert roster.pop_owned(A) == [second]
    roster.remove(second)
    assert not roster._owned
