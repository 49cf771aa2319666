import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.core.heap import LazyHeap, Place


def drain(heap: LazyHeap[str]) -> list[str]:
    return list(iter(heap.pop, None))


def test_lowest_key_first_and_equal_keys_in_order() -> None:
    heap: LazyHeap[str] = LazyHeap()
    for key, item in ((3, "c"), (1, "a"), (3, "d"), (2, "b")):
        heap.push(key, item)
    assert heap.first_key() == 1
    assert len(heap) == 4
    assert drain(heap) == ["a", "b", "c", "d"]
    assert len(heap) == 0


def test_empty_heap_has_nothing() -> None:
    heap: LazyHeap[str] = LazyHeap()
    assert heap.first_key() is None
    assert heap.pop() is None


def test_discarded_item_never_shows() -> None:
    heap: LazyHeap[str] = LazyHeap()
    first = heap.push(1, "a")
    heap.push(2, "b")
    heap.discard(first)
    assert len(heap) == 1
    assert heap.first_key() == 2
    assert drain(heap) == ["b"]


def test_discarding_twice_or_after_pop_changes_nothing() -> None:
    heap: LazyHeap[str] = LazyHeap()
    place = heap.push(1, "a")
    heap.push(2, "b")
    assert heap.pop() == "a"
    heap.discard(place)
    heap.discard(place)
    assert len(heap) == 1


@pytest.mark.parametrize("kept", [0, 10])
def test_empty_places_do_not_pile_up(kept: int) -> None:
    heap: LazyHeap[str] = LazyHeap()
    for _ in range(kept):
        heap.push(0, "kept")
    for key in range(10_000):
        heap.discard(heap.push(key, "gone"))
    assert len(heap._places) <= 2 * kept + 65
    assert drain(heap) == ["kept"] * kept


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans())))
def test_what_is_left_comes_out_sorted(pushes: list[tuple[int, bool]]) -> None:
    heap: LazyHeap[int] = LazyHeap()
    places: list[tuple[Place[int], bool]] = [
        (heap.push(key, number), stays) for number, (key, stays) in enumerate(pushes)
    ]
    for place, stays in places:
        if not stays:
            heap.discard(place)
    left = [(key, number) for number, (key, stays) in enumerate(pushes) if stays]
    assert list(iter(heap.pop, None)) == [number for _, number in sorted(left)]
