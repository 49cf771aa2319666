"""A heap whose items can be taken out of the middle. Knows nothing of time or sequences.

Taking an item out only marks its place as empty. Empty places go when they come to the top, or
all at once when they outnumber the rest, so the heap never holds more than twice what it needs.
"""

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar, final

T = TypeVar("T")

_SMALL = 64
"""Below this many places, empty ones are not worth a clean-up."""


@final
class Place(Generic[T]):
    """Where an item stands in a heap; `item` is None once it has left."""

    __slots__ = ("item", "key")

    def __init__(self, key: int, item: T) -> None:
        self.key = key
        self.item: T | None = item


class LazyHeap(Generic[T]):
    """Items by ascending key; equal keys in the order in which they came."""

    __slots__ = ("_count", "_places", "_pushed")

    def __init__(self) -> None:
        self._places: list[tuple[int, int, Place[T]]] = []
        self._count = 0
        self._pushed = 0

    def __len__(self) -> int:
        return self._count

    def push(self, key: int, item: T) -> Place[T]:
        """Put the item in; the place returned is what `discard` takes."""
        place = Place(key, item)
        self._pushed += 1
        self._count += 1
        heappush(self._places, (key, self._pushed, place))
        return place

    def discard(self, place: Place[T]) -> None:
        """Take the item out, wherever it stands. One that has left already is ignored."""
        if place.item is None:
            return
        place.item = None
        self._count -= 1
        if len(self._places) > _SMALL and len(self._places) > 2 * self._count:
            self._places = [entry for entry in self._places if entry[2].item is not None]
            heapify(self._places)

    def first_key(self) -> int | None:
        """The lowest key, or None when the heap is empty."""
        places = self._places
        while places:
            if places[0][2].item is not None:
                return places[0][0]
            heappop(places)
        return None

    def first(self) -> T | None:
        """The first item, or None when the heap is empty."""
        return None if self.first_key() is None else self._places[0][2].item

    def pop(self) -> T | None:
        """Take out the first item, or None when the heap is empty."""
        places = self._places
        while places:
            place = heappop(places)[2]
            item = place.item
            if item is not None:
                place.item = None
                self._count -= 1
                return item
        return None
