"""The way from a gateway's session to the engine that runs a model.

In one process the engine's `ModelRuntime` is the link. Between processes, frames carry the same
calls. Whoever calls knows models, requests and sequences, not slots.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import Code, EndReason, EndWarning, Failure, StreamGateError
from streamgate.model.config import ModelConfig
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import ModelStatistics, SlotTable

OnSequenceEnd = Callable[[SequenceKey, EndReason], None]
OnWarning = Callable[[SequenceKey, EndWarning], None]
"""Told that a sequence will end: which ID, why, and when."""

OnAnyEnd = Callable[[SequenceKey, EndReason, int], None]
"""Told of each end: which ID, why, and behind how many that live and have older STARTs; UNSTARTED
for a reservation whose START had not come."""

UNSTARTED: Final = -1

OnReservation = Callable[[Failure | None], None]
"""Told what became of a reservation: None when it is granted, else why not."""

OnSnapshot = Callable[[SequenceKey, Snapshot, bool], bool | None]
"""Told of each snapshot that was taken unasked, in the order of its sequence's steps, and never
before the results up to its position were given to their sinks. True: the sequence has left its
slot and lives in this snapshot alone (it hibernates); no end of it is told.

Answers False for a sequence that is not the receiver's, but an ensemble's, say: whoever has told of
it keeps it then, and need not take others of this sequence unasked."""

OnHandOver = Callable[[Snapshot | Failure], None]
"""Told what came of a hand-over: the sequence, which has left, or why it stays where it is. Also
of a snapshot that was asked for: then the sequence stays in any case."""

FindRoute = Callable[[str, str], "ModelRoute"]
"""The ready version of a model; version "" is the newest. Raises StreamGateError for none."""


Holder = tuple["ModelLink", str]
"""An instance of a model version, by its name."""

Needs = Sequence[Sequence[Holder]]
"""What a request needs to go on: of each group, one instance that runs a step."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told what becomes of a sequence: its end, and before one that can be foreseen."""

    on_end: OnSequenceEnd
    on_warning: OnWarning


class ModelLink(Protocol):
    """One loaded model version. Used on the event loop's thread; sinks are called there."""

    config: ModelConfig
    version: str

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> RequestNumber:
        """Enqueue a checked request. The sink gets exactly one final response, never before
        this returns."""

    def reserve(self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation) -> None:
        """Take a slot for a sequence before its START comes. The answer comes soon, never before
        this returns; a slot that can't be had at once is refused. What is reserved is a sequence
        as others are: idle from now on, the owner's, ended by `end_sequence` or its START's END."""

    def cancel(self, number: RequestNumber) -> None:
        """The client no longer wants it: its final response, CANCELLED, follows soon."""

    def pause(self, numbers: Sequence[RequestNumber]) -> None:
        """The client of these requests does not read its responses: those that wait in a
        sequence wait on, and models of decoupled ones are held up where they can be."""

    def resume(self, numbers: Sequence[RequestNumber]) -> None:
        """It reads again."""

    def touch(self, sequence: SequenceKey) -> None:
        """Somebody is at work for this sequence elsewhere: if it is idle, then only from now on."""

    def hang_up(self, owner: OwnerNumber) -> None:
        """A connection is lost: what it has queued is cancelled, its sequences end."""

    def end_sequence(self, sequence: SequenceKey, reason: EndReason, *, drain: bool) -> None:
        """End a live sequence without running the model, after what it has queued if `drain`."""

    def needs_for(self, request: Request) -> Needs:
        """Which instances this request would need, were it submitted now."""

    def needs_of(self, number: RequestNumber) -> Needs:
        """Which instances a request needs just now: none when it is over, or its model answers it
        from elsewhere than a step."""

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        """Be told of each sequence that ends, after its last response, and of each that will end
        soon, as it is idle or what it lives on goes."""

    async def is_ready(self) -> bool:
        """Whether the model itself says that it can serve just now. Takes seconds at the most."""

    def statistics(self) -> ModelStatistics: ...

    def slot_tables(
        self, limit: int, only: Collection[SequenceKey] | None = None
    ) -> Sequence[SlotTable]:
        """Who is in which slot, of all or of these IDs: at most `limit` of each model behind it.
        Positions are not known here."""


@runtime_checkable
class MovableLink(ModelLink, Protocol):
    """A link whose sequences can leave and come back: what the log of a sequence stands on.

    Whatever loses a sequence's state ends it with ENGINE_LOST, and answers each of its requests
    with a response that is `lost`; so is that of a stateless request whose instance was lost.
    """

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        """A sequence comes (back) from elsewhere: it lives from now on, and its next request, which
        may follow at once and has no START, runs on the snapshot's state. It waits for a slot as a
        START does. The answer comes when the state is in its slot, never before this returns: None,
        or why it can't be (INVALID_ARG for a snapshot of another schema, UNAVAILABLE, ...); then
        requests that followed it are answered as `lost`, and no end of it is told."""

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        """After what it has queued: a snapshot of the sequence, which leaves its slot and is
        forgotten here, without an end that is told to anybody. Answers with a failure, and leaves
        it as it is, where it can't be moved (UNSUPPORTED) or does not live here (NOT_FOUND)."""

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        """A snapshot of the sequence, which lives on, behind the steps that have begun: with no
        request of it under way, behind all. Fails as `hand_over` does. Never answers before this
        returns, as `hand_over`."""

    def watch_snapshots(self, on_snapshot: OnSnapshot) -> None:
        """Take snapshots from now on, as `config.durability` says, and hand them over here. The
        arrays are the receiver's own."""


def movable(link: ModelLink) -> MovableLink:
    """The link as one whose sequences can be moved. Raises StreamGateError (UNSUPPORTED)."""
    if not isinstance(link, MovableLink):
        raise StreamGateError(
            Code.UNSUPPORTED, f"sequences of model '{link.config.name}' can't be moved from here"
        )
    return link


class ModelRoute(Protocol):
    """A ready model version with all that stands in front of its link: checks and positions.

    `retired` is set when nothing lives on it any more and nothing ever will.
    """

    config: ModelConfig
    version: str
    link: ModelLink
    retired: bool

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        listener: Listener | None,
    ) -> RequestNumber:
        """Check a request and enqueue it; its rows and version are filled in.

        Raises StreamGateError for a request that does not fit the model; then the sink is never
        called. `listener` is told what becomes of the request's sequence, unless a later request of
        it names another.
        """

    def reserve(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        listener: Listener | None,
        on_answer: OnReservation,
    ) -> None:
        """Take a slot for a sequence before its START comes, as `ModelLink.reserve` does.

        Raises StreamGateError for a sequence that the model can't have, or has already; then
        nobody is told anything.
        """

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        listener: Listener | None,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        """A sequence comes (back) from elsewhere, as `MovableLink.restore` has it: its next request
        has the position behind the snapshot's. The listener is told nothing of one that can't be
        restored.

        Raises StreamGateError for a sequence that the model can't have, or has already, and where
        none can be moved (UNSUPPORTED).
        """

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        """The sequence leaves, as `MovableLink.hand_over` has it, and its listener is not told.
        Raises StreamGateError where none can be moved (UNSUPPORTED)."""

    def hold(self) -> None:
        """Requests are still to come from one that is under way: the link stays open for them."""

    def release(self) -> None:
        """They won't."""
