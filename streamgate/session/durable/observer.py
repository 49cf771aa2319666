"""Who keeps a second copy of what a log holds: the seam for stores outside of this process."""

from typing import Protocol

from streamgate.errors import EndReason
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot


class LogObserver(Protocol):
    """Told of one sequence, in the order in which things happen to it, and before anybody else.

    Whatever must not be waited for here: these are calls on the event loop's thread.
    """

    def appended(self, position: int, request: Request) -> None:
        """A step came in."""

    def dropped(self, position: int) -> None:
        """That step is not to be replayed: it was refused, or cancelled before it ran."""

    def delivered(self, position: int, response: Response) -> None:
        """A result goes to the client now: position, index and whether it is final are in it."""

    def cut(self, snapshot: Snapshot) -> None:
        """Steps up to this snapshot's position are not needed any more."""

    def outgrown(self, position: int, why: str) -> None:
        """Steps up to this position are gone: only a snapshot behind it makes up for them."""

    def epoch_raised(self, epoch: int) -> None:
        """Whatever comes from an older incarnation of the sequence does not count any more."""

    def ended(self, reason: EndReason) -> None:
        """The sequence is over."""


class OpenObserver(Protocol):
    """Decides which sequences have an observer."""

    def __call__(
        self, model: str, version: str, key: SequenceKey, start: Request
    ) -> LogObserver | None: ...
