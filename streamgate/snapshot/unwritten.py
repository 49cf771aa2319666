"""What waits to be written of one sequence, and what is being written: no I/O.

What a newer snapshot or a drop makes needless is let go of, so that what waits while a store can't
be reached is no more than what it would have kept.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, final

SNAPSHOT: Final = "snapshot"
STEP: Final = "step"
VOID: Final = "void"
DROP: Final = "drop"
RESULT: Final = "result"

Operation = tuple[str, int, bytes]
"""What is to be done, with which number (a position, or a result's ordinal), and its data."""


@dataclass(slots=True, eq=False)
class _Load:
    """Operations by kind, each in order."""

    snapshot: tuple[int, bytes] | None = None
    steps: deque[tuple[int, bytes]] = field(default_factory=deque)
    voids: list[int] = field(default_factory=list)
    drop_to: int = 0
    results: deque[tuple[int, bytes]] = field(default_factory=deque)
    last: tuple[str, bytes] | None = None
    told: list[Callable[[], None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.snapshot
            or self.steps
            or self.voids
            or self.drop_to
            or self.results
            or self.last
            or self.told
        )

    def operations(self) -> Iterator[Operation]:
        """In the order that a store applies them in."""
        if self.snapshot is not None:
            yield (SNAPSHOT, *self.snapshot)
        for position, data in self.steps:
            yield STEP, position, data
        for position in self.voids:
            yield VOID, position, b""
        if self.drop_to:
            yield DROP, self.drop_to, b""
        for ordinal, data in self.results:
            yield RESULT, ordinal, data
        if self.last is not None:
            yield self.last[0], 0, self.last[1]


@final
class Unwritten:
    """The operations of one sequence. `size_bytes` counts the data of all of them."""

    def __init__(self) -> None:
        self._waiting = _Load()
        self._flying = _Load()
        self.size_bytes = 0

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def step(self, position: int, data: bytes) -> None:
        self._waiting.steps.append((position, data))
        self.size_bytes += len(data)

    def void(self, position: int) -> None:
        """Nothing came of this step."""
        self._waiting.voids.append(position)

    def snapshot(self, position: int, data: bytes) -> None:
        """Steps up to it need not be written any more, nor an older snapshot."""
        waiting = self._waiting
        if waiting.snapshot is not None:
            self.size_bytes -= len(waiting.snapshot[1])
        waiting.snapshot = (position, data)
        self.size_bytes += len(data)
        self._trim_steps(position)

    def result(self, ordinal: int, data: bytes, on_stored: Callable[[], None] | None) -> None:
        self._waiting.results.append((ordinal, data))
        self.size_bytes += len(data)
        if on_stored is not None:
            self._waiting.told.append(on_stored)

    def tell(self, on_stored: Callable[[], None]) -> None:
        """Somebody waits for all that was to be written by now."""
        self._waiting.told.append(on_stored)

    def drop_to(self, ordinal: int) -> None:
        """Results before this one are not kept any more."""
        waiting = self._waiting
        waiting.drop_to = ordinal
        while waiting.results and waiting.results[0][0] < ordinal:
            self.size_bytes -= len(waiting.results.popleft()[1])

    def last(self, operation: str, data: bytes = b"") -> None:
        """What ends the writing."""
        self._waiting.last = (operation, data)
        self.size_bytes += len(data)

    def clear(self) -> list[Callable[[], None]]:
        """Nothing is to be written. Who waits to be told, in order."""
        told = self.take_told()
        self._waiting, self._flying = _Load(), _Load()
        self.size_bytes = 0
        return told

    def take_off(self) -> list[Operation]:
        """All that waits: it is being written now."""
        assert not self._flying, "one writing at a time"
        self._flying, self._waiting = self._waiting, _Load()
        return list(self._flying.operations())

    def landed(self) -> list[Callable[[], None]]:
        """What took off is written. Who is to be told, in order."""
        flown, self._flying = self._flying, _Load()
        self.size_bytes -= sum(len(data) for _, _, data in flown.operations())
        return flown.told

    def came_back(self) -> None:
        """What took off may not have been written: it waits again, before all else."""
        flown, waiting = self._flying, self._waiting
        self._flying = _Load()
        newer = waiting.snapshot
        waiting.steps.extendleft(reversed(flown.steps))
        waiting.voids[:0] = flown.voids
        waiting.results.extendleft(reversed(flown.results))
        waiting.told[:0] = flown.told
        waiting.last = waiting.last or flown.last
        if flown.snapshot is not None:
            if newer is None:
                waiting.snapshot = flown.snapshot
            else:
                self.size_bytes -= len(flown.snapshot[1])
        if newer is not None:
            self._trim_steps(newer[0])
        if waiting.drop_to:
            self.drop_to(waiting.drop_to)
        waiting.drop_to = waiting.drop_to or flown.drop_to

    def take_told(self) -> list[Callable[[], None]]:
        """Who waits to be told, in order: they are told now, and not later."""
        told = [*self._flying.told, *self._waiting.told]
        self._flying.told, self._waiting.told = [], []
        return told

    def _trim_steps(self, position: int) -> None:
        steps = self._waiting.steps
        while steps and steps[0][0] <= position:
            self.size_bytes -= len(steps.popleft()[1])
