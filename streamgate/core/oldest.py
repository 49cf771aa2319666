"""The oldest strategy: compact rows, at most one of each sequence, in the order of their turns.

Knows one instance, no slots' places and no requests' contents.
"""

from collections import OrderedDict
from typing import final

from streamgate.core.batching import BatchRules, Prefix
from streamgate.core.commands import Row
from streamgate.core.ids import Ns
from streamgate.core.sequence import Sequence
from streamgate.core.slots import Slot


@final
class OldestLineup:
    """Triton 2.51: a sequence's next request queues for the dynamic batcher when the one before
    has come back, so that sequences take turns whatever each has sent ahead, and the delay counts
    from there."""

    def __init__(self, rules: BatchRules) -> None:
        self._ready: OrderedDict[Sequence, Ns] = OrderedDict()
        self._prefix = Prefix(rules)
        self._current = True

    def add(self, sequence: Sequence, now: Ns) -> None:
        self._ready[sequence] = now
        if self._current:
            self._prefix.extend(1, sequence.queue[0].event.signature, now)

    def remove(self, sequence: Sequence) -> None:
        del self._ready[sequence]
        self._current = False

    def choose(self, now: Ns) -> list[Sequence]:
        if not self._ready:
            return []
        if not self._current:
            self._grow()
        count = self._prefix.take(now)
        if count == 0:
            return []
        pop = self._ready.popitem
        chosen = [pop(last=False)[0] for _ in range(count)]
        self._current = False
        return chosen

    def due_at(self) -> Ns | None:
        return self._prefix.due_at() if self._ready else None

    def renew(self, slot: Slot) -> None:
        """Compact rows have no gaps to fill, so nothing here depends on generations."""

    def arrange(self, rows: list[Row]) -> tuple[Row, ...]:
        return tuple(rows)

    def _grow(self) -> None:
        self._prefix.clear()
        self._current = True
        for sequence, since in self._ready.items():
            if not self._prefix.extend(1, sequence.queue[0].event.signature, since):
                break
