"""By when a step should be over, where models take turns on a device."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streamgate.core.ids import Ns

SEQUENCE_BUDGET_NS: Final = 100_000_000
"""How soon a step of a sequence is wanted whose model has neither a pace nor a deadline."""

STATELESS_BUDGET_NS: Final = 1_000_000_000
"""The same for a request outside of sequences that has no timeout."""


@dataclass(frozen=True, slots=True)
class Urgency:
    """A model's rule: its results are wanted `budget_ns` after their requests' arrival, and each
    sequence is expected to have a step every `interval_ns` (0: nobody knows).

    `of_sequences` False: what is late already counts anew from now on, else a crowd of requests
    which all are late would come before every stream. Sequences that are late should catch up.
    """

    budget_ns: int
    of_sequences: bool
    interval_ns: int = 0

    @classmethod
    def of(cls, deadline_ns: int, pace_ns: int, *, of_sequences: bool) -> "Urgency":
        """From what a model declares; 0 for what it does not. Who declares a deadline and no pace
        is taken to have a step so often."""
        if not of_sequences:
            return cls(deadline_ns or STATELESS_BUDGET_NS, of_sequences)
        budget_ns = deadline_ns or pace_ns or SEQUENCE_BUDGET_NS
        return cls(budget_ns, of_sequences, pace_ns or deadline_ns)

    def deadline_at(self, requests: Iterable[tuple[int, int]], now: Ns) -> Ns:
        """The deadline of a step of these requests, each by its arrival and its timeout (0 for
        none): that of the most urgent."""
        return Ns(min((self._of_one(*each, now) for each in requests), default=now))

    def _of_one(self, arrived_at: int, timeout_ns: int, now: Ns) -> int:
        budget_ns = min(timeout_ns, self.budget_ns) if timeout_ns else self.budget_ns
        if not self.of_sequences and arrived_at + budget_ns < now:
            return now + budget_ns
        return arrived_at + budget_ns
