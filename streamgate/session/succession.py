"""A version that takes over the sequences of another: after a reload, or as the next version."""

from collections.abc import Callable, Collection, Sequence

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.engine.host import Host
from streamgate.errors import EndReason, EndWarning, Failure, StreamGateError
from streamgate.link.contract import (
    Listener,
    OnAnyEnd,
    OnHandOver,
    OnReservation,
    OnSnapshot,
    OnWarning,
    movable,
)
from streamgate.link.passing import PassingLink
from streamgate.model.config import ModelConfig
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import SlotTable
from streamgate.session.routing import Route


def can_follow(old: ModelConfig, new: ModelConfig) -> bool:
    """Whether sequences of a model can go on with another of this configuration: what clients see,
    and what is known of a sequence, must be the same. How they are batched may differ."""
    return (
        old.stateful
        and new.stateful
        and old.backend == new.backend
        and old.batches == new.batches
        and old.decoupled == new.decoupled
        and old.inputs == new.inputs
        and old.outputs == new.outputs
        and _schema(old) == _schema(new)
        and _models(old) == _models(new)
    )


def _schema(config: ModelConfig) -> set[tuple[object, ...]]:
    return {(state.input_name, state.datatype, state.shape) for state in config.states}


def _models(config: ModelConfig) -> list[str]:
    """The parts of an ensemble's snapshot are known by the places of their steps."""
    return [step.model for step in config.ensemble.steps] if config.ensemble is not None else []


class RoutePlace(PassingLink):
    """Implements `streamgate.link.contract.MovableLink` over the route that follows `front`: a
    place for the sequences that live there.

    Their requests still come through the front, which may have some that wait, and are in order
    only so. It tells of no snapshots: what is behind the route keeps its sequences itself.
    """

    def __init__(self, front: Route, route: Route, host: Host) -> None:
        super().__init__(route.link)
        self._front = front
        self._route = route
        self._host = host
        self._on_end: OnAnyEnd = lambda *_: None
        self._on_warning: OnWarning = lambda *_: None
        self._listener = Listener(self._ended, self._warned)

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> RequestNumber:
        at = position if position >= 0 else None
        if request.start:
            self._route.fronts[request.sequence] = self._front
        return self._route.submit_checked(request, sink, owner, self._listener, at)

    def reserve(self, sequence: SequenceKey, owner: OwnerNumber, on_answer: OnReservation) -> None:
        try:
            self._route.reserve(sequence, owner, self._listener, on_answer)
            self._route.fronts[sequence] = self._front
        except StreamGateError as error:
            self._refuse(on_answer, error.failure)

    def restore(
        self,
        sequence: SequenceKey,
        owner: OwnerNumber,
        snapshot: Snapshot,
        on_answer: OnReservation,
    ) -> None:
        try:
            self._route.restore(sequence, owner, self._listener, snapshot, on_answer)
            self._route.fronts[sequence] = self._front
        except StreamGateError as error:
            self._refuse(on_answer, error.failure)

    def _refuse(self, on_answer: OnReservation, failure: Failure) -> None:
        self._host.call_soon(lambda: on_answer(failure))

    def hand_over(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        self._route.hand_over(sequence, on_answer)

    def take_snapshot(self, sequence: SequenceKey, on_answer: OnHandOver) -> None:
        movable(self._route.link).take_snapshot(sequence, on_answer)

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        self._on_end, self._on_warning = on_end, on_warning

    def watch_snapshots(self, on_snapshot: OnSnapshot) -> None:
        """Nothing is told."""

    def slot_tables(
        self, limit: int, only: Collection[SequenceKey] | None = None
    ) -> Sequence[SlotTable]:
        """They are shown by the route itself."""
        return ()

    def _ended(self, key: SequenceKey, reason: EndReason) -> None:
        self._route.fronts.pop(key, None)
        self._on_end(key, reason, 0)

    def _warned(self, key: SequenceKey, warning: EndWarning) -> None:
        if not warning.is_for_all:
            self._on_warning(key, warning)
