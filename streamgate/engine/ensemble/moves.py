"""Snapshots of an ensemble's sequences, and sequences that leave and come back.

A snapshot is those of the sequence's models, taken while nothing of it is under way anywhere. If a
request comes while they are taken, they are thrown away, and taken later; a sequence that has been
due for long makes its requests wait for that. A sequence comes back model by model, in the order in
which its requests reach them: who waits for a slot then holds none that those in front wait for.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, final

from streamgate.core.dataflow import StepIndex
from streamgate.core.ids import Ns, OwnerNumber
from streamgate.engine.ensemble.lanes import EnsembleSequence, Lane, Restoration, Wish
from streamgate.engine.ensemble.sequences import EnsembleSequences
from streamgate.engine.host import Host, Timer
from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.link.contract import (
    FindRoute,
    ModelRoute,
    OnHandOver,
    OnReservation,
    OnSnapshot,
    movable,
)
from streamgate.model.config import Ensemble, ModelConfig
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot

TAKING_NS: Final = 10_000_000_000
"""How long the models may take for a snapshot together. Requests may wait for it."""

OVERDUE: Final = 2
"""So many times what a snapshot is due after, a sequence's requests wait until it is taken."""


def schema_of_ensemble(ensemble: Ensemble) -> str:
    """A fingerprint of which models keep a sequence: 16 hexadecimal digits. What they keep is in
    the schemas of the parts."""
    text = repr([(step, ensemble.steps[step].model) for step in sorted(ensemble.stateful)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@final
class _Taking:
    """A snapshot that is being taken, of the sequence as it was after `begun` requests."""

    __slots__ = ("begun", "failure", "lane", "parts", "pending", "sequence", "timer")

    def __init__(self, lane: Lane, sequence: EnsembleSequence) -> None:
        self.lane = lane
        self.sequence = sequence
        self.begun = sequence.progress.begun
        self.pending = len(sequence.reached)
        self.parts: dict[int, Snapshot] = {}
        self.failure: Failure | None = None
        self.timer: Timer | None = None


@final
class _Leaving:
    """A sequence on its way out of its models, as this snapshot. What comes meanwhile waits."""

    __slots__ = ("lane", "on_answer", "pending", "sequence", "snapshot")

    def __init__(
        self, lane: Lane, sequence: EnsembleSequence, snapshot: Snapshot, on_answer: OnHandOver
    ) -> None:
        self.lane = lane
        self.sequence = sequence
        self.snapshot = snapshot
        self.pending = len(sequence.reached)
        self.on_answer = on_answer


@final
class EnsembleMoves:
    """Moves the sequences of one ensemble. `order` are its stateful steps, as requests reach them;
    `find_route` finds the model of a step."""

    def __init__(
        self,
        config: ModelConfig,
        order: Sequence[StepIndex],
        sequences: EnsembleSequences,
        find_route: FindRoute,
        host: Host,
    ) -> None:
        assert config.ensemble is not None
        self._config = config
        self._ensemble = config.ensemble
        self._order = order
        self._sequences = sequences
        self._find_route = find_route
        self._host = host
        self._schema = schema_of_ensemble(config.ensemble)
        self._on_snapshot: OnSnapshot | None = None
        self._affordable_at = Ns(0)
        self._snapshot_steps = config.durability.snapshot_steps
        self._snapshot_ns = config.durability.snapshot_ns

    def watch(self, on_snapshot: OnSnapshot) -> None:
        self._on_snapshot = on_snapshot
        self._sequences.have_logs = True

    # -- snapshots

    def ask(self, key: SequenceKey, on_answer: OnHandOver, *, leaves: bool) -> None:
        """A snapshot of the newest sequence of this ID, once nothing of it is under way: not of the
        requests that came before, and of later ones, which wait if it `leaves`, only by chance."""
        self._host.call_soon(partial(self._note, key, Wish(on_answer, leaves=leaves)))

    def _note(self, key: SequenceKey, wish: Wish) -> None:
        sequence = self._sequences.newest(key)
        if sequence is None or sequence.reserved:
            text = f"no sequence {key} of ensemble '{self._config.name}' lives, or none has begun"
            wish.on_answer(Failure(Code.NOT_FOUND, text))
            return
        sequence.progress.wishes.append(wish)
        if wish.leaves:
            self._sequences.shut(key, sequence)
        self._sequences.look_at(key)

    def rest(self, lane: Lane, sequence: EnsembleSequence) -> None:
        """Nothing of the sequence is under way: take what somebody waits for, or what is due."""
        progress = sequence.progress
        if progress.is_taken:
            return
        if not progress.wishes and not self._is_due(sequence):
            if lane.shut_for is sequence:
                lane.open()
            return
        progress.is_taken = True
        taking = _Taking(lane, sequence)
        due = Ns(self._host.now() + TAKING_NS)
        taking.timer = self._host.call_at(due, partial(self._give_up, taking))
        stray = progress.stray
        for step in sorted(sequence.reached):
            take_in = partial(self._take_in, taking, step)
            try:
                if stray:
                    text = f"model '{stray}' names sequences of its own, which can't be moved"
                    raise StreamGateError(Code.UNSUPPORTED, text)
                link = movable(sequence.places[step].link)
                link.take_snapshot(sequence.key, take_in)
            except StreamGateError as error:
                self._host.call_soon(partial(take_in, error.failure))

    def shut_if_overdue(self, lane: Lane, sequence: EnsembleSequence) -> None:
        """A request is about to begin. It waits where the sequence could not be saved for long."""
        if self._on_snapshot is None:
            return
        is_alone = sequence in lane.sequences and lane.sequences[0] is sequence
        if is_alone and not sequence.progress.is_taken and self._is_due(sequence, OVERDUE):
            lane.shut_for = sequence
            self._host.call_soon(partial(self._sequences.look_at, lane.key))

    def _is_due(self, sequence: EnsembleSequence, times: int = 1) -> bool:
        progress = sequence.progress
        unsaved = progress.begun - progress.saved
        if self._on_snapshot is None or progress.is_pinned or not unsaved:
            return False
        now = self._host.now()
        assert progress.saved_ns is not None
        is_due = (
            0 < self._snapshot_steps * times <= unsaved
            or 0 < self._snapshot_ns * times <= now - progress.saved_ns
        )
        return is_due and now >= self._affordable_at

    def _give_up(self, taking: _Taking) -> None:
        """Its models have not all answered in time: what still comes does not count."""
        text = f"no snapshot of sequence {taking.sequence.key} came in {TAKING_NS / 1e9:g} s"
        taking.failure = Failure(Code.UNAVAILABLE, text)
        taking.timer = None
        self._taken(taking)

    def _take_in(self, taking: _Taking, step: StepIndex, answer: Snapshot | Failure) -> None:
        if taking.timer is None:
            return
        taking.pending -= 1
        if isinstance(answer, Failure):
            taking.failure = taking.failure or answer
        else:
            taking.parts[step] = answer
        if not taking.pending:
            taking.timer.cancel()
            taking.timer = None
            self._taken(taking)

    def _taken(self, taking: _Taking) -> None:
        lane, sequence = taking.lane, taking.sequence
        progress = sequence.progress
        progress.is_taken = False
        if sequence.left or sequence not in lane.sequences:
            return
        snapshot = Snapshot(
            progress.position, self._schema, parts=dict(sorted(taking.parts.items()))
        )
        self._pay(snapshot.size_bytes)
        if taking.failure is not None:
            self._fail(lane, sequence, self._told(taking.failure))
        elif taking.begun == progress.begun and sequence.is_at_rest:
            self._hand_out(lane, sequence, snapshot)
        # Else requests came meanwhile: it will be at rest again.
        if sequence in lane.sequences:
            self._sequences.look_at(sequence.key)

    def _fail(self, lane: Lane, sequence: EnsembleSequence, failure: Failure) -> None:
        """No snapshot of it can be had now, or ever."""
        progress = sequence.progress
        progress.is_pinned = failure.code is Code.UNSUPPORTED
        progress.note_saved(self._host.now())  # not at once again
        wishes, progress.wishes = progress.wishes, []
        for wish in wishes:
            wish.on_answer(failure)
        if lane.shut_for is sequence:
            lane.open()

    def _hand_out(self, lane: Lane, sequence: EnsembleSequence, snapshot: Snapshot) -> None:
        progress = sequence.progress
        wishes, progress.wishes = progress.wishes, []
        leaving = next((wish for wish in wishes if wish.leaves), None)
        for wish in wishes:
            if wish is not leaving:
                wish.on_answer(snapshot)
        if leaving is not None:
            self._send_away(lane, sequence, snapshot, leaving.on_answer)
            return
        if not wishes and self._on_snapshot is not None:
            progress.note_saved(self._host.now())
            self._on_snapshot(sequence.key, snapshot, False)

    def _pay(self, size_bytes: int) -> None:
        """All snapshots together stay below what the ensemble's may take."""
        limit = self._config.durability.snapshot_bytes_per_second
        if limit:
            begin = max(self._affordable_at, self._host.now())
            self._affordable_at = Ns(begin + size_bytes * 10**9 // limit)

    # -- leaving

    def _send_away(
        self, lane: Lane, sequence: EnsembleSequence, snapshot: Snapshot, on_answer: OnHandOver
    ) -> None:
        """Out of each of its models. What they hand over is what they just gave."""
        sequence.left = True
        leaving = _Leaving(lane, sequence, snapshot, on_answer)
        for step, route in list(sequence.places.items()):
            if step not in sequence.reached:
                route.link.end_sequence(sequence.key, EndReason.SUPERSEDED, drain=False)
                continue
            gone = partial(self._gone, leaving, route)
            try:
                route.hand_over(sequence.key, gone)
            except StreamGateError as error:
                self._host.call_soon(partial(gone, error.failure))

    def _gone(self, leaving: _Leaving, route: ModelRoute, answer: Snapshot | Failure) -> None:
        sequence = leaving.sequence
        if isinstance(answer, Failure):
            # It lives elsewhere now, whatever became of it here.
            route.link.end_sequence(sequence.key, EndReason.SUPERSEDED, drain=False)
        leaving.pending -= 1
        if not leaving.pending:
            leaving.on_answer(leaving.snapshot)
            self._sequences.forget(leaving.lane, sequence)

    # -- coming back

    def restore(
        self, key: SequenceKey, owner: OwnerNumber, snapshot: Snapshot, on_answer: OnReservation
    ) -> None:
        refusal = self._refusal(snapshot)
        begun = None
        if refusal is None:
            order = [step for step in self._order if step in snapshot.parts]
            age_ns = snapshot.age_ns
            parts = [(step, replace(snapshot.parts[step], age_ns=age_ns)) for step in order]
            restoration = Restoration(parts, owner, on_answer)
            begun = self._sequences.bring(key, snapshot.position, restoration)
            text = f"sequence {key} of ensemble '{self._config.name}' lives already"
            refusal = Failure(Code.ALREADY_EXISTS, text)
        if begun is None:
            self._host.call_soon(partial(on_answer, refusal))
        else:
            self._host.call_soon(partial(self._restore_next, *begun))

    def _refusal(self, snapshot: Snapshot) -> Failure | None:
        name = self._config.name
        if snapshot.schema != self._schema:
            text = f"snapshot has schema {snapshot.schema}, expected {self._schema}"
            return Failure(Code.INVALID_ARG, f"{text} (ensemble '{name}')")
        unknown = sorted(snapshot.parts.keys() - self._ensemble.stateful)
        if unknown or not snapshot.parts:
            steps = sorted(self._ensemble.stateful)
            text = f"snapshot has parts of steps {sorted(snapshot.parts)}, expected some of {steps}"
            return Failure(Code.INVALID_ARG, f"{text} (ensemble '{name}')")
        return None

    def _restore_next(self, lane: Lane, sequence: EnsembleSequence) -> None:
        """The next model takes its part, or all have theirs."""
        restoration = sequence.restoration
        assert restoration is not None
        if sequence.reason not in {None, EndReason.CLIENT_END}:
            assert sequence.reason is not None
            text = f"sequence {sequence.key} ended ({sequence.reason.value}) before it was back"
            self._sequences.finish_restoration(lane, sequence, Failure(Code.UNAVAILABLE, text))
            return
        if not restoration.parts:
            self._sequences.finish_restoration(lane, sequence, None)
            return
        step, part = restoration.parts.popleft()
        told = self._ensemble.steps[step]
        listener = self._sequences.listener(lane, sequence, step)
        try:
            route = self._find_route(told.model, told.version)
            answered = partial(self._restored, lane, sequence, step, route)
            route.restore(sequence.key, restoration.owner, listener, part, answered)
        except StreamGateError as error:
            self._sequences.finish_restoration(lane, sequence, self._told(error.failure))

    def _restored(
        self,
        lane: Lane,
        sequence: EnsembleSequence,
        step: StepIndex,
        route: ModelRoute,
        failure: Failure | None,
    ) -> None:
        if failure is not None:
            self._sequences.finish_restoration(lane, sequence, self._told(failure))
            return
        sequence.reach(step, route, end=False)
        self._restore_next(lane, sequence)

    def _told(self, failure: Failure) -> Failure:
        """What somebody is told that does not know of the models behind."""
        return Failure(failure.code, f"in ensemble '{self._config.name}', {failure.message}")
