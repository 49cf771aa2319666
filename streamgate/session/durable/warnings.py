"""Warnings of a place that goes: who can't leave it is told, who is about to leave need not be."""

from typing import Final, NamedTuple, final

from streamgate.core.ids import Ns
from streamgate.engine.host import Host
from streamgate.errors import EndWarning, WarningCause
from streamgate.model.request import SequenceKey
from streamgate.session.durable.lane import Lane, Place
from streamgate.session.durable.places import Places
from streamgate.session.durable.sequences import Sequences

LOOK_NS: Final = 100_000_000
"""How often is looked what has become of those that were to leave."""


class _Pending(NamedTuple):
    """What a place has said of a sequence, which ends there at `due_ns`."""

    place: Place
    cause: WarningCause
    due_ns: int
    told_ns: int


@final
class Warnings:
    """The clock of a warning goes on while it waits: what is told is the time that is left."""

    def __init__(self, sequences: Sequences, places: Places, host: Host) -> None:
        self._sequences = sequences
        self._places = places
        self._host = host
        self._pending: dict[Lane, _Pending] = {}
        self._is_looking = False

    def hear(self, place: Place, key: SequenceKey, warning: EndWarning) -> None:
        """A place warns: a sequence will end there."""
        lane = self._sequences.lanes.get(key)
        if lane is None or lane.place is not place:
            return
        if not warning.is_drain:
            self._tell(key, warning)
            return
        now = self._host.now()
        left_ns = round(warning.seconds_left * 1e9)
        # Who has not left by half of the time may not do so at all: there is still time to act.
        told_ns = now + left_ns // 2
        self._pending[lane] = _Pending(place, warning.cause, now + left_ns, told_ns)
        if self._settle(lane, now) and not self._is_looking:
            self._look_later()

    def tell_all(self, place: Place | None, warning: EndWarning) -> None:
        """Tell all whose sequences are there, if it is one."""
        for lane in list(place.lanes) if place is not None else ():
            self._tell(lane.key, warning)

    def _look_later(self) -> None:
        self._is_looking = True
        self._host.call_at(Ns(self._host.now() + LOOK_NS), self._look)

    def _look(self) -> None:
        self._is_looking = False
        now = self._host.now()
        for lane in list(self._pending):
            self._settle(lane, now)
        if self._pending:
            self._look_later()

    def _settle(self, lane: Lane, now: int) -> bool:
        """Tell a lane's client, or forget the warning. Returns whether it has still to wait."""
        pending = self._pending[lane]
        if not lane.tenancies or now >= pending.due_ns or self._has_left(lane, pending):
            del self._pending[lane]
            return False
        if now < pending.told_ns and (lane.place is None or self._may_leave(lane, pending.place)):
            return True
        del self._pending[lane]
        self._tell(lane.key, EndWarning(pending.cause, (pending.due_ns - now) / 1e9))
        return False

    def _tell(self, key: SequenceKey, warning: EndWarning) -> None:
        if self._sequences.watcher is not None:
            _, on_warning = self._sequences.watcher
            on_warning(key, warning)

    @staticmethod
    def _has_left(lane: Lane, pending: _Pending) -> bool:
        return lane.place is not None and lane.place is not pending.place

    def _may_leave(self, lane: Lane, place: Place) -> bool:
        return not lane.is_pinned and self._places.for_sequence(lane.key, {place}) is not None
