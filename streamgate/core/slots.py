"""Slots and who holds them. Knows nothing of queues, time or requests."""

from collections import Counter
from collections.abc import Callable
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
    Free slots of an instance that is shut are not handed out, nor are those of one that has no
    more room: `limit` says of how many slots it may have tenants.
    """

    __slots__ = ("_free", "_held", "_limit", "_shut", "_slots", "_slots_each", "taken")

    def __init__(self, slots: int, limit: Callable[[InstanceIndex], int] | None = None) -> None:
        self._slots_each = slots
        self._limit = limit
        self._held: dict[InstanceIndex, int] = {}
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

    def held(self, instance: InstanceIndex) -> int:
        """How many slots of an instance have tenants."""
        return self._held.get(instance, 0)

    @property
    def free(self) -> int:
        """How many slots could be handed out."""
        if self._limit is None:
            return len(self._free)
        rooms = self._rooms()
        free = Counter(instance for _, instance in self._free)
        return sum(min(count, rooms[InstanceIndex(each)]) for each, count in free.items())

    @property
    def is_crowded(self) -> bool:
        """Whether it is for want of room that no slot can be handed out."""
        if self._limit is None or not self.open or self.free:
            return False
        if self._free:
            return True
        each = self._slots_each
        return all(self._limit(index) < each for index in self._held if index not in self._shut)

    def take(self) -> Slot | None:
        """The next free slot, at its new generation; None when there is none."""
        if not self._free:
            return None
        if self._limit is None or self._has_room(self._free[0]):
            key = heappop(self._free)
        else:
            key = min(filter(self._has_room, self._free), default=(-1, -1))
            if key[0] < 0:
                return None
            self._free.remove(key)
            heapify(self._free)
        slot = self._slots[key]
        self.taken += 1
        self._held[slot.instance] += 1
        slot.renew()
        return slot

    def release(self, slot: Slot) -> None:
        """Give a slot back."""
        self.taken -= 1
        self._held[slot.instance] -= 1
        shut = self._shut.get(slot.instance)
        if shut is None:
            heappush(self._free, (slot.index, slot.instance))
        else:
            shut.append(slot)

    def add(self, instance: InstanceIndex) -> None:
        """A new instance. One that has gone never comes back: its generations would, too."""
        self._held[instance] = 0
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
        del self._held[instance]

    def _has_room(self, key: tuple[int, int]) -> bool:
        assert self._limit is not None
        instance = InstanceIndex(key[1])
        return self._held[instance] < self._limit(instance)

    def _rooms(self) -> dict[InstanceIndex, int]:
        """For how many more tenants each instance has room that is not shut."""
        assert self._limit is not None
        return {
            instance: max(0, self._limit(instance) - held)
            for instance, held in self._held.items()
            if instance not in self._shut
        }
