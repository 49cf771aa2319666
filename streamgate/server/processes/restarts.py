"""When a process that ended is started again."""

from dataclasses import dataclass
from typing import Final

DELAYS_SECONDS: Final = (0.0, 0.1, 0.5, 2.0, 5.0, 10.0)
"""How long the first restarts wait; all further ones as long as the last."""

STEADY_SECONDS: Final = 60.0
"""A process that has been ready for so long begins anew."""


@dataclass(slots=True)
class Restarts:
    """Counts the restarts of one process. `count` are all of them, `row` those in short order."""

    count: int = 0
    row: int = 0

    def next_delay(self, ready_seconds: float) -> float:
        """It has ended, after it was ready for so long: seconds until it is started again."""
        if ready_seconds >= STEADY_SECONDS:
            self.row = 0
        delay = DELAYS_SECONDS[min(self.row, len(DELAYS_SECONDS) - 1)]
        self.row += 1
        self.count += 1
        return delay
