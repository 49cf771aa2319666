"""Lines: nobody overtakes, and whoever leaves holds up nobody."""

from hypothesis import given
from hypothesis import strategies as st

from streamgate.core.line import Line


def test_those_behind_wait_for_the_first() -> None:
    line: Line[str] = Line()
    for name in "abc":
        line.join(name)
    assert line.ready("b") == []
    assert line.ready("a") == ["a", "b"]
    assert "b" not in line
    assert line.ready("c") == ["c"]
    assert len(line) == 0


def test_the_first_leaves() -> None:
    line: Line[str] = Line()
    for name in "abc":
        line.join(name)
    assert line.ready("b") == []
    assert line.leave("c") == []
    assert line.leave("a") == ["b"]


def test_leaving_after_going_is_nothing() -> None:
    line: Line[str] = Line()
    line.join("a")
    assert line.ready("a") == ["a"]
    assert line.leave("a") == []
    assert line.leave("stranger") == []


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_all_go_in_order_but_those_that_left(order: list[int], leavers: set[int]) -> None:
    line: Line[int] = Line()
    for item in range(12):
        line.join(item)
    gone = []
    for item in order:
        gone += line.leave(item) if item in leavers else line.ready(item)
    assert gone == [item for item in range(12) if item not in leavers]
    assert len(line) == 0
