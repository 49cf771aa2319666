"""The direct strategy: a row's place is its sequence's slot, with null rows in the gaps.

Models written for it count on fixed places. Knows one instance, no requests' contents.
"""

from typing import final

from streamgate.core.commands import Row
from streamgate.core.ids import NO_GENERATION, NO_REQUEST, Ns, SlotIndex
from streamgate.core.sequence import Sequence
from streamgate.core.slots import Slot
from streamgate.model.config import DirectStrategy


@final
class DirectLineup:
    """Triton 2.51: a step holds everything that is ready and agrees with the lowest ready slot.

    It waits for more only when both `max_delay_ns` and `minimum_slot_utilization` are set: until
    enough slots are ready or the oldest ready request has waited for the delay.
    """

    def __init__(self, strategy: DirectStrategy, slots: int) -> None:
        self._ready: dict[SlotIndex, Sequence] = {}
        self._nulls = [Row(NO_REQUEST, SlotIndex(index), NO_GENERATION) for index in range(slots)]
        waits = strategy.max_delay_ns > 0 and strategy.minimum_slot_utilization > 0
        self._delay_ns = strategy.max_delay_ns if waits else 0
        self._enough = strategy.minimum_slot_utilization * slots if waits else 0.0
        self._oldest_at: Ns | None = None

    def add(self, sequence: Sequence, now: Ns) -> None:
        assert sequence.slot is not None
        self._ready[sequence.slot.index] = sequence
        arrived_at = sequence.queue[0].arrived_at
        if self._oldest_at is None or arrived_at < self._oldest_at:
            self._oldest_at = arrived_at

    def remove(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        del self._ready[sequence.slot.index]
        self._find_oldest()

    def choose(self, now: Ns) -> list[Sequence]:
        ready = self._ready
        if not ready:
            return []
        due_at = self.due_at()
        if due_at is not None and now < due_at:
            return []
        signature = ready[min(ready)].queue[0].event.signature
        chosen = [each for each in ready.values() if each.queue[0].event.signature == signature]
        if len(chosen) == len(ready):
            ready.clear()
            self._oldest_at = None
        else:
            for sequence in chosen:
                assert sequence.slot is not None
                del ready[sequence.slot.index]
            self._find_oldest()
        return chosen

    def due_at(self) -> Ns | None:
        if self._oldest_at is None:
            return None
        if len(self._ready) >= self._enough:
            return self._oldest_at
        return Ns(self._oldest_at + self._delay_ns)

    def renew(self, slot: Slot) -> None:
        self._nulls[slot.index] = Row(NO_REQUEST, slot.index, slot.generation)

    def arrange(self, rows: list[Row]) -> tuple[Row, ...]:
        last = max(row.slot for row in rows)
        placed = self._nulls[: last + 1]
        for row in rows:
            placed[row.slot] = row
        return tuple(placed)

    def _find_oldest(self) -> None:
        waiting = (each.queue[0].arrived_at for each in self._ready.values())
        self._oldest_at = min(waiting, default=None)
