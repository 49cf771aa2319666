"""Whom a scheduler asks before it starts a step, where its instances share devices with others."""

from collections.abc import Iterable
from typing import Protocol

from streamgate.core.ids import InstanceIndex, Ns
from streamgate.model.request import SequenceKey


class Gate(Protocol):
    """The turns of one model's instances. What is in line is not made up yet: whoever is let on
    makes up its step of all that is ready by then."""

    def ask(
        self,
        instance: InstanceIndex,
        least: int,
        most: int,
        requests: Iterable[tuple[int, int]],
        now: Ns,
    ) -> int:
        """A free instance has a step of at most so many rows, and of `least` if it must be short;
        each request by its arrival and its timeout (0 for none). How many rows it may start with
        now; 0: not yet, `TurnCame` will tell."""

    def rest(self, instance: InstanceIndex, now: Ns) -> None:
        """It has nothing to start now, whatever it asked for."""

    def arrived(self, instance: InstanceIndex, sequence: SequenceKey, now: Ns) -> None:
        """A request of a sequence of this instance has come."""

    def stir(self, instance: InstanceIndex) -> None:
        """A free instance has something new, and asks or rests with the next poll."""

    def start(self, instance: InstanceIndex, rows: int, now: Ns) -> None:
        """The step that it asked for starts."""

    def end(self, instance: InstanceIndex, now: Ns) -> None:
        """It is over."""
