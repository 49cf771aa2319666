"""What a sequence strategy is: which of an instance's ready sequences share its next step."""

from typing import Protocol

from streamgate.core.commands import Row
from streamgate.core.ids import Ns
from streamgate.core.sequence import Sequence
from streamgate.core.slots import Slot


class Lineup(Protocol):
    """The ready sequences of one instance: they have a slot on it, a request waiting and none
    running. Asked to `choose` only while the instance is free."""

    def add(self, sequence: Sequence, now: Ns) -> None:
        """The sequence became ready."""

    def remove(self, sequence: Sequence) -> None:
        """The sequence is not ready any more, though it was not chosen."""

    def peek(self, now: Ns) -> list[Sequence]:
        """Whom `choose` would take out."""

    def choose(self, now: Ns) -> list[Sequence]:
        """Take out the sequences whose next requests make a step now; none to wait for more."""

    def due_at(self) -> Ns | None:
        """After `choose` chose none: when it will at the latest. None when nothing is ready."""

    def renew(self, slot: Slot) -> None:
        """A slot of this instance has a new generation."""

    def arrange(self, rows: list[Row]) -> tuple[Row, ...]:
        """The rows of the chosen sequences as they stand in the step."""
