"""When a snapshot of a sequence is due, and whether there is room for it. Time is an argument.

Sequences that began together are not due together: how soon the first snapshot of one is due
depends on its ID. After that, each counts from its last one.
"""

import zlib
from dataclasses import dataclass
from typing import final

from streamgate.core.heap import Place
from streamgate.core.ids import Ns
from streamgate.core.timers import Timers
from streamgate.model.config import Durability
from streamgate.model.request import SequenceKey

NS = 1_000_000_000


@final
class Budget:
    """So many bytes a second, and no more than a second's worth at once; 0 for no limit.

    What is larger than that passes when a second's worth is there, and is paid off before
    anything else passes.
    """

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._left = float(bytes_per_second)
        self._at: Ns | None = None

    def spend(self, size: int, now: Ns) -> bool:
        """Whether so many bytes may go now; they are then spent."""
        if self._rate == 0:
            return True
        self._refill(now)
        if self._left < min(size, self._rate):
            return False
        self._left -= size
        return True

    def correct(self, spent: int, size: int) -> None:
        """It was another number of bytes than what was spent."""
        self._left -= size - spent

    def free_at(self, size: int, now: Ns) -> Ns:
        """When so many bytes may go."""
        if self._rate == 0:
            return now
        self._refill(now)
        missing = min(size, self._rate) - self._left
        return Ns(now + max(0, int(missing / self._rate * NS) + 1))

    def _refill(self, now: Ns) -> None:
        if self._at is not None:
            more = (now - self._at) * self._rate / NS
            self._left = min(float(self._rate), self._left + more)
        self._at = now


@dataclass(slots=True, eq=False)
class _Watched:
    """A sequence: how many steps may still run and until when it may wait before it is due, what
    was spent for the snapshot that is being taken, and whether it had a step since the last one.
    Nobody keeps snapshots of one that `is_let_be`."""

    steps_left: int
    due_at: Ns
    spent: int | None = None
    has_news: bool = False
    is_let_be: bool = False
    timer: Place[SequenceKey] | None = None


@final
class Due:
    """The sequences of a model. Whoever is told that one is due takes it, and says what came of
    it with `taken` or `missed`."""

    def __init__(self, rules: Durability) -> None:
        self._steps = rules.snapshot_steps
        self._ns = rules.snapshot_ns
        self._budget = Budget(rules.snapshot_bytes_per_second)
        self._watched: dict[SequenceKey, _Watched] = {}
        self._timers: Timers[SequenceKey] = Timers()

    def __len__(self) -> int:
        return len(self._watched)

    def begin(self, key: SequenceKey) -> None:
        """A sequence begins. One before it, of the same ID, may still be known here."""
        watched = self._watched.get(key)
        if watched is not None:
            watched.is_let_be = False

    def step(self, key: SequenceKey, now: Ns) -> bool:
        """A step of the sequence begins. Whether a snapshot of it is due, if there `is_room`."""
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = self._new(key, now)
        if watched.is_let_be:
            return False
        watched.steps_left -= 1
        watched.has_news = True
        if watched.spent is not None:
            return False
        if (watched.steps_left <= 0 < self._steps) or (self._ns > 0 and now >= watched.due_at):
            return True
        if self._ns and watched.timer is None:
            watched.timer = self._timers.push(watched.due_at, key)
        return False

    def overdue(self, now: Ns) -> list[SequenceKey]:
        """Those whose time has come without a step, if there `is_room`."""
        keys = []
        while (key := self._timers.pop_due(now)) is not None:
            self._watched[key].timer = None
            keys.append(key)
        return keys

    def is_room(self, key: SequenceKey, size: int, now: Ns) -> bool:
        """Whether a snapshot that is due, and will have about `size` bytes, may be taken now; then
        it is to be."""
        watched = self._watched[key]
        if watched.spent is not None or not watched.has_news:
            return False
        return self._spend(key, watched, size, now)

    def next_at(self) -> Ns | None:
        """When somebody is `overdue`."""
        return self._timers.next_at()

    def taken(self, key: SequenceKey, size: int, now: Ns, *, has_news: bool) -> None:
        """A snapshot of so many bytes was taken. `has_news`: steps have begun behind it."""
        watched = self._watched.get(key)
        if watched is None or watched.spent is None:
            return
        self._budget.correct(watched.spent, size)
        watched.spent = None
        watched.steps_left = self._steps
        watched.due_at = Ns(now + self._ns)
        watched.has_news = has_news
        self._rearm(key, watched, watched.due_at if has_news else None)

    def missed(self, key: SequenceKey, now: Ns) -> None:
        """It could not be taken just now: it is due with the next step, or in as long a time as
        snapshots are apart."""
        watched = self._watched.get(key)
        if watched is None or watched.spent is None:
            return
        self._budget.correct(watched.spent, 0)
        watched.spent = None
        self._rearm(key, watched, Ns(now + self._ns))

    def let_be(self, key: SequenceKey) -> None:
        """Nobody wants snapshots of the sequence: none is due any more."""
        watched = self._watched.get(key)
        if watched is not None:
            watched.is_let_be = True
            self._rearm(key, watched, None)

    def forget(self, key: SequenceKey) -> None:
        """The sequence is not here any more."""
        watched = self._watched.pop(key, None)
        if watched is not None:
            if watched.spent is not None:
                self._budget.correct(watched.spent, 0)
            self._rearm(key, watched, None)

    def _new(self, key: SequenceKey, now: Ns) -> _Watched:
        spread = zlib.crc32(repr(key).encode())
        return _Watched(
            1 + spread % self._steps if self._steps else 0,
            Ns(now + 1 + spread * self._ns // 2**32),
        )

    def _spend(self, key: SequenceKey, watched: _Watched, size: int, now: Ns) -> bool:
        if self._budget.spend(size, now):
            watched.spent = size
            self._rearm(key, watched, None)
            return True
        self._rearm(key, watched, self._budget.free_at(size, now))
        return False

    def _rearm(self, key: SequenceKey, watched: _Watched, at: Ns | None) -> None:
        if watched.timer is not None:
            self._timers.discard(watched.timer)
            watched.timer = None
        if at is not None and self._ns:
            watched.timer = self._timers.push(at, key)
