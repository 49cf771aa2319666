"""When results have stopped though there is input: the decision alone.

Of each stream there are two clocks. The input clock is the arrival of the oldest request that has
no answer, the result clock the moment when the stream was last seen to get on. Moments are
arguments, in nanoseconds.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

DOUBLINGS_MAX: Final = 6
"""How often the patience with a request that stalls again is doubled."""


K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Sign(Generic[K]):
    """What is seen of one stream that waits for a result.

    `position` is that of the request that is to be answered next, in the incarnation `epoch`, of
    which `heard` results have come. `is_held`: none is due yet, because the request is not where it
    runs (it waits for a slot, or the stream is on its way), or the client takes no results.
    """

    stream: K
    epoch: int
    position: int
    heard: int
    is_held: bool


@dataclass(frozen=True, slots=True)
class Stall(Generic[K]):
    """Nothing came of a request for so long; the `count`-th time (from 1) of this one."""

    stream: K
    position: int
    silent_ns: int
    count: int


@dataclass(slots=True)
class _Known:
    """`since_ns` is the result clock; `stalls` were told of the request `stalled_at`, of which the
    last `is_told` and nothing has changed since."""

    epoch: int
    position: int
    heard: int
    since_ns: int
    stalled_at: int = -1
    stalls: int = 0
    is_told: bool = False


class Stalls(Generic[K]):
    """Streams that are looked at again and again. A stream stalls when nothing has come of it for
    `limit_ns`; a request that stalled before has twice as long as the time before."""

    def __init__(self, limit_ns: int) -> None:
        self._limit_ns = limit_ns
        self._known: dict[K, _Known] = {}

    @property
    def stalled(self) -> int:
        """How many have stalled, and have not got past it yet."""
        return sum(known.stalls > 0 for known in self._known.values())

    def look(self, now: int, waiting: Iterable[Sign[K]]) -> list[Stall[K]]:
        """All streams that wait for a result, as they are now. Returns those that have stalled, a
        stall once: the next is due when the stream has begun anew."""
        before, self._known = self._known, {}
        stalls = []
        for sign in waiting:
            known = self._known[sign.stream] = self._seen(before.get(sign.stream), sign, now)
            silent_ns = now - known.since_ns
            times = known.stalls if known.stalled_at == known.position else 0
            if known.is_told or silent_ns < self._limit_ns << min(times, DOUBLINGS_MAX):
                continue
            known.is_told = True
            known.stalled_at, known.stalls = known.position, times + 1
            stalls.append(Stall(sign.stream, known.position, silent_ns, known.stalls))
        return stalls

    @staticmethod
    def _seen(known: _Known | None, sign: Sign[K], now: int) -> _Known:
        if known is None:
            return _Known(sign.epoch, sign.position, sign.heard, now)
        now_at = sign.epoch, sign.position, sign.heard
        if now_at != (known.epoch, known.position, known.heard):
            known.epoch, known.position, known.heard = now_at
            known.since_ns, known.is_told = now, False
            if sign.position > known.stalled_at:
                known.stalls = 0
        elif sign.is_held:
            known.since_ns = now
        return known
