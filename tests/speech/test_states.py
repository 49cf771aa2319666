from dataclasses import dataclass

import numpy as np
import pytest

from streamgate.model.tensor import Array
from streamgate.speech.states import pack, unpack


@dataclass(frozen=True)
class Inner:
    name: str
    numbers: Array


@dataclass(frozen=True)
class Outer:
    count: int
    share: float
    on: bool
    maybe: Inner | None
    parts: tuple[Inner, ...]
    pair: tuple[int, str]
    table: dict[str, list[float]]


def test_a_state_comes_back_as_it_was() -> None:
    inner = Inner("a\u00e9", np.arange(6, dtype=np.int64).reshape(2, 3))
    other = Inner("", np.array([[np.nan, -0.0]], np.float32))
    state = Outer(-3, 0.1, True, None, (inner, other), (1, "b"), {"k": [1.0, float("-inf")]})
    found = unpack(Outer, pack(state))
    assert (found.count, found.share, found.on, found.maybe) == (-3, 0.1, True, None)
    assert (found.pair, found.table) == ((1, "b"), {"k": [1.0, float("-inf")]})
    for kept, given in zip(found.parts, state.parts, strict=True):
        assert kept.name == given.name
        assert kept.numbers.dtype == given.numbers.dtype
        np.testing.assert_array_equal(kept.numbers, given.numbers)
    assert isinstance(unpack(Outer, pack(Outer(1, 2, False, inner, (), (0, ""), {}))).share, float)


def test_arrays_of_a_state_can_be_written_to() -> None:
    found = unpack(Inner, pack(Inner("", np.zeros(3, ">f4"))))
    found.numbers[0] = 1
    assert found.numbers.dtype == np.dtype("=f4")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "found bytes that `pack` has not made"),
        (b"SGS1\x02\x00\x00\x00{}", "expected the fields"),
        (pack(Inner("x", np.zeros(4)))[:-8], "no array of <f8"),
        (pack(Inner("x", np.zeros(4))) + b"x", "1 bytes too many"),
        (pack({"name": 3, "numbers": np.zeros(1)}), "expected a str, found 3"),
        (b"SGS1\x00\x00\x10\x00" + b"[" * 2**20, "recursion"),
    ],
)
def test_other_bytes_are_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        unpack(Inner, data)


def test_what_no_state_may_hold() -> None:
    with pytest.raises(TypeError, match="can't hold a set"):
        pack({1, 2})
    with pytest.raises(TypeError, match="array of numbers"):
        pack(np.array([b"x"], object))
