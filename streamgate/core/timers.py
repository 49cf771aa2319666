"""When to wake up. Knows moments and what they are for, not what is to be done about them.

Two kinds: `Timers` for any moments, in one heap; `Countdown` for timers that all run equally
long, which stay in order by themselves and so cost no heap (each step of each sequence restarts
its idle timer, so that one has to be cheap). Both answer `next_at` exactly: a timer that was
stopped never shows.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar, cast, final

from streamgate.core.heap import LazyHeap
from streamgate.core.ids import Ns

T = TypeVar("T")


@final
class Timers(LazyHeap[T]):
    """Timers for any moments: `push` starts one for a subject, `discard` stops it."""

    __slots__ = ()

    def next_at(self) -> Ns | None:
        """The next moment at which a timer is due."""
        return cast("Ns | None", self.first_key()) if self._places else None

    def pop_due(self, now: Ns) -> T | None:
        """The subject of the earliest timer due by `now`, which is then gone; None for no more."""
        if not self._places:
            return None
        key = self.first_key()
        return None if key is None or key > now else self.pop()


@final
class Countdown(Generic[T]):
    """Timers that all run for `duration_ns`, at most one for each subject."""

    __slots__ = ("_due", "_duration_ns")

    def __init__(self, duration_ns: int) -> None:
        self._duration_ns = duration_ns
        self._due: OrderedDict[T, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, subject: T) -> bool:
        return subject in self._due

    def start(self, subject: T, now: Ns) -> None:
        """Start the subject's timer; it must not run yet. `now` never goes backwards."""
        assert subject not in self._due
        self._due[subject] = now + self._duration_ns

    def stop(self, subject: T) -> None:
        """Stop the subject's timer if it runs."""
        self._due.pop(subject, None)

    def next_at(self) -> Ns | None:
        """The next moment at which a timer is due."""
        for at in self._due.values():
            return Ns(at)
        return None

    def is_due(self, subject: T, now: Ns) -> bool:
        """Whether the subject's timer, which goes on, is due by `now`."""
        at = self._due.get(subject)
        return at is not None and at <= now

    def due_by(self, now: Ns) -> Iterator[T]:
        """The subjects of timers due by `now`, which go on, the earliest first. Must not change
        meanwhile."""
        for subject, at in self._due.items():
            if at > now:
                return
            yield subject

    def next_after(self, now: Ns) -> Ns | None:
        """The next moment after `now` at which a timer is due."""
        for at in self._due.values():
            if at > now:
                return Ns(at)
        return None

    def pop_due(self, now: Ns) -> T | None:
        """The subject of the earliest timer due by `now`, which is then gone; None for no more."""
        for subject, at in self._due.items():
            if at > now:
                return None
            del self._due[subject]
            return subject
        return None
