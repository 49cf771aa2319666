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
    """The slots of all instances of a model, so many of each.

    The free slot with the lowest number goes first, among equals that of the lowest instance:
    sequences spread over the instances, and each instance's batches stay dense (Triton 2.51).
    Free slots of an instance that is shut are not handed out.
    """

    __slots__ = ("_free", "_shut", "_slots", "_slots_each", "taken")

    def __init__(self, slots: int) -> None:
        self._slots_each = slots
        self._slots: dict[tuple[int, int], Slot] = {}
        self._free: list[tuple[int, int]] = []
        self._shut: dict[InstanceIndex, list[Slot]] = {}
        self.taken = 0

    @property
    def size(self) -> int:
        """How many slots there are, those of shut instances included."""
        return len(self._slots)

    @property
    def open(self) -> int:
        """How many slots there are on instances that are not shut, free or taken."""
        return self.size - len(self._shut) * self._slots_each

    @property
    def free(self) -> int:
        """How many slots could be handed out."""
        return len(self._free)

    def take(self) -> Slot | None:
        """The next free slot, at its new generation; None when there is none."""
        if not self._free:
            return None
        slot = self._slots[heappop(self._free)]
        self.taken += 1
        slot.renew()
        return slot

    def release(self, slot: Slot) -> None:
        """Give a slot back."""
        self.taken -= 1
        shut = self._shut.get(slot.instance)
        if shut is None:
            heappush(self._free, (slot.index, slot.instance))
        else:
            shut.append(slot)

    def add(self, instance: InstanceIndex) -> None:
        """A new instance. One that has gone never comes back: its generations would, too."""
        for index in range(self._slots_each):
            self._slots[index, instance] = Slot(instance, SlotIndex(index))
            heappush(self._free, (index, instance))

    def shut(self, instance: InstanceIndex) -> None:
        """Hand out none of the instance's slots from now on. Idempotent."""
        if instance in self._shut:
            return
        self._shut[instance] = [self._slots[key] for key in self._free if key[1] == instance]
        self._free = [key for key in self._free if key[1] != instance]
        heapify(self._free)

    def reopen(self, instance: InstanceIndex) -> None:
        """The instance's slots can be had again."""
        for slot in self._shut.pop(instance):
            heappush(self._free, (slot.index, slot.instance))

    def is_vacant(self, instance: InstanceIndex) -> bool:
        """Whether none of a shut instance's slots is held."""
        return len(self._shut[instance]) == self._slots_each

    def remove(self, instance: InstanceIndex) -> None:
        """A shut and vacant instance has gone."""
        for slot in self._shut.pop(instance):
            del self._slots[slot.index, instance]
