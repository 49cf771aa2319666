"""Which sequences there are, by correlation ID and by connection. Decides nothing.

Sequences of one ID form a chain, newest last: a START after an END begins a new sequence while
the old one may still have requests to run.
"""

from collections.abc import Callable, Iterator
from typing import final

from streamgate.core.ids import NO_OWNER, OwnerNumber
from streamgate.core.sequence import Sequence
from streamgate.model.request import SequenceKey

_FIRST_UNUSED_KEY = 1 << 63
"""Iterative models name sequences themselves, from here: where no client counts, and such that
the low bits, which are what most CORRID controls carry, are 1, 2, 3, ..."""


@final
class Roster:
    """All sequences that are not over."""

    def __init__(self) -> None:
        self._newest: dict[SequenceKey, Sequence] = {}
        self.newest: Callable[[SequenceKey], Sequence | None] = self._newest.get
        """The sequence of an ID that requests belong to, unless it is closed. Not a method, as
        every request asks."""
        self._owned: dict[OwnerNumber, dict[Sequence, None]] = {}
        self._named = 0

    def __iter__(self) -> Iterator[Sequence]:
        """All sequences, the oldest of each ID first. Must not change meanwhile."""
        for newest in self._newest.values():
            sequence: Sequence | None = _oldest(newest)
            while sequence is not None:
                yield sequence
                sequence = sequence.successor

    def unused_key(self) -> SequenceKey:
        """An ID for a sequence whose client names none."""
        while True:
            self._named += 1
            key = _FIRST_UNUSED_KEY + self._named
            if self.newest(key) is None:
                return key

    def oldest(self, key: SequenceKey) -> Sequence | None:
        """The sequence of this ID that has a slot, or is the first of them to get one."""
        newest = self._newest.get(key)
        return None if newest is None else _oldest(newest)

    def add(self, sequence: Sequence) -> None:
        """Put in a new sequence, behind its predecessor if its ID has one."""
        predecessor = self._newest.get(sequence.key)
        if predecessor is not None:
            predecessor.successor = sequence
            predecessor.followed = True
            sequence.predecessor = predecessor
        self._newest[sequence.key] = sequence

    def remove(self, sequence: Sequence) -> None:
        """Take out a sequence that is over."""
        predecessor, successor = sequence.predecessor, sequence.successor
        if successor is not None:
            successor.predecessor = predecessor
        elif predecessor is not None:
            self._newest[sequence.key] = predecessor
        else:
            del self._newest[sequence.key]
        if predecessor is not None:
            predecessor.successor = successor
        for owner in sequence.owners:
            owned = self._owned[owner]
            del owned[sequence]
            if not owned:
                del self._owned[owner]

    def note_owner(self, sequence: Sequence, owner: OwnerNumber) -> None:
        """The sequence's newest request came over this connection."""
        sequence.owner = owner
        if owner != NO_OWNER and owner not in sequence.owners:
            sequence.owners += (owner,)
            self._owned.setdefault(owner, {})[sequence] = None

    def pop_owned(self, owner: OwnerNumber) -> list[Sequence]:
        """The sequences that ever had a request from this connection, which is gone."""
        sequences = list(self._owned.pop(owner, ()))
        for sequence in sequences:
            sequence.owners = tuple(other for other in sequence.owners if other != owner)
        return sequences


def _oldest(sequence: Sequence) -> Sequence:
    while sequence.predecessor is not None:
        sequence = sequence.predecessor
    return sequence
