"""Where each sequence lives: which instance, which slot, and how to get at what is kept there."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from streamgate.core.commands import Row, SequenceEnded, Step
from streamgate.core.ids import NO_REQUEST, Generation, InstanceIndex, SlotIndex
from streamgate.engine.departures import Departure
from streamgate.engine.instances import Instances
from streamgate.engine.live import LiveRequest
from streamgate.engine.snapshots import Keepers
from streamgate.errors import Code, StreamGateError
from streamgate.model.request import Batch, Request, SequenceKey
from streamgate.model.snapshot import Snapshot

Place = tuple[InstanceIndex, SlotIndex, Generation]
"""One sequence's tenancy of a slot."""

SNAPSHOT_TIMEOUT_SECONDS = 30.0
"""How long a model may take to hand over or take over a sequence, running steps included."""

T = TypeVar("T")


class Places:
    """The places of the sequences of which a step has been given to a model, or whose state has.

    Before its first step a slot still holds what the sequence before it left there. `on_gone` is
    told of each sequence that has a place no more.
    """

    def __init__(self, model: str, instances: Instances) -> None:
        self._model = model
        self._instances = instances
        self._places: dict[SequenceKey, Place] = {}
        self._ending: set[Place] = set()
        self._positions: dict[SequenceKey, int] = {}
        self._runs: dict[SequenceKey, list[LiveRequest]] = {}
        self.on_gone: Callable[[SequenceKey], None] = _nobody

    def note(self, instance: InstanceIndex, row: Row) -> None:
        """A row with START or END is about to run."""
        place = (instance, row.slot, row.generation)
        if row.start:
            self._places[row.sequence] = place
        if row.end:
            self._ending.add(place)

    def note_batch(self, batch: Batch, step: Step) -> None:
        """Somebody wants to know with whom a request of this step runs."""
        batch.number = step.number
        batch.instance = self._instances.name_of(step.instance)
        batch.rows = sum(row.rows for row in step.rows)
        batch.sequences = [row.sequence for row in step.rows if row.request != NO_REQUEST]

    def ran(self, sequence: SequenceKey, live: LiveRequest) -> None:
        """A step is given to the model."""
        self._positions[sequence] = live.position
        runs = self._runs.get(sequence)
        if runs is None:
            self._runs[sequence] = [live]
        elif len(runs) == 1 and runs[0].answered and runs[0].closed:
            runs[0] = live
        else:
            runs[:] = [each for each in runs if not (each.answered and each.closed)]
            runs.append(live)

    def owed(self, sequence: SequenceKey) -> list[LiveRequest]:
        """The requests of the sequence that a model was given, and has not answered for good, or
        whose answers are not delivered."""
        runs = self._runs.get(sequence, ())
        return [each for each in runs if not (each.answered and each.closed)]

    def take_back(self, lives: Iterable[LiveRequest | None]) -> None:
        """These steps were lost with their instance: as far as states are concerned, they never
        were."""
        for live in lives:
            if live is not None and live.lost:
                sequence = live.request.sequence
                if self._positions.get(sequence) == live.position:
                    self._positions[sequence] = live.position - 1

    def place_of(self, sequence: SequenceKey) -> Place | None:
        """Where the sequence is; None before its first step."""
        return self._places.get(sequence)

    def position_of(self, sequence: SequenceKey) -> int:
        """The position of the sequence's newest step that was given to the model; -1 for none."""
        return self._positions.get(sequence, -1)

    def arrive(self, sequence: SequenceKey, place: Place, position: int) -> None:
        """A sequence's state is about to be put here, as it was after the step of this position."""
        self._places[sequence] = place
        self._positions[sequence] = position

    def clear(self, sequence: SequenceKey, place: Place) -> None:
        """A sequence has gone without an end. Its instance hears of it, in order with the steps."""
        self._ending.discard(place)
        if self.is_at(sequence, place):
            del self._places[sequence]
            self._forget(sequence)
            self._instances.forget(place[0], sequence, place[1])

    def is_at(self, sequence: SequenceKey, place: Place) -> bool:
        """Whether the sequence of this name is still the one that has this place."""
        return self._places.get(sequence) == place

    def names_for(self, request: Request) -> list[str]:
        """The instances one of which will run this request, by name."""
        place = None
        if request.sequence and not request.start:
            place = self._places.get(request.sequence)
        return self._instances.names() if place is None else [self._instances.name_of(place[0])]

    def leave(self, ended: SequenceEnded) -> None:
        """A sequence is over. Its instance hears of it, in order with the steps."""
        place = (ended.instance, ended.slot, ended.generation)
        has_seen_end = place in self._ending
        self._ending.discard(place)
        if self.is_at(ended.sequence, place):
            del self._places[ended.sequence]
            self._forget(ended.sequence)
            self._instances.depart(
                ended.instance,
                Departure(ended.sequence, ended.slot, ended.generation, ended.reason, has_seen_end),
            )

    def _forget(self, sequence: SequenceKey) -> None:
        self._positions.pop(sequence, None)
        self._runs.pop(sequence, None)
        self.on_gone(sequence)

    async def snapshot(
        self,
        sequence: SequenceKey,
        position: int,
        timeout_seconds: float = SNAPSHOT_TIMEOUT_SECONDS,
    ) -> Snapshot:
        """A copy of all that is kept of a live sequence, between two of its steps.

        Raises StreamGateError: NOT_FOUND when no step of it has been given to a model yet,
        UNSUPPORTED when its model can't hand over what it keeps, INTERNAL when it fails to,
        UNAVAILABLE when it does not answer in time.
        """
        instance, slot, _ = self._place_of(sequence)
        return await self._ask(
            instance, lambda keepers: keepers.take(slot, sequence, position), timeout_seconds
        )

    async def restore(
        self,
        sequence: SequenceKey,
        snapshot: Snapshot,
        timeout_seconds: float = SNAPSHOT_TIMEOUT_SECONDS,
    ) -> None:
        """Let a live sequence go on from a snapshot. Raises as `snapshot` does, and INVALID_ARG
        when the snapshot's schema is another."""
        instance, slot, _ = self._place_of(sequence)
        await self._ask(
            instance, lambda keepers: keepers.put(slot, sequence, snapshot), timeout_seconds
        )

    async def _ask(
        self, instance: InstanceIndex, question: Callable[[Keepers], T], timeout_seconds: float
    ) -> T:
        asked = self._instances.ask_keepers(instance, question)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            raise StreamGateError(
                Code.UNAVAILABLE,
                f"model '{self._model}' did not answer within {timeout_seconds:g} s",
            ) from None

    def _place_of(self, sequence: SequenceKey) -> Place:
        place = self._places.get(sequence)
        if place is None:
            raise StreamGateError(
                Code.NOT_FOUND, f"no step of sequence {sequence} of model '{self._model}' has run"
            )
        return place


def _nobody(sequence: SequenceKey) -> None:
    del sequence
