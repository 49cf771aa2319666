"""How many real-time streams an instance can serve. `docs/admission.md` derives it.

Knows neither sequences nor requests: how many streams an instance has, it is told.
"""

from collections.abc import Callable
from math import sqrt
from typing import Final, final

from streamgate.core.host_lag import HostLag
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
        self._pace_ns = pace_ns
        self._budget_ns = pace_ns * USE - delay_ns
        self._max_rows = max_rows
        self._slots = slots
        self._times: dict[InstanceIndex, StepTimes] = {}
        self._lags: dict[InstanceIndex, HostLag] = {}

    def note(self, instance: InstanceIndex, rows: int, duration_ns: Ns) -> None:
        """A step of so many rows kept the instance busy for so long."""
        times = self._times.get(instance)
        if times is None:
            times = self._times[instance] = StepTimes()
        times.note(rows, duration_ns)

    def note_lag(self, instance: InstanceIndex, lag_ns: int) -> None:
        """A step's result came so long after its input."""
        lag = self._lags.get(instance)
        if lag is None:
            lag = self._lags[instance] = HostLag(self._pace_ns)
        lag.note(lag_ns)

    def look(self, streams: Callable[[InstanceIndex], int], now: Ns) -> None:
        """Each instance has so many streams now."""
        for instance, lag in self._lags.items():
            count = streams(instance)
            times = self._times.get(instance)
            explained = times is not None and times.is_known and not self._fits(times, count)
            lag.look(count, self._slots, now, explained=explained)

    def forget(self, instance: InstanceIndex) -> None:
        """The instance is another one now, or none."""
        self._times.pop(instance, None)
        self._lags.pop(instance, None)

    def limit(self, instance: InstanceIndex) -> int:
        """How many streams the instance can serve: at least one, at most its slots."""
        lag = self._lags.get(instance)
        if lag is not None and lag.limit is not None:
            return min(lag.limit, self._by_times(instance))
        return self._by_times(instance)

    def _by_times(self, instance: InstanceIndex) -> int:
        """The same by what its steps take."""
        times = self._times.get(instance)
        if times is None or not times.is_known:
            return self._slots
        low, high = 1, self._slots
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(times, middle):
                low = middle
            else:
                high = middle - 1
        return low

    def _fits(self, times: StepTimes, streams: int) -> bool:
        """Whether so many streams have all their results in time, by what steps take."""
        return longest_wait(times, max(1, streams), self._max_rows) <= self._budget_ns


def longest_wait(times: StepTimes, streams: int, max_rows: int) -> float:
    """From a step's arrival to its result, in nanoseconds, at the worst moment: the instance has
    just begun a step of somebody else's, and all others come right before it."""
    steps = 1 if streams == 1 else 2 + (streams - 2) // max_rows
    return (
        times.fixed_ns * steps
        + times.per_row_ns * streams
        + DEVIATIONS * times.deviation_ns * sqrt(steps)
    )
