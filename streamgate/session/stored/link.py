"""The link that keeps its sequences in a store, in front of one whose sequences can be moved."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, final

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import EndReason, Failure
from streamgate.link.contract import (
    UNSTARTED,
    MovableLink,
    OnAnyEnd,
    OnHandOver,
    OnReservation,
    OnSnapshot,
    OnWarning,
)
from streamgate.link.passing import PassingLink
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.session.stored.sequence import Sink, StoreCounts, StoredSequence
from streamgate.snapshot.contract import KeptKey, SessionStore

MOVING_MAX: Final = 10_000
"""Sequences that are on their way at a time."""


@final
class StoredLink(PassingLink):
    """Implements `streamgate.link.contract.MovableLink` over another.

    It keeps who lives under which ID as `streamgate.session.positions` does. Ends are told once all
    results before them are. `moving` are sequences that have left a link of this process, and come
    to another one soon.
    """

    def __init__(
        self,
        link: MovableLink,
        store: SessionStore,
        counts: StoreCounts,
        moving: dict[KeptKey, StoredSequence],
        note: Callable[[], str],
    ) -> None:
        """`note` gives what a sequence is opened with in the store."""
        super().__init__(link)
        self._link = link
        self._moving = moving
        self._note = note
        self._expected: Request | None = None
        self._store = store
        self._counts = counts
        self._live: dict[SequenceKey, deque[StoredSequence]] = {}
        self._ends: dict[SequenceKey, deque[tuple[StoredSequence, Callable[[], None]]]] = {}
        link.watch_snapshots(self._on_snapshot)

    # -- for who takes sequences

    def sequence_of(self, key: SequenceKey) -> StoredSequence | None:
        """The newest that lives under this ID."""
        live = self._live.get(key)
        return live[-1] if live else None

    def expect(self, request: Request) -> None:
        """The next START that is submitted, this one, is a client's: its sequence is kept."""
        self._expected = request

    def adopt(self, sequence: StoredSequence) -> None:
        """A sequence that was taken: the next START or restore of its ID is its."""
        self._live[sequence.key.sequence] = deque((sequence,))

    def disown(self, sequence: StoredSequence) -> None:
        """It could not go on here."""
        self._remove(sequence)
        sequence.leave()

    def new_sequence(self, key: SequenceKey) -> StoredSequence:
        """One of this model's, that is not written anywhere yet."""
        durability = self.config.durability
        name = KeptKey(self.config.name, key)
        return StoredSequence(name, self._counts, self._fenced, self._calm, durability.log_bytes)

    # -- the link

    def submit(
        self, request: Request, sink: Sink, owner: OwnerNumber, position: int
    ) -> RequestNumber:
        sequence = self._sequence_for(request) if position >= 0 else None
        if sequence is not None:
            sequence.step(position, request)
            sink = partial(self._receive, sequence, request, sink)
        return self._link.submit(request, sink, owner, position)

    def _sequence_for(self, request: Request) -> StoredSequence | None:
        live = self._live.get(request.sequence)
        if not request.start:
            return live[-1] if live else None
        if live is None:
            live = self._live[request.sequence] = deque()
        elif live and live[-1].awaits_start:
            return live[-1]
        for older in live:
            older.abandon()
        sequence = self.new_sequence(request.sequence)
        if self._expected is request:
            self._expected = None
            sequence.begin(self._store.open(sequence.key, self.version, self._note(), sequence))
        else:
            sequence.is_foreign = True
        live.append(sequence)
        return sequence

    def _receive(
        self, sequence: StoredSequence, request: Request, sink: Sink, response: Response
    ) -> None:
        sequence.result(response, sink)
        if request.start and response.final and not response.admitted:
            self._remove(sequence)
            sequence.refuse()

    def _remove(self, sequence: StoredSequence) -> None:
        key = sequence.key.sequence
        live = self._live.get(key)
        if live is not None and sequence in live:
            live.remove(sequence)
            if not live:
                del self._live[key]

    def _on_snapshot(self, key: SequenceKey, snapshot: Snapshot, hibernates: bool) -> bool:
        """Whether it is kept here. One that hibernates does so below: here is its copy."""
        live = self._live.get(key)
        if live:
            live[0].snapshot(snapshot)
        return bool(live) and not hibernates

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        def ended(key: SequenceKey, reason: EndReason, place: int) -> None:
            live = self._live.get(key, ())
            if place == UNSTARTED or place >= len(live):
                on_end(key, reason, place)
                return
            sequence = live[place]
            self._remove(sequence)
            sequence.end(reason)
            ends = self._ends.setdefault(key, deque())
            ends.append((sequence, lambda: on_end(key, reason, place)))
            self._calm(sequence)

        self._link.watch_sequences(ended, on_warning)

    def _calm(self, sequence: StoredSequence) -> None:
        """Ends of this ID whose results were all given are told, in their order."""
        key = sequence.key.sequence
        ends = self._ends.get(key)
        while ends and not ends[0][0].waiting:
            _, tell = ends.popleft()
            tell()
        if ends is not None and not ends:
            self._ends.pop(key, None)

    def _fenced(self, sequence: StoredSequence) -> None:
        live = self._live.get(sequence.key.sequence, ())
        if sequence in live:
            self._link.end_sequence(sequence.key.sequence, EndReason.SUPERSEDED, drain=False)

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        moving = self._moving.pop(KeptKey(self.config.name, sequence), None)
        if moving is not None:
            moving.move(self._fenced, self._calm)
            self.adopt(moving)

        def answered(failure: Failure | None) -> None:
            if failure is not None and moving is not None:
                self.disown(moving)
            on_answer(failure)

        self._link.restore(sequence, owner, snapshot, answered)

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        def answered(answer: Snapshot | Failure) -> None:
            live = self._live.get(sequence)
            if isinstance(answer, Snapshot) and live:
                leaving = live[0]
                self._remove(leaving)
                if not leaving.is_foreign:
                    leaving.snapshot(answer)
                    self._moving[leaving.key] = leaving
                    self._bound_moving()
            on_answer(answer)

        self._link.hand_over(sequence, answered)

    def _bound_moving(self) -> None:
        """One that does not arrive is left to anybody."""
        while len(self._moving) > MOVING_MAX:
            self._moving.pop(next(iter(self._moving))).leave()

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self._link.take_snapshot(sequence, on_answer)

    def watch_snapshots(self, on_snapshot: OnSnapshot) -> None:
        def taken(key: SequenceKey, snapshot: Snapshot, hibernates: bool) -> bool | None:
            self._on_snapshot(key, snapshot, hibernates)
            return on_snapshot(key, snapshot, hibernates)

        self._link.watch_snapshots(taken)
