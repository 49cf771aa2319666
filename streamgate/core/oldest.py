"""The oldest strategy: compact rows, at most one of each sequence, in the order of their turns.

Knows one instance, no slots' places and no requests' contents.
"""

from collections import OrderedDict
from collections.abc import Hashable
from itertools import islice
from typing import final

from streamgate.core.batching import BatchRules
from streamgate.core.commands import Row
from streamgate.core.ids import Ns
from streamgate.core.sequence import Sequence
from streamgate.core.slots import Slot


@final
class OldestLineup:
    """Triton 2.51: a sequence's next request queues for the dynamic batcher when the one before
    has come back, so that sequences take turns whatever each has sent ahead, and the delay counts
    from there.

    `_alike` counts the sequences at the front whose requests agree with the first one's; 0 when
    that must be counted.
    """

    def __init__(self, rules: BatchRules) -> None:
        self._rules = rules
        self._ready: OrderedDict[Sequence, Ns] = OrderedDict()
        self._alike = 0
        self._signature: Hashable = None

    def add(self, sequence: Sequence, now: Ns) -> None:
        ready = self._ready
        signature = sequence.queue[0].event.signature
        if not ready:
            self._signature = signature
            self._alike = 1
        elif self._alike == len(ready) and signature == self._signature:
            self._alike += 1
        ready[sequence] = now

    def remove(self, sequence: Sequence) -> None:
        del self._ready[sequence]
        self._alike = 0

    def peek(self, now: Ns) -> list[Sequence]:
        return list(islice(self._ready, self._decide(now)))

    def choose(self, now: Ns) -> list[Sequence]:
        chosen = self._decide(now)
        return self._take(chosen) if chosen else []

    def _decide(self, now: Ns) -> int:
        """How many are to run now, from the front."""
        ready = self._ready
        if not ready:
            return 0
        if self._alike == 0:
            self._count_alike()
        rules = self._rules
        count = min(self._alike, max(1, rules.full_rows))
        return rules.decide(
            count,
            rules.preferred_within(count),
            count < len(ready) or count >= rules.full_rows,
            next(iter(ready.values())),
            now,
        )

    def due_at(self) -> Ns | None:
        for since in self._ready.values():
            return Ns(since + self._rules.delay_ns)
        return None

    def renew(self, slot: Slot) -> None:
        """Compact rows have no gaps to fill, so nothing here depends on generations."""

    def arrange(self, rows: list[Row]) -> tuple[Row, ...]:
        return tuple(rows)

    def _take(self, count: int) -> list[Sequence]:
        ready = self._ready
        if count == len(ready):
            chosen = list(ready)
            ready.clear()
        else:
            chosen = list(islice(ready, count))
            for sequence in chosen:
                del ready[sequence]
        self._alike -= count
        return chosen

    def _count_alike(self) -> None:
        signatures = (sequence.queue[0].event.signature for sequence in self._ready)
        self._signature = next(signatures)
        self._alike = 1
        for signature in signatures:
            if signature != self._signature:
                break
            self._alike += 1
