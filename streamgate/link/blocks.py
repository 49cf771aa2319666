"""Which parts of an arena are taken: blocks of whole pages, the lowest free ones first.

Pure bookkeeping: no memory is touched here. Low blocks are used again and again, so that few pages
of an arena ever hold anything, and those are in the caches.
"""

from bisect import bisect_left
from typing import Final

PAGE_BYTES: Final = 4096
"""Blocks begin and end at multiples of this."""

ARENA_BYTES: Final = 64 * 2**20
"""What an arena has room for, unless something else is said. Only what was written to takes memory.
"""

ARENA_BYTES_MAX: Final = 2**36

_HOLES_TRIED: Final = 32
"""Holes that are looked at, from the lowest; then the highest, which most often has room. An arena
in many pieces so costs no more than one in few, and is full a little earlier."""


class Blocks:
    """Blocks of an arena of so many bytes, of which the last part of a page is left out."""

    def __init__(self, size: int) -> None:
        whole = size // PAGE_BYTES * PAGE_BYTES
        # Holes, in order; no two of them touch.
        self._begins = [0] if whole else []
        self._ends = [whole] if whole else []
        self._taken: dict[int, int] = {}
        self.taken_bytes = 0
        self.high_water = 0
        """No block has ended behind here, since there was none last."""

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, size: int) -> int | None:
        """Where a block for so many bytes (at least 1) begins; None if there is no room."""
        size = -(-size // PAGE_BYTES) * PAGE_BYTES
        begins, ends = self._begins, self._ends
        place = self._find(size)
        if place is None:
            return None
        begin = begins[place]
        if ends[place] - begin == size:
            del begins[place], ends[place]
        else:
            begins[place] = begin + size
        self._taken[begin] = size
        self.taken_bytes += size
        self.high_water = max(self.high_water, begin + size)
        return begin

    def give_back(self, begin: int) -> None:
        """The block that begins here is free. Raises KeyError for none."""
        size = self._taken.pop(begin)
        self.taken_bytes -= size
        end = begin + size
        begins, ends = self._begins, self._ends
        place = bisect_left(begins, begin)
        joins_left = place > 0 and ends[place - 1] == begin
        joins_right = place < len(begins) and begins[place] == end
        if joins_left and joins_right:
            ends[place - 1] = ends[place]
            del begins[place], ends[place]
        elif joins_left:
            ends[place - 1] = end
        elif joins_right:
            begins[place] = begin
        else:
            begins.insert(place, begin)
            ends.insert(place, end)

    def _find(self, size: int) -> int | None:
        """The place of a hole that is large enough."""
        begins, ends = self._begins, self._ends
        for place in range(min(len(begins), _HOLES_TRIED)):
            if ends[place] - begins[place] >= size:
                return place
        last = len(begins) - 1
        return last if last >= 0 and ends[last] - begins[last] >= size else None

    def forget_high_water(self) -> None:
        """What was touched is as if it had not been."""
        self.high_water = max((begin + size for begin, size in self._taken.items()), default=0)
