"""A house whose sequences are on the move all the time, of which its clients must notice nothing.

Between route and engine stands what a session does for them: it hands sequences over and brings
them back, keeps those that hibernate, and holds back what comes for one that is under way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.engine import moves
from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import EndReason, Failure
from streamgate.link.contract import ModelLink, OnAnyEnd, OnWarning
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from tests.simulation.diary import Asked, Entry, Moved
from tests.simulation.simulated_house import SimulatedHouse

TURN_NS = 40
"""As short as the limits of the models in these houses."""


class Mover:
    """A `ModelLink`. `asleep` are the sequences that hibernate, `leaving` those that are being
    handed over, with what has come for them since."""

    def __init__(self, link: ModelLink) -> None:
        assert isinstance(link, ModelRuntime)
        self.link = link
        self.note: Callable[[Entry], None] = lambda _: None
        self.held: dict[str, Asked] = {}
        self.asleep: dict[SequenceKey, Snapshot] = {}
        self.leaving: dict[SequenceKey, list[tuple[Any, ...]]] = {}
        self.moved = 0
        self._on_end: OnAnyEnd | None = None
        self._owners: dict[SequenceKey, OwnerNumber] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.link, name)

    def watch_sequences(self, on_end: OnAnyEnd, on_warning: OnWarning) -> None:
        self._on_end = on_end
        self.link.watch_sequences(on_end, on_warning)
        with patch.object(moves, "TURN_NS", TURN_NS):
            self.link.watch_snapshots(self._receive)

    def submit(
        self,
        request: Request,
        sink: Callable[[Response], None],
        owner: OwnerNumber,
        position: int,
    ) -> RequestNumber:
        key = request.sequence
        if key in self.leaving:
            self.leaving[key].append((request, sink, owner, position))
            return RequestNumber(0)
        self._owners[key] = owner
        snapshot = self.asleep.pop(key, None)
        if snapshot is not None:
            self._restore(key, snapshot)
        return self.link.submit(request, sink, owner, position)

    def move(self, key: SequenceKey) -> None:
        """Away, and back again."""
        if key not in self.leaving and key not in self.asleep:
            self.leaving[key] = []
            self.link.hand_over(key, partial(self._handed, key))

    def wake_one(self) -> bool:
        """Bring back one that hibernates, if there is any."""
        for key, snapshot in self.asleep.items():
            del self.asleep[key]
            self._restore(key, snapshot)
            return True
        return False

    def _handed(self, key: SequenceKey, outcome: Snapshot | Failure) -> None:
        held = self.leaving.pop(key)
        if isinstance(outcome, Snapshot):
            self._restore(key, outcome)
        else:
            self.note(Moved(key))
        for each in held:
            # Only now it comes to the engine.
            self.note(self.held.pop(each[0].id))
            self.submit(*each)

    def _restore(self, key: SequenceKey, snapshot: Snapshot) -> None:
        self.moved += 1
        self.link.restore(key, self._owners[key], snapshot, partial(self._restored, key))

    def _restored(self, key: SequenceKey, failure: Failure | None) -> None:
        self.note(Moved(key))
        if failure is not None:
            # It lives nowhere any more.
            assert self._on_end is not None
            self._on_end(key, EndReason.ENGINE_LOST, 0)

    def _receive(self, key: SequenceKey, snapshot: Snapshot, has_left: bool) -> None:
        if has_left:
            assert key not in self.asleep, "it hibernates twice"
            self.asleep[key] = snapshot


class MovingHouse(SimulatedHouse):
    """Its engine has a `Mover` in front."""

    front = Mover

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.mover.note = self.diary.note

    @property
    def mover(self) -> Mover:
        link = self.route.link
        assert isinstance(link, Mover)
        return link

    def note_asked(self, asked: Asked) -> None:
        if asked.key in self.mover.leaving:
            self.mover.held[str(asked.number)] = asked
        else:
            super().note_asked(asked)

    def come_to_rest(self) -> None:
        super().come_to_rest()
        while self.mover.wake_one():
            super().come_to_rest()
