"""The front end's view of sequences that live on an engine: their incarnations, and what of their
steps is under way.

A correlation ID has one lane. Steps are sent while the inputs of those that are not answered stay
below a window, and wait here otherwise: one sequence with more input than its model takes neither
fills the engine's memory nor stands in the way of others on the connection. A step that is larger
than the window goes alone. Whoever feeds the sequence bounds what waits: front ends stop reading
from a client that has too much under way.
"""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from streamgate.core.ids import OwnerNumber
from streamgate.link.contract import UNSTARTED
from streamgate.model.request import Request, Response, SequenceKey

WINDOW_BYTES: Final = 2**20
"""Inputs of one sequence that may be under way."""

WINDOW_STEPS: Final = 64
"""Steps of one sequence that may be under way, however small."""


@dataclass(slots=True, eq=False)
class Incarnation:
    """One sequence, from its START, reservation or restore to its end."""

    epoch: int
    started: bool
    reserved: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """A request under way. `size` counts against its lane's window."""

    number: int
    request: Request
    sink: Callable[[Response], None]
    owner: OwnerNumber
    epoch: int
    position: int
    lane: "Lane | None"
    size: int = 0
    sent: bool = False
    paused: bool = False


@dataclass(slots=True, eq=False)
class Lane:
    """One correlation ID: its incarnations, oldest first, and its steps."""

    key: SequenceKey
    incarnations: deque[Incarnation] = field(default_factory=deque)
    bytes_under_way: int = 0
    steps_under_way: int = 0
    waiting: deque[Call] = field(default_factory=deque)

    def has_room(self, size: int) -> bool:
        """Whether a step of this size may be sent now."""
        steps = self.steps_under_way
        return not steps or (steps < WINDOW_STEPS and self.bytes_under_way + size <= WINDOW_BYTES)

    @property
    def is_over(self) -> bool:
        return not (self.incarnations or self.waiting or self.steps_under_way)


class Lanes:
    """The lanes of one model version on one engine."""

    def __init__(self) -> None:
        self._lanes: dict[SequenceKey, Lane] = {}
        self._epochs = itertools.count(1)

    def get(self, key: SequenceKey) -> Lane | None:
        return self._lanes.get(key)

    def all(self) -> list[Lane]:
        return list(self._lanes.values())

    def __len__(self) -> int:
        return len(self._lanes)

    def open(self, key: SequenceKey) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
        return lane

    def begin(self, key: SequenceKey, *, reserved: bool) -> Incarnation:
        """A reservation, or a sequence that comes from elsewhere."""
        incarnation = Incarnation(next(self._epochs), not reserved, reserved)
        self.open(key).incarnations.append(incarnation)
        return incarnation

    def place(self, request: Request) -> tuple[Lane | None, int]:
        """The lane and epoch of a request; a START begins an incarnation, but where one waits for
        it. None and 0 for a request of no sequence that is known here."""
        key = request.sequence
        if request.start:
            lane = self.open(key)
            newest = lane.incarnations[-1] if lane.incarnations else None
            if newest is None or newest.started:
                newest = self.begin(key, reserved=False)
            newest.started = True
            return lane, newest.epoch
        known = self._lanes.get(key)
        if known is None or not known.incarnations or not known.incarnations[-1].started:
            return None, 0
        return known, known.incarnations[-1].epoch

    def refuse_start(self, call: Call) -> None:
        """A START was not admitted: it began nothing; a reservation waits on for another."""
        found = self.find(call.request.sequence, call.epoch)
        if found is None:
            return
        lane, incarnation, _ = found
        if incarnation.reserved:
            incarnation.started = False
        else:
            self._remove(lane, incarnation)

    def refuse(self, key: SequenceKey, epoch: int) -> None:
        """A reservation or a restore was not granted. A START that followed the former is one as
        others are."""
        found = self.find(key, epoch)
        if found is None:
            return
        lane, incarnation, _ = found
        if incarnation.reserved and incarnation.started:
            incarnation.reserved = False
        else:
            self._remove(lane, incarnation)

    def end(self, key: SequenceKey, epoch: int, *, unstarted: bool) -> int | None:
        """A sequence ended there. Returns its place among those of its ID, UNSTARTED for a
        reservation; None for one that is not known (any more)."""
        found = self.find(key, epoch)
        if found is None:
            return None
        lane, incarnation, place = found
        if unstarted and incarnation.started:
            # Its START is on the way, and begins a sequence of its own.
            incarnation.reserved = False
            return UNSTARTED
        self._remove(lane, incarnation)
        return UNSTARTED if unstarted else place

    def find(self, key: SequenceKey, epoch: int) -> tuple[Lane, Incarnation, int] | None:
        lane = self._lanes.get(key)
        if lane is None:
            return None
        for place, incarnation in enumerate(lane.incarnations):
            if incarnation.epoch == epoch:
                return lane, incarnation, place
        return None

    def forget(self, lane: Lane) -> None:
        """Forget a lane with nothing in it."""
        if lane.is_over and self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]

    def clear(self) -> list[Lane]:
        """Nothing lives there any more. Returns what there was."""
        lanes = self.all()
        self._lanes.clear()
        return lanes

    def _remove(self, lane: Lane, incarnation: Incarnation) -> None:
        lane.incarnations.remove(incarnation)
        self.forget(lane)
