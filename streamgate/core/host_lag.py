"""How many streams an instance may have by how late those that it has are seen to be.

What a host adds to steps, such as processes that wait for a processor, no step's time shows. So the
limit follows the lag itself, from input to result: one that nears the pace lowers it below what
there is, and it rises slowly while all are well in time. `docs/admission.md` says so.
"""

from math import ceil
from typing import Final, final

from streamgate.core.ids import Ns

WINDOW_NS: Final = 1_000_000_000
"""Over so long lags are counted before anything follows."""

LATE: Final = 0.85
"""A lag of more than this share of the pace is late. The rest is for the way to the client."""

SLOW: Final = 0.6
"""No more streams are let in than there may be until lags are below this share."""

RATE: Final = 0.05
"""So many of a window's lags must be late or slow, and two of them at the least: a pause of
somebody else's is none."""

FEWER: Final = 0.9
"""To this share of the streams that there are the limit falls when they are late."""

MORE: Final = 0.1
"""By this share, and one at the least, it rises after a window in which none was slow."""

GOOD_WINDOWS: Final = 3
"""So many windows without slow lags pass before it rises."""


@final
class HostLag:
    """One instance's streams, which have a step every `pace_ns`. `limit` is None for none."""

    def __init__(self, pace_ns: int) -> None:
        self._late_ns = pace_ns * LATE
        self._slow_ns = pace_ns * SLOW
        self.limit: int | None = None
        self._begun_at: Ns | None = None
        self._count = self._late = self._slow = 0
        self._good = 0

    def note(self, lag_ns: int) -> None:
        """A step's result came so long after its input."""
        self._count += 1
        self._slow += lag_ns > self._slow_ns
        self._late += lag_ns > self._late_ns

    def look(self, streams: int, slots: int, now: Ns, *, explained: bool = False) -> None:
        """There are so many streams now, and so many slots. `explained`: that they are late is no
        wonder, as long as steps take."""
        if self._begun_at is None:
            self._begun_at = now
        windows = (now - self._begun_at) // WINDOW_NS
        if not windows:
            return
        self._begun_at = now
        enough = max(2, ceil(RATE * self._count))
        if self._slow >= enough and explained:
            self._good = 0
        elif self._late >= enough:
            self._good = 0
            fewer = max(1, int(FEWER * streams))
            self.limit = fewer if self.limit is None else min(self.limit, fewer)
        elif self._slow >= enough:
            self._good = 0
        elif self.limit is not None:
            # Windows without a step have nobody who is late.
            self._rise(windows, slots)
        self._count = self._late = self._slow = 0

    def _rise(self, windows: int, slots: int) -> None:
        assert self.limit is not None
        for _ in range(min(windows, slots)):
            self._good += 1
            if self._good > GOOD_WINDOWS:
                self.limit += max(1, int(MORE * self.limit))
            if self.limit >= slots:
                self.limit = None
                self._good = 0
                return
