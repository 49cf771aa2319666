"""When a process that ended is started again.

One that had served is no crash loop, whatever ended it, and whoever waits for it waits for nothing
else: it comes back at once, the first times. One that ends before it was of any use is given time.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

DELAYS_SECONDS: Final = (0.0, 0.1, 0.5, 2.0, 5.0, 10.0)
"""How long the first restarts wait; all further ones as long as the last."""

PROVEN_SECONDS: Final = 10.0
"""A process that has been ready for so long counts as one that has served."""

STEADY_SECONDS: Final = 60.0
"""A process that has been ready for so long begins anew."""

AT_ONCE_MAX: Final = 12
"""So many that had served come back at once within `STEADY_SECONDS`; further ones wait as others
do: what serves a little and dies, again and again, must not take all of the machine."""


@dataclass(slots=True)
class Restarts:
    """Counts the restarts of one process. `count` are all of them, `row` those in short order of
    processes that had not served."""

    count: int = 0
    row: int = 0
    _at_once: deque[float] = field(default_factory=deque)

    def next_delay(self, now: float, ready_seconds: float, *, has_served: bool) -> float:
        """It has ended, after it was ready for so long: seconds until it is started again. Moments
        are in seconds, too. `has_served`: somebody had an answer of it."""
        self.count += 1
        at_once = self._at_once
        while at_once and now - at_once[0] >= STEADY_SECONDS:
            at_once.popleft()
        is_proven = has_served or ready_seconds >= PROVEN_SECONDS
        if is_proven and len(at_once) < AT_ONCE_MAX:
            at_once.append(now)
            self.row = 0
            return 0.0
        if ready_seconds >= STEADY_SECONDS:
            self.row = 0
        delay = DELAYS_SECONDS[min(self.row, len(DELAYS_SECONDS) - 1)]
        self.row += 1
        return delay
