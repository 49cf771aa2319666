"""Slots and who holds them. Knows nothing of queues, time or requests."""

from heapq import heapify, heappop, heappush
from typing import final

from streamgate.core.ids import Generation, InstanceIndex, SlotIndex


@final
class Slot:
    """One row of one instance's arena. (instance, index, generation) names one tenancy."""

    __slots__ = ("generation", "index", "instance")

    def __init__(self, instance: InstanceIndex, index: SlotIndex) -> None:
        self.instance = instance
        self.index = index
        self.generation = Generation(0)

    def renew(self) -> None:
        """Begin the slot's next tenancy."""
        self.generation = Generation(self.generation + 1)


@final
class SlotPool:
    """The slots of all instances of a model.

    The free slot with the lowest number goes first, among equals that of the lowest instance:
    sequences spread over the instances, and each instance's batches stay dense (Triton 2.51).
    """

    __slots__ = ("_free", "_slots", "size")

    def __init__(self, instances: int, slots: int) -> None:
        self._slots = {
            (index, instance): Slot(InstanceIndex(instance), SlotIndex(index))
            for index in range(slots)
            for instance in range(instances)
        }
        self._free = list(self._slots)
        heapify(self._free)
        self.size = len(self._free)

    @property
    def taken(self) -> int:
        """How many slots are held."""
        return self.size - len(self._free)

    @property
    def free(self) -> int:
        """How many slots are not held."""
        return len(self._free)

    def take(self) -> Slot | None:
        """The next free slot, at its new generation; None when all are held."""
        if not self._free:
            return None
        slot = self._slots[heappop(self._free)]
        slot.renew()
        return slot

    def release(self, slot: Slot) -> None:
        """Give a slot back."""
        heappush(self._free, (slot.index, slot.instance))
