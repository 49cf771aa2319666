"""How many requests from the front of a queue make a step. Knows no queue and no instance.

A step is always a prefix of its queue. `Prefix` grows with the queue, one request at a time, so
that waiting for company costs nothing for each arrival but its own look.
"""

from bisect import bisect_right
from collections.abc import Hashable
from typing import final

from streamgate.core.ids import Ns


@final
class BatchRules:
    """What may share a step, and what is worth waiting for.

    `max_rows` 0 means that each request runs alone, however many rows it has, and at once. Several
    requests share a step of at most `full_rows`, the largest preferred size.
    """

    __slots__ = ("_preferred", "delay_ns", "full_rows")

    def __init__(
        self, max_rows: int = 0, preferred_sizes: tuple[int, ...] = (), max_delay_ns: int = 0
    ) -> None:
        self.delay_ns = max_delay_ns if max_rows > 0 else 0
        self._preferred = sorted(preferred_sizes) or [max_rows]
        self.full_rows = min(max_rows, self._preferred[-1])

    def preferred_within(self, rows: int) -> int:
        """The largest preferred size that is not above `rows`; 0 for none."""
        place = bisect_right(self._preferred, rows)
        return self._preferred[place - 1] if place else 0

    def decide(self, count: int, preferred_count: int, closed: bool, since: Ns, now: Ns) -> int:
        """How many requests to run now, 0 to wait for more.

        `count` requests at the queue's front may share a step, and one of them waits `since` then.
        The first `preferred_count` of them, the most there are, make a preferred size. `closed`:
        no other request can join them.

        Triton 2.51: a request that waited for the delay takes along everything there is; until
        then the largest prefix of a preferred size runs as soon as there is one.
        """
        if self.delay_ns == 0:
            return preferred_count or count
        waited = now - since >= self.delay_ns
        if preferred_count and not waited:
            return preferred_count
        return count if waited or closed else 0


@final
class Prefix:
    """The requests from a queue's front that may share the next step.

    A request that does not fit, or whose signature differs from the first one's, closes it.
    """

    __slots__ = ("_closed", "_preferred_count", "_rows", "_rules", "_signature", "_since", "count")

    def __init__(self, rules: BatchRules) -> None:
        self._rules = rules
        self.clear()

    def clear(self) -> None:
        """Begin anew with an empty prefix."""
        self.count = 0
        self._since = Ns(0)
        self._rows = 0
        self._signature: Hashable = None
        self._preferred_count = 0
        self._closed = False

    def extend(self, rows: int, signature: Hashable, since: Ns) -> bool:
        """Take in the next request of the queue, which waits `since` then.

        False when it stays out; the prefix is closed then and further requests are ignored.
        """
        rules = self._rules
        total = self._rows + rows
        if self.count == 0:
            self._signature = signature
            self._since = since
        elif self._closed or total > rules.full_rows or signature != self._signature:
            self._closed = True
            return False
        elif since < self._since:
            self._since = since
        self.count += 1
        self._rows = total
        if rules.preferred_within(total) == total:
            self._preferred_count = self.count
        if total >= rules.full_rows:
            self._closed = True
        return True

    def take(self, now: Ns) -> int:
        """How many requests to run now; 0 to wait for more, until `due_at`."""
        return self._rules.decide(self.count, self._preferred_count, self._closed, self._since, now)

    def due_at(self) -> Ns:
        """When a prefix that `take` lets wait is to run at the latest."""
        return Ns(self._since + self._rules.delay_ns)
