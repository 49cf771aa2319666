"""The blocks of an arena never overlap, and none is ever lost."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamgate.link.blocks import PAGE_BYTES, Blocks

PAGES = 24


class BlocksMachine(RuleBasedStateMachine):
    """Against a bitmap of pages."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = Blocks(PAGES * PAGE_BYTES + 100)
        self.pages = [False] * PAGES
        self.taken: dict[int, int] = {}
        self.touched = 0

    def lowest_hole(self, pages: int) -> int | None:
        for begin in range(PAGES - pages + 1):
            if not any(self.pages[begin : begin + pages]):
                return begin * PAGE_BYTES
        return None

    @rule(size=st.integers(1, (PAGES + 1) * PAGE_BYTES))
    def take(self, size: int) -> None:
        pages = -(-size // PAGE_BYTES)
        expected = self.lowest_hole(pages)
        begin = self.blocks.take(size)
        assert begin == expected
        if begin is not None:
            first = begin // PAGE_BYTES
            self.pages[first : first + pages] = [True] * pages
            self.taken[begin] = pages
            self.touched = max(self.touched, begin + pages * PAGE_BYTES)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        begin = data.draw(st.sampled_from(sorted(self.taken)))
        self.blocks.give_back(begin)
        first, pages = begin // PAGE_BYTES, self.taken.pop(begin)
        self.pages[first : first + pages] = [False] * pages

    @rule(begin=st.integers(-PAGE_BYTES, (PAGES + 1) * PAGE_BYTES))
    def give_back_what_is_none(self, begin: int) -> None:
        if begin not in self.taken:
            with pytest.raises(KeyError):
                self.blocks.give_back(begin)

    @rule()
    def forget_high_water(self) -> None:
        self.blocks.forget_high_water()
        pages = [place for place, is_taken in enumerate(self.pages, 1) if is_taken]
        self.touched = max(pages, default=0) * PAGE_BYTES

    @invariant()
    def all_is_counted(self) -> None:
        assert len(self.blocks) == len(self.taken)
        assert self.blocks.taken_bytes == sum(self.pages) * PAGE_BYTES
        assert self.blocks.high_water == self.touched

    def teardown(self) -> None:
        for begin in self.taken:
            self.blocks.give_back(begin)
        assert self.blocks.take(PAGES * PAGE_BYTES) == 0


BlocksMachine.TestCase.settings = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestBlocks = BlocksMachine.TestCase


def test_an_arena_in_many_pieces_is_looked_through_in_part_only() -> None:
    """Its lowest holes and the highest: what lies between may not be found, and is not lost."""
    blocks = Blocks(201 * PAGE_BYTES)
    begins = [blocks.take(1) for _ in range(200)]
    for begin in begins[::2]:
        assert begin is not None
        blocks.give_back(begin)
    two = begins[101]
    assert two is not None
    blocks.give_back(two)
    assert blocks.take(PAGE_BYTES) == 0
    assert blocks.take(2 * PAGE_BYTES) is None
    for begin in begins[1:100:2]:
        assert begin is not None
        blocks.give_back(begin)
    assert blocks.take(2 * PAGE_BYTES) == PAGE_BYTES


def test_what_is_smaller_than_a_page_is_no_arena() -> None:
    blocks = Blocks(PAGE_BYTES - 1)
    assert blocks.take(1) is None
