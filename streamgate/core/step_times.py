"""How long an instance's steps take, learned from those that it ran (`docs/admission.md`).

A step of b rows is taken to last `fixed + per_row * b`. That line is fitted to the steps of late,
and to a point of little weight at no rows and no time. While all steps were of one size, it makes
the line go through the origin: batches are of no use until they are seen to be.
"""

from typing import Final, final

MEMORY: Final = 128
"""Steps after which one counts for 1/e of what it did."""

WARM_UP: Final = 3
"""First steps that tell nothing: libraries compile, allocate and tune in them."""

KNOWN_AFTER: Final = 8
"""Steps behind these, until something is known."""

SURPRISE: Final = 1.5
"""So many times more or less than expected is a surprise."""

SURPRISES_MAX: Final = 8
"""So many in a row of one kind are a change: what was learned before is forgotten."""

OUTLIER: Final = 4.0
"""A step counts as at most so many times what was expected."""

_DECAY: Final = 1 - 1 / MEMORY
_ORIGIN: Final = 1.0
_FIT_EVERY: Final = 4


@final
class StepTimes:
    """What is known of one instance's steps. Durations are nanoseconds.

    `deviation_ns` is by how much a step differs from the line, on average.
    """

    __slots__ = (
        "_count",
        "_fitted",
        "_rows",
        "_rows_rows",
        "_rows_time",
        "_surprises",
        "_time",
        "_weight",
        "deviation_ns",
        "fixed_ns",
        "per_row_ns",
    )

    def __init__(self) -> None:
        self._count = 0
        self._surprises = 0
        self._fitted = 0
        self._weight = self._rows = self._rows_rows = self._time = self._rows_time = 0.0
        self.fixed_ns = self.per_row_ns = self.deviation_ns = 0.0

    @property
    def is_known(self) -> bool:
        """Whether enough steps were seen to say anything."""
        return self._count >= WARM_UP + KNOWN_AFTER

    def expected(self, rows: int) -> float:
        """How long a step of so many rows is going to take."""
        return self.fixed_ns + self.per_row_ns * rows

    def note(self, rows: int, duration_ns: int) -> None:
        """A step of so many rows took so long."""
        self._count += 1
        if self._count <= WARM_UP:
            return
        taken: float = duration_ns
        if self._weight:
            expected = self.fixed_ns + self.per_row_ns * rows
            if taken > expected * SURPRISE:
                self._surprises = self._surprises + 1 if self._surprises > 0 else 1
                taken = min(taken, expected * OUTLIER)
            elif taken * SURPRISE < expected:
                self._surprises = self._surprises - 1 if self._surprises < 0 else -1
            else:
                self._surprises = 0
            if -SURPRISES_MAX < self._surprises < SURPRISES_MAX:
                self.deviation_ns += (abs(taken - expected) - self.deviation_ns) / MEMORY
            else:
                self._forget()
                taken = duration_ns
        self._weight = self._weight * _DECAY + 1
        self._rows = self._rows * _DECAY + rows
        self._rows_rows = self._rows_rows * _DECAY + rows * rows
        self._time = self._time * _DECAY + taken
        self._rows_time = self._rows_time * _DECAY + rows * taken
        self._fitted += 1
        if self._fitted % _FIT_EVERY == 0 or self._fitted < KNOWN_AFTER:
            self._fit()

    def _forget(self) -> None:
        self._surprises = 0
        self._fitted = 0
        self._weight = self._rows = self._rows_rows = self._time = self._rows_time = 0.0
        self.fixed_ns = self.per_row_ns = self.deviation_ns = 0.0

    def _fit(self) -> None:
        """The line of least squares, which neither begins below zero nor falls."""
        weight = self._weight + _ORIGIN
        spread = weight * self._rows_rows - self._rows * self._rows
        slope = (weight * self._rows_time - self._rows * self._time) / spread
        if slope <= 0:
            self.per_row_ns = 0.0
            self.fixed_ns = self._time / self._weight
            return
        fixed = (self._time - slope * self._rows) / weight
        if fixed < 0:
            fixed, slope = 0.0, self._rows_time / self._rows_rows
        self.fixed_ns = fixed
        self.per_row_ns = slope
