import pytest

from streamgate.core.ids import InstanceIndex
from streamgate.core.slots import SlotPool


def pool_of(instances: int, slots: int) -> SlotPool:
    pool = SlotPool(slots)
    for index in range(instances):
        pool.add(InstanceIndex(index))
    return pool


def test_slots_are_taken_by_number_and_then_by_instance() -> None:
    """Facts 4.2: two instances of two slots are taken A0, B0, A1, B1."""
    pool = pool_of(2, 2)
    taken = [pool.take() for _ in range(5)]
    assert [(slot.instance, slot.index) for slot in taken if slot] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
    ]
    assert taken[4] is None
    assert (pool.size, pool.taken, pool.free) == (4, 4, 0)


def test_lowest_free_slot_is_taken_again_at_the_next_generation() -> None:
    pool = pool_of(1, 3)
    slots = [pool.take() for _ in range(3)]
    assert [slot.generation for slot in slots if slot] == [1, 1, 1]
    for slot in (slots[2], slots[1]):
        assert slot is not None
        pool.release(slot)
    assert (pool.taken, pool.free) == (1, 2)
    again = pool.take()
    assert again is slots[1]
    assert again is not None
    assert again.generation == 2


def test_free_slots_of_a_shut_instance_are_not_handed_out() -> None:
    pool = pool_of(2, 2)
    held = pool.take()
    assert held is not None
    assert held.instance == 0
    pool.shut(InstanceIndex(0))
    assert not pool.is_vacant(InstanceIndex(0))
    assert [slot.instance for slot in (pool.take(), pool.take()) if slot] == [1, 1]
    assert pool.take() is None
    assert (pool.size, pool.taken, pool.free) == (4, 3, 0)
    pool.release(held)
    assert pool.is_vacant(InstanceIndex(0))
    assert pool.take() is None
    pool.reopen(InstanceIndex(0))
    assert pool.take() is held
    assert held.generation == 2


def test_an_instance_goes_with_its_slots() -> None:
    pool = pool_of(2, 2)
    pool.shut(InstanceIndex(1))
    pool.remove(InstanceIndex(1))
    assert (pool.size, pool.taken, pool.free) == (2, 0, 2)
    with pytest.raises(KeyError):
        pool.is_vacant(InstanceIndex(1))
