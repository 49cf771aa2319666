from streamgate.core.slots import SlotPool


def test_slots_are_taken_by_number_and_then_by_instance() -> None:
    """Facts 4.2: two instances of two slots are taken A0, B0, A1, B1."""
    pool = SlotPool(2, 2)
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
    pool = SlotPool(1, 3)
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
