"""The sequences of an ensemble, each of which is one sequence in every stateful model behind it.

What they promise:

- in each stateful model, the requests of one correlation ID run in the order in which they came,
  whatever stands in front of it and however long that takes;
- START goes to a model with the first request of the sequence that reaches it;
- END reaches all of them, also from a request that fails on its way;
- a sequence that one model ends (idle, aborted, ...) ends in the others too, for that reason, and
  whoever asked for it is told once;
- a sequence that is reserved has a place in each of them, or in none;
- one that a model loses is lost: none of its requests goes on.
"""

from collections.abc import Callable, Iterable
from typing import final

from streamgate.core.dataflow import StepIndex
from streamgate.core.ids import Ns
from streamgate.engine.ensemble.lanes import (
    EnsembleSequence,
    Lane,
    Reservation,
    Restoration,
)
from streamgate.errors import Code, EndReason, Failure
from streamgate.link.contract import (
    UNSTARTED,
    Listener,
    ModelRoute,
    OnAnyEnd,
    OnReservation,
    OnWarning,
)
from streamgate.model.request import SequenceKey

OnLost = Callable[[EnsembleSequence, Failure | None], None]
"""Told of a sequence that is lost or left, and what its requests are to be told, None for what is
usual."""


@final
class EnsembleSequences:
    """The sequences of one ensemble, whose stateful models have the places `steps`.

    `on_end` is called in the order of their STARTs, `on_warning` for each model that warns,
    `on_lost` for each that is lost with requests under way, which must all be answered then, and
    `on_rest` whenever nothing of one that lives is under way.
    """

    def __init__(
        self,
        steps: Iterable[int],
        on_end: OnAnyEnd,
        on_warning: OnWarning,
        on_lost: OnLost,
        on_rest: Callable[[Lane, EnsembleSequence], None],
    ) -> None:
        self._steps = tuple(steps)
        self._on_end = on_end
        self._on_warning = on_warning
        self._on_lost = on_lost
        self._on_rest = on_rest
        self._lanes: dict[SequenceKey, Lane] = {}
        self.have_logs = False
        """Whether lost ones are gone back to a snapshot with, and run from there again."""

    def enter(
        self, key: SequenceKey, *, start: bool, end: bool
    ) -> tuple[Lane, EnsembleSequence | None]:
        """A request came. It has no sequence if it is no START and none is there to go on."""
        lane = self._lane(key)
        lane.calls += 1
        if start:
            lane.begin()
        sequence = lane.newest or lane.moving
        if sequence is not None:
            sequence.calls += 1
            if end:
                sequence.close(EndReason.CLIENT_END)
        return lane, sequence

    def leave(self, lane: Lane, sequence: EnsembleSequence | None, *, begun: bool) -> None:
        """A request is over and has had its last response. `begun`: it had begun to run."""
        lane.calls -= 1
        if sequence is not None:
            sequence.calls -= 1
            sequence.progress.busy -= begun
        self._settle(lane)

    def lose(self, lane: Lane, sequence: EnsembleSequence) -> None:
        """What holds it is gone, or does not know what it should: so are its requests."""
        sequence.lose()
        self._drop(lane, sequence, None)

    def bring(
        self, key: SequenceKey, position: int, restoration: Restoration
    ) -> tuple[Lane, EnsembleSequence] | None:
        """A sequence comes from elsewhere, whose last request was at this position. Its requests
        wait until it is there. None if one of this ID lives."""
        lane = self._lane(key)
        if lane.sequences:
            return None
        sequence = EnsembleSequence(key)
        sequence.restoration = restoration
        sequence.progress.position = position
        lane.sequences.append(sequence)
        lane.shut_for = sequence
        return lane, sequence

    def finish_restoration(
        self, lane: Lane, sequence: EnsembleSequence, refusal: Failure | None
    ) -> None:
        """It is there, or can't be had: then nothing is left of it."""
        restoration = sequence.restoration
        assert restoration is not None
        restoration.is_over = True
        if refusal is None:
            sequence.restoration = None
            restoration.on_answer(None)
            lane.open()
            self._settle(lane)
        else:
            restoration.refusal = refusal
            sequence.close(EndReason.CLIENT_ABORT)
            self._drop(lane, sequence, refusal)

    def forget(self, lane: Lane, sequence: EnsembleSequence) -> None:
        """It has left, and lives elsewhere. What waits for it is answered as lost."""
        sequence.closed = True
        lane.sequences.remove(sequence)
        text = f"sequence {sequence.key} lives elsewhere now"
        self._on_lost(sequence, Failure(Code.UNAVAILABLE, text))
        self._settle(lane)

    def _drop(self, lane: Lane, sequence: EnsembleSequence, told: Failure | None) -> None:
        sequence.drain = False
        sequence.closed = True
        self._on_lost(sequence, told)
        self._end_places(lane, sequence)
        self._settle(lane)

    def reserve(
        self, key: SequenceKey, on_answer: OnReservation
    ) -> tuple[Lane, EnsembleSequence] | None:
        """A sequence is to be reserved in each model, and `answer_place` is told how that goes.
        None if one of this ID lives."""
        lane = self._lane(key)
        if lane.sequences:
            return None
        sequence = EnsembleSequence(key)
        sequence.reserved = True
        sequence.reservation = Reservation(len(self._steps), on_answer)
        lane.sequences.append(sequence)
        return lane, sequence

    def answer_place(
        self,
        lane: Lane,
        sequence: EnsembleSequence,
        step: StepIndex,
        route: ModelRoute | None,
        failure: Failure | None,
    ) -> None:
        """The model of a step reserved its place, or `failure` is why not."""
        reservation = sequence.reservation
        assert reservation is not None
        reservation.pending -= 1
        if failure is not None:
            reservation.refusal = reservation.refusal or failure
        elif route is not None:
            sequence.places[step] = route
            sequence.held.add(step)
        if reservation.pending:
            return
        if sequence.closed and sequence.reserved and reservation.refusal is None:
            assert sequence.reason is not None
            text = f"sequence {sequence.key} ended ({sequence.reason.value}) before it began"
            reservation.refusal = Failure(Code.UNAVAILABLE, text)
        if reservation.refusal is None or not sequence.reserved:
            # A START that came meanwhile takes what there is.
            sequence.reservation = None
            reservation.on_answer(reservation.refusal)
        else:
            sequence.drain = False
            sequence.close(EndReason.CLIENT_ABORT)
        self._settle(lane)

    def listener(self, lane: Lane, sequence: EnsembleSequence, step: StepIndex) -> Listener:
        """Who is told what becomes of the sequence in the model of a step."""

        listener = sequence.listeners.get(step)
        if listener is None:

            def on_end(_: SequenceKey, reason: EndReason) -> None:
                self._on_place_ended(lane, sequence, step, reason)

            listener = sequence.listeners[step] = Listener(on_end, self._on_warning)
        return listener

    def _on_place_ended(
        self, lane: Lane, sequence: EnsembleSequence, step: StepIndex, reason: EndReason
    ) -> None:
        """The sequence ended in one of its models."""
        if sequence.left:
            return
        sequence.places.pop(step, None)
        if reason is EndReason.ENGINE_LOST and (sequence.calls or not sequence.closed):
            self.lose(lane, sequence)
            return
        if step not in sequence.ended or reason is not EndReason.CLIENT_END:
            sequence.close(reason)
            # The START that superseded it is on its way to the other models, if it was ours.
            if reason is not EndReason.SUPERSEDED or sequence is lane.sequences[-1]:
                self._end_places(lane, sequence)
        self._settle(lane)

    def end(self, key: SequenceKey, reason: EndReason, *, drain: bool) -> None:
        """End the newest sequence of this ID, after its requests under way if `drain`."""
        sequence = self.newest(key)
        if sequence is None:
            return
        lane = self._lanes[key]
        sequence.drain = drain
        sequence.close(reason)
        if not drain:
            self._end_places(lane, sequence)
        self._settle(lane)

    def touch(self, key: SequenceKey) -> None:
        """Somebody is at work for this sequence elsewhere."""
        sequence = self.newest(key)
        if sequence is not None:
            _touch(sequence)

    def keep(self, sequence: EnsembleSequence, now: Ns, interval_ns: int) -> None:
        """A request of it was answered: it is not idle in the models that it did not reach, either.
        They are told so at such intervals."""
        if now - sequence.touched_ns >= interval_ns:
            sequence.touched_ns = now
            _touch(sequence)

    def touch_busy(self) -> bool:
        """Those with requests under way are idle in none of their models. Returns whether there
        are any."""
        busy = [
            sequence
            for lane in self._lanes.values()
            for sequence in lane.sequences
            if sequence.calls > 0
        ]
        for sequence in busy:
            _touch(sequence)
        return bool(busy)

    def newest(self, key: SequenceKey) -> EnsembleSequence | None:
        """The sequence of this ID that takes requests, or a START."""
        lane = self._lanes.get(key)
        return lane.last if lane is not None else None

    def shut(self, key: SequenceKey, sequence: EnsembleSequence) -> None:
        """Whatever comes under this ID waits until the sequence is at rest."""
        lane = self._lanes[key]
        lane.shut_for = lane.shut_for or sequence

    def look_at(self, key: SequenceKey) -> None:
        """Something else than a request may be waiting for it now."""
        lane = self._lanes.get(key)
        if lane is not None:
            self._settle(lane)

    def keys_in(self, step: StepIndex, route: ModelRoute) -> frozenset[SequenceKey]:
        """The correlation IDs that live in this model of a step."""
        return frozenset(
            key
            for key, lane in self._lanes.items()
            if any(each.places.get(step) is route for each in lane.sequences)
        )

    def open_keys(self) -> list[SequenceKey]:
        """The correlation IDs of sequences that live or have requests under way."""
        return list(self._lanes)

    def _lane(self, key: SequenceKey) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, self._steps)
        return lane

    def _settle(self, lane: Lane) -> None:
        """End what nobody waits for any more, and tell of what has ended and what is at rest."""
        sequences = lane.sequences
        newest = sequences[-1] if sequences else None
        is_wanted = newest is not None and bool(newest.progress.wishes)
        newer_is_closed = False
        for sequence in [*reversed(sequences)]:  # ends come back here at once
            if sequence.has_failed_to_start:
                sequence.close(EndReason.ERROR)
            # One that is wanted elsewhere goes alone.
            is_replaced = newer_is_closed or (is_wanted and sequence is not newest)
            if sequence.calls == 0 and (sequence.closed or is_replaced):
                sequence.close(EndReason.SUPERSEDED)
                self._end_places(lane, sequence)
            newer_is_closed = newer_is_closed or (sequence.closed and sequence.calls == 0)
        while sequences and sequences[0].is_over:
            self._tell_over(sequences.popleft())
        resting = lane.resting
        if resting is not None:
            self._on_rest(lane, resting)
        elif lane.is_shut_for_nothing:
            lane.open()
        if not lane.calls and not lane.sequences and self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]

    def _tell_over(self, over: EnsembleSequence) -> None:
        arrival = over.reservation or over.restoration
        if arrival is not None:
            arrival.on_answer(arrival.refusal)
        else:
            # Over without a reason: its START reached no model.
            place = UNSTARTED if over.reserved else 0
            self._on_end(over.key, over.reason or EndReason.ERROR, place)
        wishes, over.progress.wishes = over.progress.wishes, []
        for wish in wishes:
            wish.on_answer(Failure(Code.NOT_FOUND, f"sequence {over.key} has ended"))

    def _end_places(self, lane: Lane, sequence: EnsembleSequence) -> None:
        """End it in each model that has had no END of it and no newer sequence under its ID."""
        newer: set[StepIndex] = set()
        for other in reversed(lane.sequences):
            if other is sequence:
                break
            newer |= other.reached
        assert sequence.reason is not None
        for step, route in list(sequence.places.items()):
            if step not in newer and step not in sequence.ended:
                sequence.ended.add(step)
                route.link.end_sequence(sequence.key, sequence.reason, drain=sequence.drain)


def _touch(sequence: EnsembleSequence) -> None:
    for route in sequence.places.values():
        route.link.touch(sequence.key)
