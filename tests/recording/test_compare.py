"""The first difference, named: where, what, and both values."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamgate.errors import Code, Failure
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Tensor
from streamgate.recording.bundle import Bundle, RecordedStep
from streamgate.recording.compare import compare_bundles, compare_results, config_changes
from streamgate.recording.values import Result, StoredTensor
from tests.recording.entries import HEADER, floats, result, step, words


def bundle(*answers: StoredTensor, cut: str = "", reason: str = "client_end") -> Bundle:
    steps = [
        RecordedStep(step(number, floats("IN", number)), [result(number, answer)])
        for number, answer in enumerate(answers)
    ]
    return Bundle(Path("b"), HEADER, steps, "" if cut else reason, cut)


def told(expected: StoredTensor, found: StoredTensor, tolerance: float = 0.0) -> str:
    return str(compare_bundles(bundle(expected), bundle(found), tolerance))


def stored(array: np.ndarray, datatype: DataType) -> StoredTensor:
    return StoredTensor.of(Tensor.of("OUT", array, datatype))


def test_the_first_step_that_differs_is_named() -> None:
    one = bundle(*(floats("OUT", n, n + 0.5) for n in range(4)))
    other = bundle(*(floats("OUT", n, n + (0.5 if n < 2 else 0.75)) for n in range(4)))
    assert str(compare_bundles(one, other)) == (
        "position 2, response 0, output 'OUT', element [1]: expected 2.5, found 2.75"
    )
    assert compare_bundles(one, one) is None


def test_elements_of_each_kind() -> None:
    grid = np.arange(6, dtype=np.int16).reshape(2, 3)
    other = grid.copy()
    other[1, 2] = -1
    found = told(stored(grid, DataType.INT16), stored(other, DataType.INT16))
    assert "element [1, 2]: expected 5, found -1" in found
    assert "element [1]: expected b'b', found b'c'" in told(
        words("OUT", b"a", b"b"), words("OUT", b"a", b"c")
    )
    # 0x3F80 is 1 as BF16, 0x4000 is 2.
    one, two = (np.array([bits], np.uint16) for bits in (0x3F80, 0x4000))
    assert "expected 1.0, found 2.0" in told(stored(one, DataType.BF16), stored(two, DataType.BF16))
    assert "expected FP32 [1], found FP32 [2]" in told(floats("OUT", 1), floats("OUT", 1, 2))
    assert "outputs: expected ['A'], found ['B']" in told(floats("A", 1), floats("B", 1))


def test_every_byte_counts_unless_there_is_a_tolerance() -> None:
    assert "expected 0.0, found -0.0" in told(floats("OUT", 0.0), floats("OUT", -0.0))
    assert told(floats("OUT", 0.0), floats("OUT", -0.0), 1e-9) == "None"
    assert told(floats("OUT", 1.0), floats("OUT", 1.01), 0.1) == "None"
    assert "found 1.5" in told(floats("OUT", 1.0), floats("OUT", 1.5), 0.1)
    nan, infinite = float("nan"), float("inf")
    assert told(floats("OUT", nan, infinite, 1), floats("OUT", nan, infinite, 2), 1) == "None"
    assert "element [0]: expected nan, found 1.0" in told(floats("OUT", nan), floats("OUT", 1), 1)
    one, two = (stored(np.array([n], np.int32), DataType.INT32) for n in (1, 2))
    assert "expected 1, found 2" in told(one, two, 5.0)


def test_bytes_that_hold_no_elements() -> None:
    broken = StoredTensor("OUT", DataType.BYTES, (1,), b"\x09\x00\x00\x00x")
    assert "element [0]" in told(words("OUT", b"a"), broken)


def test_failures_and_counts_of_responses() -> None:
    recorded = RecordedStep(step(3), [Result(3, 0, 1, failure=Failure(Code.INTERNAL, "broke"))])
    assert str(compare_results(recorded, [result(3, floats("OUT", 1))])) == (
        "position 3, response 0, failure: expected INTERNAL: broke, found none"
    )
    two = RecordedStep(step(1), [result(1, final=False), result(1, index=1, final=True)])
    assert str(compare_results(two, two.results[:1])) == (
        "position 1, response 1, responses: expected 2, found 1"
    )
    three = [two.results[0], replace(two.results[1], final=False), result(1, index=2)]
    assert "behind which others come" in str(compare_results(two, three))
    unfinished = RecordedStep(two.step, two.results[:1])
    assert compare_results(unfinished, two.results) is None


@pytest.mark.parametrize("redacted", [False, True])
def test_what_clients_sent_is_compared_first(redacted: bool) -> None:
    one = bundle(floats("OUT", 1))
    other = bundle(floats("OUT", 2))
    other.steps[0] = replace(other.steps[0], step=replace(other.steps[0].step, end=True))
    if redacted:
        other = other.as_redacted()
    assert str(compare_bundles(one, other)) == (
        "position 0, the request, END: expected False, found True"
    )


def test_hashes_are_compared_if_one_is_redacted() -> None:
    one, other = (
        bundle(floats("OUT", 1), floats("OUT", 2)),
        bundle(floats("OUT", 1), floats("OUT", 3)),
    )
    for expected, found in ((one, other.as_redacted()), (one.as_redacted(), other)):
        text = str(compare_bundles(expected, found))
        assert text.startswith("position 1, response 0, output 'OUT': expected sha256 ")
    assert compare_bundles(one, one.as_redacted()) is None


def test_lengths_and_ends() -> None:
    long, short = bundle(floats("OUT", 1), floats("OUT", 2)), bundle(floats("OUT", 1))
    assert str(compare_bundles(long, short)) == "the sequence, steps: expected 2, found 1"
    assert str(compare_bundles(short, long)) == "the sequence, steps: expected 1, found 2"
    cut = bundle(floats("OUT", 1), cut="full")
    assert compare_bundles(long, cut) is None
    assert compare_bundles(cut, long) is None
    assert str(compare_bundles(short, bundle(floats("OUT", 1), reason="idle"))) == (
        "the sequence, end: expected client_end, found idle"
    )


def test_changes_of_a_configuration() -> None:
    assert config_changes('{"a":1,"b":2}', '{"b":2,"a":1}') == []
    assert config_changes('{"a":1,"b":2,"d":null}', '{"b":3,"a":1,"c":0}') == ["b", "c"]
    assert config_changes("?", "{}") == ["(all)"]
    assert config_changes("?", "?") == []
