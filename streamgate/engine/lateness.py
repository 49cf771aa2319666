"""How late an event loop gets to what is due: what its clients wait beside what it measures."""

import asyncio
from collections import deque
from typing import Final, final

RECENT: Final = 10
"""Of so many of late, the second latest counts: one pause of somebody else's is none."""

LOOK_SECONDS: Final = 0.2


@final
class Lateness:
    """Of one loop. Nanoseconds."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=RECENT)

    def note(self, late_ns: int) -> None:
        """Something was done so long after it was due."""
        self._recent.append(max(0, late_ns))

    @property
    def ns(self) -> int:
        """How late it is just now; 0 while nobody knows."""
        return sorted(self._recent)[-2] if len(self._recent) > 1 else 0


@final
class LoopWatch:
    """Looks how late a loop is while somebody asks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lateness = Lateness()
        self._timer: asyncio.TimerHandle | None = None
        self._is_asked = False

    @property
    def ns(self) -> int:
        """How late it is just now. On the loop's thread."""
        self._is_asked = True
        if self._timer is None:
            self._set()
        return self._lateness.ns

    def _set(self) -> None:
        due = self._loop.time() + LOOK_SECONDS
        self._timer = self._loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        self._timer = None
        self._lateness.note(round((self._loop.time() - due) * 1e9))
        if self._is_asked:
            self._is_asked = False
            self._set()
