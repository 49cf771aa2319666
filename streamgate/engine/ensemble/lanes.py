"""What is known of an ensemble's sequences, and who waits for whom under one correlation ID."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, final

from streamgate.core.dataflow import StepIndex
from streamgate.core.ids import Ns, OwnerNumber
from streamgate.core.line import Line
from streamgate.errors import EndReason, Failure
from streamgate.link.contract import Listener, ModelRoute, OnHandOver, OnReservation
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot


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
class Restoration:
    """A sequence that comes from elsewhere, one model after the other. `parts` are those that its
    models have not been asked to take yet, `refusal` is why it can't be had."""

    __slots__ = ("is_over", "on_answer", "owner", "parts", "refusal")

    def __init__(
        self,
        parts: Iterable[tuple[StepIndex, Snapshot]],
        owner: OwnerNumber,
        on_answer: OnReservation,
    ) -> None:
        self.parts = deque(parts)
        self.owner = owner
        self.on_answer = on_answer
        self.refusal: Failure | None = None
        self.is_over = False


@final
class Wish:
    """Somebody waits for a snapshot of a sequence, which `leaves` with it or lives on."""

    __slots__ = ("leaves", "on_answer")

    def __init__(self, on_answer: OnHandOver, *, leaves: bool) -> None:
        self.on_answer = on_answer
        self.leaves = leaves


@final
class Progress:
    """How far a sequence has come, and what of it is known elsewhere.

    `begun` counts its requests that have begun to run, `position` is that of the newest of them,
    `busy` counts those that are not over, `runs` what they have left with stateful models. `stray`
    is a model that ran a step of it under another correlation ID. `saved` is `begun` of its last
    snapshot, taken at `saved_ns`; while `is_taken`, another one is. One that `is_pinned` is not
    tried again unasked.
    """

    __slots__ = (
        "begun",
        "busy",
        "is_pinned",
        "is_taken",
        "position",
        "runs",
        "saved",
        "saved_ns",
        "stray",
        "wishes",
    )

    def __init__(self, position: int = -1) -> None:
        self.position = position
        self.begun = 0
        self.busy = 0
        self.runs = 0
        self.stray = ""
        self.saved = 0
        self.saved_ns: Ns | None = None
        self.is_taken = False
        self.is_pinned = False
        self.wishes: list[Wish] = []

    def begin(self, position: int, now: Ns) -> None:
        """A request begins to run."""
        self.begun += 1
        self.busy += 1
        self.position = position
        if self.saved_ns is None:
            self.saved_ns = now

    def note_saved(self, now: Ns) -> None:
        """All there is of it was saved, or need not be for a while."""
        self.saved = self.begun
        self.saved_ns = now

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of it is under way anywhere."""
        return not self.busy and not self.runs


@final
class EnsembleSequence:
    """One sequence, from START to its end.

    `places` are the models in which it lives, by step; those in `held` were reserved. `calls`
    counts its requests under way. After `closed`, no request belongs to it any more; `reason` is
    why it ends, None if not known yet. `reserved`: its START has not come; there is a
    `reservation` until it is granted or refused, and a `restoration` until it is back. One that
    has `left` is not this ensemble's any more.
    """

    __slots__ = (
        "calls",
        "closed",
        "drain",
        "ended",
        "held",
        "key",
        "left",
        "listeners",
        "places",
        "progress",
        "reached",
        "reason",
        "reservation",
        "reserved",
        "restoration",
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
        self.restoration: Restoration | None = None
        self.progress = Progress()
        self.left = False
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

    def lose(self) -> None:
        """What holds it is gone, whatever else was to end it."""
        self.closed = True
        self.drain = False
        self.reason = EndReason.ENGINE_LOST

    @property
    def is_over(self) -> bool:
        is_pending = self.reservation is not None and self.reservation.pending > 0
        is_coming = self.restoration is not None and not self.restoration.is_over
        return self.calls == 0 and not self.places and not is_pending and not is_coming

    @property
    def is_at_rest(self) -> bool:
        """Whether all that is known of it lies in its models, and stays there for now."""
        progress = self.progress
        if progress.busy or progress.runs or self.ended or not self.reached:
            return False
        lives_on = self.reason is None or (self.reason is EndReason.CLIENT_END and self.calls > 0)
        return (
            lives_on
            and not (self.left or self.reserved)
            and self.restoration is None
            and self.reached <= self.places.keys()
        )

    @property
    def has_failed_to_start(self) -> bool:
        """Whether its START reached none of the models in which it has places."""
        return bool(self.held) and not (self.calls or self.reserved or self.reached)


@final
class Lane:
    """All that goes on under one correlation ID: lines of turns, and the sequences in order.

    While it is shut for a sequence, requests that have not begun to run wait until it is opened.
    """

    __slots__ = ("answers", "calls", "key", "lines", "sequences", "shut_for", "waiting")

    def __init__(self, key: SequenceKey, steps: Iterable[int]) -> None:
        self.key = key
        self.lines: dict[StepIndex, Line[Turn]] = {StepIndex(step): Line() for step in steps}
        self.answers: Line[Turn] = Line()
        self.sequences: deque[EnsembleSequence] = deque()
        self.calls = 0
        self.shut_for: EnsembleSequence | None = None
        self.waiting: list[Callable[[], None]] = []

    def open(self) -> None:
        """Let those begin that wait, in their order, unless one of them shuts it again."""
        self.shut_for = None
        waiting, self.waiting = self.waiting, []
        for begin in waiting:
            begin()

    @property
    def resting(self) -> EnsembleSequence | None:
        """The sequence of which, and of all others under this ID, nothing is under way."""
        sequences = self.sequences
        if not sequences or not sequences[0].is_at_rest:
            return None
        if len(sequences) > 1:
            newer = list(sequences)[1:]
            if any(each.progress.begun or each.reserved for each in newer):
                return None
        return sequences[0]

    @property
    def is_shut_for_nothing(self) -> bool:
        """Whether what it was shut for will not come any more."""
        sequence = self.shut_for
        if sequence is None:
            return False
        if sequence not in self.sequences:
            return True
        is_ending = sequence.reason not in {None, EndReason.CLIENT_END}
        return is_ending and sequence.restoration is None

    @property
    def moving(self) -> EnsembleSequence | None:
        """The last sequence, if it is on its way in or out: it takes all that comes behind it, as
        lost if need be."""
        last = self.sequences[-1] if self.sequences else None
        return last if last is not None and (last.left or last.restoration is not None) else None

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
