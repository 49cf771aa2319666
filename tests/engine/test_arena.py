"""The arena alone: what a fresh slot holds, what fits into it, when snapshots can move."""

import dataclasses
import struct

import numpy as np
import pytest

from streamgate.engine.arena import STATE_BYTES_MAX, Arena, schema_of
from streamgate.engine.rows import SCRATCH, initial_row
from streamgate.engine.snapshots import Keepers
from streamgate.errors import Code, StreamGateError
from streamgate.model.config import StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.request import SequenceKey

WIDE = StateSpec("s", "s_out", DataType.FP32, (2,))


def test_text_files_are_read() -> None:
    data = b"".join(struct.pack("<I", len(text)) + text for text in (b"a", b"", b"\xff\x00"))
    spec = StateSpec("s", "t", DataType.BYTES, (-1,), initial_bytes=data, initial_shape=(3,))
    assert initial_row(spec).tolist() == [b"a", b"", b"\xff\x00"]


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (-1.5, 0xBFC0),
        (1.00390625, 0x3F80),  # half way between two: the even one
        (1.01171875, 0x3F82),
        (float("inf"), 0x7F80),
    ],
)
def test_bfloat16_fills(value: float, bits: int) -> None:
    spec = StateSpec("s", "t", DataType.BF16, (2,), initial_value=value)
    assert initial_row(spec).tolist() == [bits, bits]


def test_a_bfloat16_that_is_no_number() -> None:
    row = initial_row(StateSpec("s", "t", DataType.BF16, (1,), initial_value=float("nan")))
    bits = int(row[0])
    assert bits & 0x7F80 == 0x7F80
    assert bits & 0x7F


