"""An instance on a device that it shares: what it asks for, how long its steps take, and when its
streams are expected to have the next ones."""

from typing import Final, final

from streamgate.core.ids import Ns
from streamgate.core.step_times import OUTLIER, StepTimes
from streamgate.core.urgency import Urgency
from streamgate.model.request import SequenceKey

DEVIATIONS: Final = 1.5
"""How much longer than expected a step is planned with, in mean deviations."""

LARGE_DEVIATIONS: Final = 4.0
"""The same for one that may as well be smaller."""

MEMORY: Final = 32
"""Over so many steps is learned by how much they differ."""

LATE: Final = 0.25
"""A step that does not come within this share of its interval after it was expected is expected no
more, until its sequence has another."""


CREEP: Final = 8
"""A step that is late moves the next one by this part of its delay."""


@final
class Claim:
    """A step in line: of `least` rows to `most`. `number` tells who came first."""

    __slots__ = ("deadline_at", "least", "most", "number", "since")

    def __init__(self, number: int, least: int, most: int, deadline_at: Ns, since: Ns) -> None:
        self.number = number
        self.least = least
        self.most = most
        self.deadline_at = deadline_at
        self.since = since


@final
class Party:
    """One instance. It is in line (`claim`), or on the device since `started_at` with so many
    `rows`, or neither; `stirs`: it is about to ask."""

    __slots__ = (
        "_deviation_ns",
        "_expected",
        "_noted",
        "_times",
        "claim",
        "rows",
        "started_at",
        "stirs",
        "urgency",
    )

    def __init__(self, urgency: Urgency) -> None:
        self.urgency = urgency
        self._times = StepTimes()
        self._deviation_ns = 0.0
        self._noted = 0
        self.claim: Claim | None = None
        self.started_at: Ns | None = None
        self.rows = 0
        self.stirs = False
        self._expected: dict[SequenceKey, Ns] = {}

    @property
    def is_stateless(self) -> bool:
        return not self.urgency.of_sequences

    def note(self, rows: int, duration_ns: int) -> None:
        """A step of so many rows took so long."""
        times = self._times
        if times.is_known:
            expected = times.expected(rows)
            deviation_ns = min(abs(duration_ns - expected), OUTLIER * expected)
            self._noted = min(self._noted + 1, MEMORY)
            self._deviation_ns += (deviation_ns - self._deviation_ns) / self._noted
        times.note(rows, duration_ns)

    @property
    def is_known(self) -> bool:
        """Whether enough steps were seen to say how long one takes."""
        return self._times.is_known

    def length(self, rows: int, deviations: float = DEVIATIONS) -> int:
        """How long a step of so many rows is planned to take; 0 while nobody knows."""
        if not self._times.is_known:
            return 0
        return round(self._times.expected(rows) + deviations * self._deviation_ns)

    def expect_next(self, sequence: SequenceKey, now: Ns) -> None:
        """A sequence's request came now, so that the next is expected: by the earliest that came of
        late, as one that is late moves it little."""
        interval_ns = self.urgency.interval_ns
        if interval_ns:
            since = self._expected.get(sequence, now)
            late_ns = now - since
            if 0 < late_ns <= self.late_ns:
                since = Ns(since + late_ns // CREEP)
            else:
                since = now
            self._expected[sequence] = Ns(since + interval_ns)

    def expected(self, now: Ns) -> list[Ns]:
        """When sequences are expected to have a step, the earliest first."""
        if not self._expected:
            return []
        late_ns = self.late_ns
        for sequence in [each for each, at in self._expected.items() if at + late_ns <= now]:
            del self._expected[sequence]
        return sorted(self._expected.values())

    @property
    def late_ns(self) -> int:
        """How late a step may come and still be expected."""
        return int(self.urgency.interval_ns * LATE)
