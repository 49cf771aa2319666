"""Sequences that wait for a slot. Knows nothing of slots.

First come, first served, except that a sequence whose predecessor of the same correlation ID
still lives is passed over; it keeps its place meanwhile.
"""

from typing import final

from streamgate.core.heap import LazyHeap
from streamgate.core.ids import Ns
from streamgate.core.sequence import Sequence
from streamgate.core.timers import Timers


@final
class Backlog:
    """The waiting sequences, at most `limit` of them; 0 for no limit.

    A sequence that has waited too long comes out of `timers`.
    """

    def __init__(self, limit: int, timers: Timers[object]) -> None:
        self._limit = limit
        self._count = 0
        self._eligible: LazyHeap[Sequence] = LazyHeap()
        self._timers = timers

    def __len__(self) -> int:
        return self._count

    @property
    def eligible(self) -> int:
        """How many would take a slot now."""
        return len(self._eligible)

    @property
    def first_since(self) -> Ns | None:
        """Since when the sequence waits whose turn it is; None for none."""
        sequence = self._eligible.first()
        return None if sequence is None else sequence.arrived_at

    @property
    def is_full(self) -> bool:
        return 0 < self._limit <= self._count

    def add(self, sequence: Sequence) -> None:
        """Put a sequence in; one with a predecessor is held back until `admit`."""
        self._count += 1
        if sequence.predecessor is None:
            self.admit(sequence)

    def admit(self, sequence: Sequence) -> None:
        """Let a sequence that waits here have a slot when its turn comes."""
        sequence.place = self._eligible.push(sequence.order, sequence)

    def expect(self, sequence: Sequence, deadline: Ns) -> None:
        """One of the sequence's requests wants to begin by this moment; the earliest one counts."""
        if sequence.timer is None or deadline < sequence.timer.key:
            self.set_deadline(sequence, deadline)

    def set_deadline(self, sequence: Sequence, deadline: Ns | None) -> None:
        """The sequence must have a slot by this moment; None for no such moment."""
        if sequence.timer is not None:
            if sequence.timer.key == deadline:
                return
            self._timers.discard(sequence.timer)
        sequence.timer = None if deadline is None else self._timers.push(deadline, sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it stands."""
        self._count -= 1
        if sequence.place is not None:
            self._eligible.discard(sequence.place)
            sequence.place = None
        self.set_deadline(sequence, None)

    def pop(self) -> Sequence | None:
        """Take out the sequence whose turn it is; None when there is none."""
        sequence = self._eligible.pop()
        if sequence is not None:
            sequence.place = None
            self.remove(sequence)
        return sequence
