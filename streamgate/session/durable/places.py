"""The places of one model version, and which of them is for whom."""

from collections.abc import Collection, Iterator
from hashlib import blake2b
from typing import Final

from streamgate.link.contract import MovableLink
from streamgate.model.request import SequenceKey
from streamgate.session.durable.lane import Place

CANDIDATES: Final = 2
"""Of the places that hashing names first for a new sequence, so many are compared by load."""


class Places:
    """Those that there are."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._added = 0

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def add(self, link: MovableLink, name: str) -> Place:
        """`name` tells it from others for good: what was there before it was away is there again.
        "" makes one up."""
        self._added += 1
        place = Place(link, name or f"#{self._added}")
        self._places.append(place)
        return place

    def remove(self, place: Place) -> None:
        self._places.remove(place)

    def of(self, link: MovableLink) -> Place | None:
        return next((place for place in self._places if place.link is link), None)

    def for_sequence(
        self, key: SequenceKey, but: Collection[Place] = (), *, draining: bool = False
    ) -> Place | None:
        """Where a sequence of this ID is to live: the less loaded of the first two in an order
        that is the ID's own; with `draining`, of those that nothing new is to go to. None where
        there is no place for it but those left out."""
        places = self._places
        if len(places) == 1 and places[0].is_draining is draining and not but:
            return places[0]
        open_ones = [
            place for place in places if place.is_draining is draining and place not in but
        ]
        if not open_ones:
            return None
        # One that is stuck is better than none.
        open_ones = [place for place in open_ones if not place.stuck_ns] or open_ones
        first = sorted(open_ones, key=lambda place: _rank(key, place), reverse=True)[:CANDIDATES]
        return min(first, key=lambda place: len(place.lanes))

    def for_request(self, but: Place | None = None) -> Place | None:
        """Where a request of no sequence runs: the least loaded, another than `but` if there is."""
        places = self._places
        if len(places) == 1:
            return places[0]
        open_ones = [place for place in places if not place.is_draining] or places
        others = [place for place in open_ones if place is not but] or open_ones
        return min(others, key=lambda place: place.open, default=None)


def _rank(key: SequenceKey, place: Place) -> bytes:
    """Rendezvous hashing: a place that comes or goes changes nothing between the others."""
    return blake2b(f"{key!r} {place.name}".encode(), digest_size=8).digest()
