import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.model.tensor import Array
from streamgate.speech.chunking import Chunking, ChunkState, Window, joined
from streamgate.speech.states import pack, unpack

chunkings = st.builds(
    Chunking, step=st.integers(1, 6), right=st.integers(0, 5), left=st.integers(0, 4)
)
cuts = st.lists(st.integers(0, 9), max_size=12)


def windows_of(chunking: Chunking, sizes: list[int]) -> tuple[Array, list[Window]]:
    rows = np.arange(1, sum(sizes) + 1, dtype=np.float32)
    state, windows, at = chunking.start(), [], 0
    for size in sizes:
        state, found = chunking.feed(state, rows[at : at + size])
        state = unpack(ChunkState, pack(state))
        windows += found
        at += size
    return rows, windows + chunking.finish(state)[1]


@given(chunkings, cuts)
def test_each_row_stands_in_one_step_whatever_the_cuts(
    chunking: Chunking, sizes: list[int]
) -> None:
    rows, windows = windows_of(chunking, sizes)
    np.testing.assert_array_equal(joined(windows, chunking), rows)
    assert [each.start for each in windows] == [n * chunking.step for n in range(len(windows))]
    padded = np.concatenate((np.zeros(chunking.left), rows, np.zeros(chunking.size)))
    for each in windows:
        np.testing.assert_array_equal(each.rows, padded[each.start : each.start + chunking.size])


@given(chunkings, cuts)
def test_windows_come_as_soon_as_their_right_context(chunking: Chunking, sizes: list[int]) -> None:
    state, count, given_rows = chunking.start(), 0, 0
    for size in sizes:
        state, found = chunking.feed(state, np.zeros(size, np.float32))
        count, given_rows = count + len(found), given_rows + size
        assert count == max(0, (given_rows - chunking.right) // chunking.step)


def test_the_last_window_says_how_much_of_it_is_real() -> None:
    chunking = Chunking(step=4, right=2, fill=-1.0)
    _, windows = windows_of(chunking, [5])
    assert [each.valid for each in windows] == [4, 1]
    assert windows[0].rows.tolist() == [1, 2, 3, 4, 5, -1]
    assert windows[1].rows.tolist() == [5, -1, -1, -1, -1, -1]


def test_what_is_left_starts_afresh_after_the_end() -> None:
    chunking = Chunking(step=2, left=1)
    state, _ = chunking.feed(chunking.start(), np.ones(3, np.float32))
    state, _ = chunking.finish(state)
    assert state.start == 0
    assert chunking.finish(state)[1] == []


def test_rows_of_another_shape_are_refused() -> None:
    chunking = Chunking(step=2, row_shape=(80,))
    with pytest.raises(ValueError, match=r"expected rows of shape \[80\], found \[40\]"):
        chunking.feed(chunking.start(), np.zeros((3, 40), np.float32))
    with pytest.raises(ValueError, match="step of at least 1"):
        Chunking(step=0)
