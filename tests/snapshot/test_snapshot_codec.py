"""Requests, responses and snapshots come back as they were; damage is told, and nothing is run."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgate.errors import Code, Failure
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.snapshot import Snapshot
from streamgate.model.tensor import Tensor
from streamgate.snapshot import codec
from streamgate.snapshot.codec import (
    CodecError,
    decode_request,
    decode_response,
    decode_snapshot,
    encode_request,
    encode_response,
    encode_snapshot,
)

TENSORS = (
    Tensor.of("X", np.arange(6, dtype=np.float32).reshape(1, 6), DataType.FP32),
    Tensor.of("T", np.array([[b"a", "é".encode(), b""]], dtype=np.object_), DataType.BYTES),
    Tensor("B", DataType.BF16, (2,), raw=b"\x01\x02\x03\x04"),
    Tensor.of("E", np.zeros((0, 3), np.int64), DataType.INT64),
)
FIELDS = (
    "request",
    "model",
    "version",
    "failure",
    "final",
    "empty",
    "parameters",
    "position",
    "index",
    "lost",
    "ran",
)
parameters = st.dictionaries(
    st.text(max_size=5),
    st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=9),
    max_size=4,
)


def shown(tensors: object) -> list[tuple[object, ...]]:
    assert isinstance(tensors, list | tuple)
    return [(t.name, t.datatype, tuple(t.shape), bytes(t.raw)) for t in tensors]


@given(
    st.text(max_size=9),
    parameters,
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**64 - 1),
    st.one_of(st.integers(1, 2**64 - 1), st.text(min_size=1)),
)
def test_requests(
    id_: str,
    values: dict[str, bool | int | float | str],
    start: bool,
    end: bool,
    timeout: int,
    sequence: int | str,
) -> None:
    request = Request(
        "m",
        id=id_,
        inputs=TENSORS,
        requested_outputs=("Y", "Z"),
        parameters=values,
        sequence=sequence,
        start=start,
        end=end,
        priority=3,
        timeout_us=timeout,
    )
    found = decode_request(encode_request(request), "m")
    assert shown(found.inputs) == shown(TENSORS)
    for name in ("model", "id", "sequence", "start", "end", "priority", "timeout_us"):
        assert getattr(found, name) == getattr(request, name)
    assert (found.parameters, list(found.requested_outputs)) == (values, ["Y", "Z"])


@given(parameters, st.booleans(), st.booleans(), st.integers(0, 2**40))
def test_responses(
    values: dict[str, bool | int | float | str], final: bool, empty: bool, position: int
) -> None:
    request = Request("m", sequence=7)
    for failure in (None, Failure(Code.UNAVAILABLE, "later \u2713")):
        response = Response(
            request,
            "m",
            "3",
            TENSORS,
            failure,
            final=final,
            empty=empty,
            parameters=values,
            position=position,
            index=2,
            lost=empty,
            ran=not empty,
        )
        found = decode_response(encode_response(response), request)
        assert shown(found.outputs) == shown(TENSORS)
        for name in FIELDS:
            assert getattr(found, name) == getattr(response, name)


def deep() -> Snapshot:
    inner = Snapshot(4, "inner", {"S": np.arange(5, dtype=np.int8)}, b"objects of its own")
    return Snapshot(
        9,
        "schema",
        {
            "H": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
            "HALF": np.ones((2, 2), np.float16),
            "TEXT": np.array([b"one", b""], dtype=np.object_),
            "FLAG": np.array(True),
            "NONE": np.zeros((0, 3), np.float64),
        },
        None,
        {0: inner, 3: Snapshot(2, "other", {}, b"", {1: inner})},
    )


def assert_equal(found: Snapshot, expected: Snapshot) -> None:
    assert (found.position, found.schema, found.objects) == (
        expected.position,
        expected.schema,
        expected.objects,
    )
    assert list(found.states) == list(expected.states)
    for name, array in expected.states.items():
        assert found.states[name].dtype == array.dtype
        assert found.states[name].shape == array.shape
        assert found.states[name].tolist() == array.tolist()
        assert found.states[name].flags.writeable
    assert list(found.parts) == list(expected.parts)
    for place, part in expected.parts.items():
        assert_equal(found.parts[place], part)


def test_snapshots() -> None:
    assert_equal(decode_snapshot(encode_snapshot(deep())), deep())
    assert_equal(decode_snapshot(encode_snapshot(Snapshot(0, ""))), Snapshot(0, ""))


@given(st.data())
def test_damage_is_a_codec_error_or_another_value(data: st.DataObject) -> None:
    """Never another exception, never more memory than there are bytes."""
    whole = bytearray(encode_snapshot(deep()))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    for damaged in (bytes(whole), cut):
        with contextlib.suppress(CodecError):
            decode_snapshot(damaged)


def test_it_is_cut_short() -> None:
    whole = encode_snapshot(deep())
    for size in range(len(whole)):
        with pytest.raises(CodecError):
            decode_snapshot(whole[:size])
    with pytest.raises(CodecError, match="a frame of"):
        decode_snapshot(whole + b"x")


def test_what_can_not_be_written() -> None:
    with pytest.raises(CodecError, match="can't be written"):
        encode_request(Request("m", parameters={"n": object()}))  # type: ignore[dict-item]


def test_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode_snapshot(deep())
    monkeypatch.setattr(codec, "FORMAT", codec.FORMAT + 1)
    with pytest.raises(CodecError, match=f"found {codec.FORMAT - 1}, expected format"):
        decode_snapshot(whole)


def test_one_kind_is_not_another() -> None:
    with pytest.raises(CodecError):
        decode_request(encode_snapshot(deep()), "m")
    with pytest.raises(CodecError):
        decode_snapshot(encode_request(Request("m", inputs=TENSORS)))
    with pytest.raises(CodecError):
        decode_response(encode_request(Request("m", inputs=TENSORS)), Request("m"))
