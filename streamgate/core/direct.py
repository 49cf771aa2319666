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
        self._slots = slots
        self._utilization = strategy.minimum_slot_utilization
        self._delay_ns = strategy.max_delay_ns if self._utilization > 0 else 0
        self._oldest_at: Ns | None = None
        """When the oldest ready request arrived; None when that must be looked for."""

    def add(self, sequence: Sequence, now: Ns) -> None:
        assert sequence.slot is not None
        self._ready[sequence.slot.index] = sequence
        if self._delay_ns > 0:
            arrived_at = sequence.queue[0].arrived_at
            if len(self._ready) == 1:
                self._oldest_at = arrived_at
            elif self._oldest_at is not None:
                self._oldest_at = min(self._oldest_at, arrived_at)

    def remove(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        del self._ready[sequence.slot.index]
        self._oldest_at = None

    def peek(self, now: Ns) -> list[Sequence]:
        ready = self._ready
        if not ready or (self._delay_ns > 0 and self._waits(now)):
            return []
        signature = ready[min(ready)].queue[0].event.signature
        return [each for each in ready.values() if each.queue[0].event.signature == signature]

    def choose(self, now: Ns) -> list[Sequence]:
        chosen = self.peek(now)
        if not chosen:
            return []
        self._oldest_at = None
        ready = self._ready
        if len(chosen) == len(ready):
            ready.clear()
        else:
            for sequence in chosen:
                assert sequence.slot is not None
                del ready[sequence.slot.index]
        return chosen

    def due_at(self) -> Ns | None:
        return Ns(self._oldest() + self._delay_ns) if self._ready else None

    def renew(self, slot: Slot) -> None:
        self._nulls[slot.index] = Row(NO_REQUEST, slot.index, slot.generation)

    def arrange(self, rows: list[Row]) -> tuple[Row, ...]:
        last = max([row.slot for row in rows])
        placed = self._nulls[: last + 1]
        for row in rows:
            placed[row.slot] = row
        return tuple(placed)

    def _waits(self, now: Ns) -> bool:
        """Whether too few slots are ready, and none of them for too long."""
        return len(self._ready) / self._slots < self._utilization and (
            now - self._oldest() < self._delay_ns
        )

    def _oldest(self) -> Ns:
        """When the oldest ready request arrived."""
        if self._oldest_at is None:
            self._oldest_at = min(each.queue[0].arrived_at for each in self._ready.values())
        return self._oldest_at