def test_whole_numbers_are_exact() -> None:
    spec = StateSpec("s", "t", DataType.INT64, (1,), initial_value=2**63 - 1)
    assert initial_row(spec).tolist() == [2**63 - 1]


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (np.zeros((2, 2), np.float32), r"float32 and shape \[2, 2\]"),
        (np.zeros((3, 3), np.float32), r"float32 and shape \[3, 3\]"),
        (np.zeros((3,), np.float32), r"float32 and shape \[3\]"),
        (np.zeros((3, 2), np.float64), r"float64 and shape \[3, 2\]"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_arithmetic(output: np.ndarray, found: str) -> None:
    arena = Arena([WIDE], 4, batches=True)
    with pytest.raises(
        StreamGateError, match=rf"{found}, expected float32 and \[3, 2\] \(3 rows at axis 0\)"
    ) as raised:
        arena.check({"s_out": output}, 3)
    assert raised.value.code is Code.INTERNAL


def test_a_growing_state_has_a_limit() -> None:
    arena = Arena([dataclasses.replace(WIDE, shape=(-1,))], 1, batches=True)
    count = STATE_BYTES_MAX // 4
    largest = np.broadcast_to(np.float32(0), (2, count))
    assert arena.check({"s_out": largest}, 2)
    with pytest.raises(StreamGateError, match=f"grown to {STATE_BYTES_MAX + 4} bytes"):
        arena.check({"s_out": np.broadcast_to(np.float32(0), (2, count + 1))}, 2)


@pytest.mark.parametrize("shape", [(2,), (-1,)])
def test_null_rows_see_nobodys_state(shape: tuple[int, ...]) -> None:
    arena = Arena([dataclasses.replace(WIDE, shape=shape, initial_shape=(2,))], 2, batches=True)
    new = arena.check({"s_out": np.array([[1, 2], [3, 4]], np.float32)}, 2)
    arena.scatter([0, 1], [0, 1], new)
    gathered = arena.gather([SCRATCH, 1])["s"]
    assert gathered.tolist() == [[0, 0], [3, 4]]


def test_null_rows_have_the_shape_of_their_neighbours() -> None:
    arena = Arena([dataclasses.replace(WIDE, shape=(-1,))], 2, batches=True)
    arena.scatter([1], [0], arena.check({"s_out": np.array([[1, 2, 3]], np.float32)}, 1))
    assert arena.gather([SCRATCH, 1])["s"].tolist() == [[0, 0, 0], [1, 2, 3]]


OTHER = StateSpec("n", "n_out", DataType.INT32, (1,))


@pytest.mark.parametrize(
    "same",
    [
        [OTHER, WIDE],
        [dataclasses.replace(WIDE, output_name="renamed"), OTHER],
        [dataclasses.replace(WIDE, batch_axis=1), OTHER],
        [dataclasses.replace(WIDE, initial_value=1.0), OTHER],
        [dataclasses.replace(WIDE, same_buffer=True, growable=True), OTHER],
    ],
)
def test_schemas_that_are_equal(same: list[StateSpec]) -> None:
    assert schema_of(same) == schema_of([WIDE, OTHER])


@pytest.mark.parametrize(
    "other",
    [
        [WIDE],
        [dataclasses.replace(WIDE, input_name="x"), OTHER],
        [dataclasses.replace(WIDE, datatype=DataType.FP16), OTHER],
        [dataclasses.replace(WIDE, shape=(3,)), OTHER],
        [dataclasses.replace(WIDE, shape=(-1,)), OTHER],
        [dataclasses.replace(WIDE, shape=(2, 1)), OTHER],
        [],
    ],
)
def test_schemas_that_differ(other: list[StateSpec]) -> None:
    assert schema_of(other) != schema_of([WIDE, OTHER])
    there = Keepers("m", None, Arena(other, 1, batches=True), is_pure=True)
    here = Keepers("m", None, Arena([WIDE, OTHER], 1, batches=True), is_pure=True)
    with pytest.raises(StreamGateError, match="state schema") as raised:
        there.put(0, 1, here.take(0, 1, 1))
    assert raised.value.code is Code.INVALID_ARG


def test_a_snapshot_moves_between_batch_axes() -> None:
    here = Arena([WIDE], 2, batches=True)
    there = Arena([dataclasses.replace(WIDE, batch_axis=1)], 3, batches=True)
    here.scatter([1], [0], here.check({"s_out": np.array([[5, 6]], np.float32)}, 1))
    snapshot = Keepers("m", None, here, is_pure=True).take(1, 5, 7)
    here.begin(1)
    Keepers("m", None, there, is_pure=True).put(2, 5, snapshot)
    assert there.gather([0, 2])["s"].tolist() == [[0, 5], [0, 6]]
    assert (snapshot.position, snapshot.size_bytes) == (7, 8)


class Keeping:
    """A session that keeps objects, if `keeps_states`."""

    def __init__(self, keeps_states: bool) -> None:
        self.keeps_states = keeps_states

    def get_state(self, correlation_id: SequenceKey) -> bytes:
        return b"objects"

    def set_state(self, correlation_id: SequenceKey, state: bytes) -> None:
        """Nothing to do."""


@pytest.mark.parametrize(
    ("session", "is_pure", "states", "arena_is_all", "are_pinned"),
    [
        (None, True, [], True, False),
        (None, True, [WIDE], True, False),
        (None, False, [WIDE], True, False),
        (None, False, [], False, True),
        (Keeping(False), False, [], False, True),
        (Keeping(False), False, [WIDE], True, False),
        (Keeping(True), False, [], False, False),
        (Keeping(True), False, [WIDE], False, False),
    ],
)
def test_where_sequences_are_kept(
    session: Keeping | None,
    is_pure: bool,
    states: list[StateSpec],
    arena_is_all: bool,
    are_pinned: bool,
) -> None:
    """What decides whether a sequence can move, and whether it outlives its session."""
    keepers = Keepers("m", session, Arena(states, 1, batches=True), is_pure=is_pure)
    assert (keepers.arena_is_all, keepers.are_pinned) == (arena_is_all, are_pinned)
