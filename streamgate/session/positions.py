"""The place of each request in its sequence: 0 for START, then one more for each request.

One table for each model version, whatever connection a sequence's requests come over. Also knows
who is to be told what becomes of a sequence.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streamgate.errors import EndReason, EndWarning
from streamgate.link.contract import UNSTARTED, Listener
from streamgate.model.request import Request, SequenceKey


@dataclass(slots=True, eq=False)
class _Tenancy:
    """One sequence, from a START to its end; `start` is the request that began it, None for a
    reservation that waits for it, and for one that is `restored`: it began elsewhere. `reserved`:
    it was, or is to be, reserved. `names_version`: its START asked for this version and no other.
    """

    start: Request | None
    listener: Listener | None
    next_position: int = 0
    reserved: bool = False
    restored: bool = False
    names_version: bool = False

    @property
    def is_begun(self) -> bool:
        return self.start is not None or self.restored


class Positions:
    """The live sequences of one model version.

    One correlation ID may have several at a time: a START that meets a live sequence of its ID
    waits to supersede it. They end in the order of their STARTs, but for a START that is given up
    while it waits. A reservation that waits for its START is alone.
    """

    def __init__(self) -> None:
        self._tenancies: dict[SequenceKey, deque[_Tenancy]] = {}
        self._on_gone: Callable[[SequenceKey], None] | None = None

    def watch(self, on_gone: Callable[[SequenceKey], None]) -> None:
        """Be told of each sequence that was live and is not any more, before its listener is."""
        self._on_gone = on_gone

    def assign(self, request: Request, listener: Listener | None, at: int | None = None) -> int:
        """The request's position; -1 for one that belongs to no sequence, or to none that lives.
        `at`: where it was given one that is not before the next.

        The listener of a sequence's newest request is told of it.
        """
        tenancies = self._tenancies.get(request.sequence)
        if request.start:
            if tenancies is None:
                tenancies = self._tenancies[request.sequence] = deque()
            if tenancies and not tenancies[-1].is_begun:
                tenancies[-1].start = request
            else:
                tenancies.append(_Tenancy(request, listener))
            tenancies[-1].names_version = bool(request.version)
        elif tenancies is None or not tenancies[-1].is_begun:
            return -1
        newest = tenancies[-1]
        newest.listener = listener
        position = newest.next_position if at is None else at
        newest.next_position = position + 1
        return position

    def refuse(self, request: Request) -> None:
        """The scheduler did not admit this request after all: if a START, it began nothing. What it
        was to begin is the next START's."""
        tenancies = self._tenancies.get(request.sequence)
        if tenancies is None or not request.start:
            return
        for tenancy in tenancies:
            if tenancy.start is request:
                self._take_start(request.sequence, tenancies, tenancy)
                break

    def reserve(self, key: SequenceKey, listener: Listener | None) -> bool:
        """A sequence is being reserved, whose START comes later: tell this listener of it. False
        if one of its ID lives."""
        if key in self._tenancies:
            return False
        self._tenancies[key] = deque((_Tenancy(None, listener, reserved=True),))
        return True

    def refuse_reservation(self, key: SequenceKey) -> None:
        """It could not be had. A START that was sent behind it is one as others are."""
        tenancies = self._tenancies[key]
        tenancies[0].reserved = False
        if tenancies[0].start is None:
            del self._tenancies[key]

    def restore(self, key: SequenceKey, listener: Listener | None, next_position: int) -> bool:
        """A sequence comes from elsewhere, and goes on at this position. False if one of its ID
        lives."""
        if key in self._tenancies:
            return False
        self._tenancies[key] = deque((_Tenancy(None, listener, next_position, restored=True),))
        return True

    def skip(self, key: SequenceKey) -> None:
        """Nothing came of the next position of this ID's newest sequence, where it was before."""
        self._tenancies[key][-1].next_position += 1

    def refuse_restored(self, key: SequenceKey) -> None:
        """It could not be had back: nobody is told. A START that was sent behind it is one as
        others are."""
        tenancies = self._tenancies.get(key)
        if tenancies is not None and tenancies[0].restored:
            self._drop_oldest(key, tenancies)

    def leave(self, key: SequenceKey) -> None:
        """The oldest sequence of this ID lives elsewhere now: nobody is told."""
        tenancies = self._tenancies.get(key)
        if tenancies is not None and tenancies[0].is_begun:
            self._drop_oldest(key, tenancies)

    def end(self, key: SequenceKey, reason: EndReason, place: int = 0) -> None:
        """A sequence of this ID ended, which has so many older ones: tell its listener.

        With place UNSTARTED, it was a reservation. A START that was sent meanwhile is one as others
        are: it began another sequence, and nobody waits for news of the old one.
        """
        tenancies = self._tenancies.get(key)
        if tenancies is None:
            return
        if place == UNSTARTED:
            if tenancies[0].is_begun:
                tenancies[0].reserved = False
                return
            place = 0
        ended = tenancies[place]
        del tenancies[place]
        if not tenancies:
            del self._tenancies[key]
        self._tell_gone(key)
        if ended.listener is not None:
            ended.listener.on_end(key, reason)

    def listen(self, key: SequenceKey, listener: Listener | None) -> None:
        """From now on this listener is told of the ID's newest sequence, which lives."""
        self._tenancies[key][-1].listener = listener

    def warn(self, key: SequenceKey, warning: EndWarning) -> None:
        """The oldest sequence of this ID will end: tell its listener."""
        tenancies = self._tenancies.get(key)
        if tenancies is not None and tenancies[0].listener is not None:
            tenancies[0].listener.on_warning(key, warning)

    def _drop_oldest(self, key: SequenceKey, tenancies: deque[_Tenancy]) -> None:
        tenancies.popleft()
        if not tenancies:
            del self._tenancies[key]
        self._tell_gone(key)

    def _tell_gone(self, key: SequenceKey) -> None:
        if self._on_gone is not None:
            self._on_gone(key)

    def _take_start(self, key: SequenceKey, tenancies: deque[_Tenancy], tenancy: _Tenancy) -> None:
        place = tenancies.index(tenancy)
        if tenancy.reserved and place + 1 == len(tenancies):
            tenancy.start = None
            tenancy.next_position = 0
            return
        del tenancies[place]
        if tenancy.reserved:
            tenancies[place].reserved = True
        if not tenancies:
            del self._tenancies[key]

    def newest_of(self, key: SequenceKey) -> int:
        """The position of the newest request of this ID's oldest sequence; -1 for none."""
        tenancies = self._tenancies.get(key)
        return tenancies[0].next_position - 1 if tenancies else -1

    def named(self) -> list[SequenceKey]:
        """The correlation IDs whose sequence wants this version and no other."""
        return [
            key
            for key, tenancies in self._tenancies.items()
            if any(tenancy.names_version for tenancy in tenancies)
        ]

    def keys(self) -> list[SequenceKey]:
        """The correlation IDs that have a live sequence."""
        return list(self._tenancies)

    def __contains__(self, key: SequenceKey) -> bool:
        return key in self._tenancies

    def __len__(self) -> int:
        return len(self._tenancies)
