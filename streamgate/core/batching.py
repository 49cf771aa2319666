"""How many requests from the front of a queue make a step. Knows no queue and no instance.

A step is always a prefix of its queue. `Prefix` grows with the queue, one request at a time, so
that waiting for company costs nothing for each arrival but its own look.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import final

from streamgate.core.ids import Ns


@dataclass(frozen=True, slots=True)
class BatchRules:
    """What may share a step, and what is worth waiting for.

    `max_rows` 0 means that each request runs alone, however many rows it has.
    """

    max_rows: int = 0
    preferred_sizes: tuple[int, ...] = ()
    max_delay_ns: int = 0


@final
class Prefix:
    """The requests from a queue's front that may share the next step.

    Triton 2.51: a request that does not fit, or whose signature differs from the first one's,
    closes the step; one that waited for `max_delay_ns` takes along everything there is; until
    then the largest prefix of a preferred size runs as soon as there is one.
    """

    __slots__ = (
        "_closed",
        "_delay_ns",
        "_largest",
        "_max_rows",
        "_preferred",
        "_preferred_count",
        "_rows",
        "_signature",
        "count",
        "oldest_at",
    )

    def __init__(self, rules: BatchRules) -> None:
        self._max_rows = rules.max_rows
        self._delay_ns = rules.max_delay_ns if rules.max_rows > 0 else 0
        self._preferred = frozenset(rules.preferred_sizes)
        self._largest = max(rules.preferred_sizes, default=rules.max_rows)
        self.clear()

    def clear(self) -> None:
        """Begin anew with an empty prefix."""
        self.count = 0
        self.oldest_at = Ns(0)
        self._rows = 0
        self._signature: Hashable = None
        self._preferred_count = 0
        self._closed = False

    def extend(self, rows: int, signature: Hashable, since: Ns) -> bool:
        """Take in the next request of the queue, which waits `since` then.

        False when it stays out; the prefix is closed then and further requests are ignored.
        """
        if self._closed:
            return False
        if self.count == 0:
            self._signature = signature
            self.oldest_at = since
        elif self._rows + rows > self._max_rows or signature != self._signature:
            self._closed = True
            return False
        elif since < self.oldest_at:
            self.oldest_at = since
        self.count += 1
        self._rows += rows
        if self._rows in self._preferred:
            self._preferred_count = self.count
        if self._rows >= self._max_rows:
            self._closed = True
        return True

    def take(self, now: Ns) -> int:
        """How many requests to run now; 0 to wait for more, until `due_at`."""
        waited = self._delay_ns > 0 and now - self.oldest_at >= self._delay_ns
        if self._preferred_count and not waited:
            return self._preferred_count
        if waited or self._closed or self._delay_ns == 0 or self._rows >= self._largest:
            return self.count
        return 0

    def due_at(self) -> Ns:
        """When a prefix that `take` lets wait is to run at the latest."""
        return Ns(self.oldest_at + self._delay_ns)
