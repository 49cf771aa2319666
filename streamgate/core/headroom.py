"""How many real-time streams an instance can serve. `docs/admission.md` derives it.

Knows neither sequences nor requests: how many streams an instance has, it is told.
"""

from math import sqrt
from typing import Final, final

from streamgate.core.ids import InstanceIndex, Ns
from streamgate.core.step_times import StepTimes

USE: Final = 0.85
"""The share of a pace that is planned with. The rest is for clients that are not on time."""

DEVIATIONS: Final = 1.5
"""How much longer than expected a step may take, in mean deviations: one in nine takes longer."""


@final
class Headroom:
    """What each instance of a model can serve of streams that have a step every `pace_ns`, and
    want its result before the next one.

    A step has at most `max_rows` rows, and is held back for at most `delay_ns`. An instance of
    which nothing is known can serve as many as it has slots.
    """

    def __init__(self, pace_ns: int, max_rows: int, delay_ns: int, slots: int) -> None:
        assert pace_ns > 0
        assert max_rows > 0
        self._budget_ns = pace_ns * USE - delay_ns
        self._max_rows = max_rows
        self._slots = slots
        self._times: dict[InstanceIndex, StepTimes] = {}

    def note(self, instance: InstanceIndex, rows: int, duration_ns: Ns) -> None:
        """A step of so many rows kept the instance busy for so long."""
        times = self._times.get(instance)
        if times is None:
            times = self._times[instance] = StepTimes()
        times.note(rows, duration_ns)

    def forget(self, instance: InstanceIndex) -> None:
        """The instance is another one now, or none."""
        self._times.pop(instance, None)

    def limit(self, instance: InstanceIndex) -> int:
        """How many streams the instance can serve: at least one, at most its slots."""
        times = self._times.get(instance)
        if times is None or not times.is_known:
            return self._slots
        low, high = 1, self._slots
        while low < high:
            middle = (low + high + 1) // 2
            if longest_wait(times, middle, self._max_rows) <= self._budget_ns:
                low = middle
            else:
                high = middle - 1
        return low


def longest_wait(times: StepTimes, streams: int, max_rows: int) -> float:
    """From a step's arrival to its result, in nanoseconds, at the worst moment: the instance has
    just begun a step of somebody else's, and all others come right before it."""
    steps = 1 if streams == 1 else 2 + (streams - 2) // max_rows
    return (
        times.fixed_ns * steps
        + times.per_row_ns * streams
        + DEVIATIONS * times.deviation_ns * sqrt(steps)
    )
