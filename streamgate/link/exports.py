"""What an engine lets front ends use: its ready model versions, and whose each sequence is."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from streamgate.core.ids import OwnerNumber
from streamgate.errors import EndReason, EndWarning
from streamgate.link.contract import Listener, MovableLink
from streamgate.model.request import SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.session.routing import Route


class Owner(Protocol):
    """A front end, to which a sequence belongs."""

    peer_path: str

    def snapped(self, held: "Held", snapshot: Snapshot, *, has_left: bool) -> None: ...


@dataclass(slots=True, eq=False)
class Held:
    """One sequence of a front end's. `epoch` is its incarnation, by that front end's count; its
    next step has `next_position`; `started` is false for a reservation."""

    model: "ExportedModel"
    peer: Owner
    key: SequenceKey
    epoch: int
    owner: OwnerNumber
    started: bool
    reserved: bool = False
    next_position: int = 0
    listener: Listener | None = None


@dataclass(eq=False)
class ExportedModel:
    """A ready version, by the number that peers know it by."""

    number: int
    route: Route
    sequences: dict[SequenceKey, deque[Held]] = field(default_factory=dict)
    """The living, by ID, in the order of their STARTs: of all front ends."""
    is_watched: bool = False

    def __post_init__(self) -> None:
        self.route.is_held_elsewhere = self.sequences.__contains__

    def newest(self, key: SequenceKey) -> Held | None:
        held = self.sequences.get(key)
        return held[-1] if held else None

    def oldest_of(self, peer: Owner, key: SequenceKey) -> Held | None:
        """The oldest that is this front end's."""
        for held in self.sequences.get(key, ()):
            if held.peer is peer:
                return held
        return None

    def of_others(self, peer: Owner, key: SequenceKey) -> list[Held]:
        """Those that are other front ends'."""
        return [held for held in self.sequences.get(key, ()) if held.peer is not peer]

    def newest_of(self, peer: Owner, key: SequenceKey) -> Held | None:
        """The newest that is this front end's."""
        for held in reversed(self.sequences.get(key, ())):
            if held.peer is peer:
                return held
        return None

    def add(
        self,
        held: Held,
        on_end: Callable[[Held, EndReason], None],
        on_warning: Callable[[Held, EndWarning], None],
    ) -> Held:
        """A sequence begins. The listener to be told of it is its own. While it lives here, its
        version stays open for it, though another one takes its place: it may move there."""

        def ended(_: SequenceKey, reason: EndReason) -> None:
            self.remove(held)
            on_end(held, reason)

        held.listener = Listener(ended, lambda _, warning: on_warning(held, warning))
        self.sequences.setdefault(held.key, deque()).append(held)
        self.route.hold()
        return held

    def remove(self, held: Held) -> None:
        """It lives here no more."""
        others = self.sequences.get(held.key)
        if others is None or held not in others:
            return
        others.remove(held)
        self.route.release()
        if not others:
            del self.sequences[held.key]

    def watch(self) -> None:
        """Have snapshots taken from now on, where they can be, and handed to whose sequences they
        are of."""
        link = self.route.link
        if not self.is_watched and isinstance(link, MovableLink):
            self.is_watched = True
            link.watch_snapshots(self._snapped)

    def _snapped(self, key: SequenceKey, snapshot: Snapshot, has_left: bool) -> bool:
        held = self.sequences.get(key)
        if not held:
            return False
        oldest = held[0]
        if has_left:
            self.remove(oldest)
            self.route.positions.leave(key)
        oldest.peer.snapped(oldest, snapshot, has_left=has_left)
        return True
