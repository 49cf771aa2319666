"""One sequence's whole state, taken from one slot and put into another, between two steps."""

from streamgate.backend.contract import StateKeeper
from streamgate.engine.arena import Arena
from streamgate.engine.canary import spoiled_error
from streamgate.errors import Code, StreamGateError
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot


class Keepers:
    """The two places where an instance keeps sequences: the arena and the model's own objects.

    `is_pure`: the session can't keep anything itself. One that could, has no states and can't hand
    objects over is taken to keep some: its sequences are pinned to their instance.
    """

    def __init__(self, model: str, session: object, arena: Arena, *, is_pure: bool) -> None:
        self._model = model
        self._arena = arena
        self._keeper: StateKeeper | None = None
        if isinstance(session, StateKeeper) and session.keeps_states:
            self._keeper = session
        self.are_pinned = self._keeper is None and not is_pure and not arena.has_states

    @property
    def arena_is_all(self) -> bool:
        """Whether all that is kept of sequences is in the arena: the session can be replaced."""
        return self._keeper is None and not self.are_pinned

    def take(self, slot: int, sequence: SequenceKey, position: int) -> Snapshot:
        """A copy of all that is kept of the slot's sequence.

        Raises StreamGateError: UNSUPPORTED when the model can't hand over what it keeps, INTERNAL
        when it fails to.
        """
        self._check_movable()
        if self._arena.spoiled((slot,)):
            raise spoiled_error(sequence)
        objects = None
        if self._keeper is not None:
            try:
                objects = self._keeper.get_state(sequence)
            except Exception as error:
                raise self._failure("get_state", sequence, error) from error
        return Snapshot(position, self._arena.schema, self._arena.read(slot), objects)

    def begin(self, slot: int) -> None:
        """A sequence takes the slot, to be `put` there."""
        self._arena.begin(slot)

    def put(self, slot: int, sequence: SequenceKey, snapshot: Snapshot) -> None:
        """Give the slot's sequence what the snapshot holds.

        Raises StreamGateError: INVALID_ARG when it is of another schema, INTERNAL when the model
        fails to take it over; then the arena is as it was.
        """
        self._check_movable()
        if snapshot.schema != self._arena.schema:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"snapshot has state schema {snapshot.schema}, expected {self._arena.schema} "
                f"(model '{self._model}')",
            )
        if snapshot.objects is not None:
            if self._keeper is None:
                raise StreamGateError(
                    Code.INVALID_ARG,
                    f"snapshot has {len(snapshot.objects)} bytes of a model's own objects, and "
                    f"model '{self._model}' has no get_state and set_state",
                )
            try:
                self._keeper.set_state(sequence, snapshot.objects)
            except Exception as error:
                raise self._failure("set_state", sequence, error) from error
        self._arena.write(slot, snapshot.states)

    def _check_movable(self) -> None:
        if self.are_pinned:
            raise StreamGateError(
                Code.UNSUPPORTED,
                f"sequences of model '{self._model}' can't be moved: it declares no states, so it "
                "keeps them in objects of its own, and has no get_state and set_state",
            )

    def _failure(self, hook: str, sequence: SequenceKey, error: Exception) -> StreamGateError:
        return StreamGateError(
            Code.INTERNAL,
            f"{hook} of model '{self._model}' failed for sequence {sequence}: "
            f"{error if str(error) else type(error).__name__}",
        )
