"""What is known of an ensemble's sequences, and who waits for whom under one correlation ID."""

from collections import deque
from collections.abc import Iterable
from typing import Protocol, final

from streamgate.core.dataflow import StepIndex
from streamgate.core.line import Line
from streamgate.errors import EndReason, Failure
from streamgate.link.contract import Listener, ModelRoute, OnReservation
from streamgate.model.request import SequenceKey


class Turn(Protocol):
    """What a request of a sequence may only do in its turn: run a step, or be answered."""

    def go(self) -> None:
        """Everybody in front is gone."""


def go_all(turns: Iterable[Turn]) -> None:
    """Let those go whose turn it is."""
    for turn in turns:
        turn.go()


@final
class Reservation:
    """The places of a sequence while they are being reserved. `pending` counts the models that have
    not answered yet, `refusal` is why it can't be had."""

    __slots__ = ("on_answer", "pending", "refusal")

    def __init__(self, pending: int, on_answer: OnReservation) -> None:
        self.pending = pending
        self.on_answer = on_answer
        self.refusal: Failure | None = None


@final
class EnsembleSequence:
    """One sequence, from START to its end.

    `places` are the models in which it lives, by step; those in `held` were reserved. `calls`
    counts its requests under way. After `closed`, no request belongs to it any more; `reason` is
    why it ends, None if not known yet. `reserved`: its START has not come; there is a
    `reservation` until it is granted or refused.
    """

    __slots__ = (
        "calls",
        "closed",
        "drain",
        "ended",
        "held",
        "key",
        "listeners",
        "places",
        "reached",
        "reason",
        "reservation",
        "reserved",
        "touched_ns",
    )

    def __init__(self, key: SequenceKey) -> None:
        self.key = key
        self.listeners: dict[StepIndex, Listener] = {}
        self.places: dict[StepIndex, ModelRoute] = {}
        self.reached: set[StepIndex] = set()
        self.ended: set[StepIndex] = set()
        self.held: set[StepIndex] = set()
        self.reserved = False
        self.reservation: Reservation | None = None
        self.calls = 0
        self.touched_ns = 0
        self.closed = False
        self.drain = True
        self.reason: EndReason | None = None

    def reach(self, step: StepIndex, route: ModelRoute, *, end: bool) -> None:
        """A request of it was given to the model of this step, with END or without."""
        if step not in self.reached:
            self.reached.add(step)
            self.places[step] = route
        if end:
            self.ended.add(step)

    def lose_start(self, step: StepIndex) -> None:
        """The request that was to begin it in the model of this step was refused."""
        self.reached.discard(step)
        if step not in self.held:
            self.places.pop(step, None)

    def close(self, reason: EndReason) -> None:
        """It takes no more requests and ends when those under way are over."""
        self.closed = True
        self.reason = self.reason or reason

    @property
    def is_over(self) -> bool:
        is_pending = self.reservation is not None and self.reservation.pending > 0
        return self.calls == 0 and not self.places and not is_pending

    @property
    def has_failed_to_start(self) -> bool:
        """Whether its START reached none of the models in which it has places."""
        return bool(self.held) and not (self.calls or self.reserved or self.reached)


@final
class Lane:
    """All that goes on under one correlation ID: lines of turns, and the sequences in order."""

    __slots__ = ("answers", "calls", "key", "lines", "sequences")

    def __init__(self, key: SequenceKey, steps: Iterable[int]) -> None:
        self.key = key
        self.lines: dict[StepIndex, Line[Turn]] = {StepIndex(step): Line() for step in steps}
        self.answers: Line[Turn] = Line()
        self.sequences: deque[EnsembleSequence] = deque()
        self.calls = 0

    @property
    def last(self) -> EnsembleSequence | None:
        """The sequence that was begun or reserved last, while it takes requests."""
        last = self.sequences[-1] if self.sequences else None
        return None if last is None or last.closed else last

    @property
    def newest(self) -> EnsembleSequence | None:
        """The sequence that requests without START belong to."""
        last = self.last
        return None if last is None or last.reserved else last

    def begin(self) -> None:
        """A START came: for what is reserved, or for a sequence that is new."""
        last = self.last
        if last is not None and last.reserved:
            last.reserved = False
        else:
            self.sequences.append(EnsembleSequence(self.key))

    def reach(
        self, sequence: EnsembleSequence, step: StepIndex, route: ModelRoute, *, end: bool
    ) -> None:
        """A request of the sequence was given to the model of this step. What an older one has
        reserved there and not begun, it begins."""
        for older in self.sequences:
            if older is sequence:
                break
            if step in older.held and step not in older.reached:
                older.held.discard(step)
                older.places.pop(step, None)
        sequence.reach(step, route, end=end)

    def newest_in(self, step: StepIndex) -> EnsembleSequence | None:
        """The sequence that the model of this step takes a request without START to belong to."""
        return next((each for each in reversed(self.sequences) if step in each.places), None)
