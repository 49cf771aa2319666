"""Values travel as what they are, and nothing else comes out, whatever goes in."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streamgate.errors import Failure
from streamgate.link.messages import MESSAGES, Challenge, Refused, Restore, Snapped
from streamgate.link.values import ValueFormatError, pack, shape_of, unpack
from streamgate.model.config import ModelConfig, StateSpec
from streamgate.model.snapshot import Snapshot
from streamgate.model.statistics import ModelStatistics, SlotTable

FEW = settings(
    max_examples=6, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
)

array_values = st.one_of(
    arrays.arrays(
        st.sampled_from([np.float32, np.int64, np.uint8, np.bool_, np.float16]),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": False},
    ),
    st.lists(st.binary(max_size=9), max_size=4).map(
        lambda items: np.array([*items, None], np.object_)[:-1]
    ),
)
snapshots: st.SearchStrategy[Snapshot] = st.recursive(
    st.builds(
        Snapshot,
        st.integers(-1, 2**62),
        st.text(max_size=8),
        st.dictionaries(st.text(max_size=4), array_values, max_size=3),
        st.none() | st.binary(max_size=20),
    ),
    lambda inner: st.builds(
        Snapshot,
        st.integers(0, 9),
        st.text(max_size=4),
        parts=st.dictionaries(st.integers(0, 5), inner, min_size=1, max_size=2),
    ),
    max_leaves=4,
)


@pytest.fixture(autouse=True, scope="module")
def known_strategies() -> None:
    st.register_type_strategy(Snapshot, snapshots)
    st.register_type_strategy(int, st.integers(-(2**63), 2**64 - 1))
    st.register_type_strategy(float, st.floats(allow_nan=False))


def travelled(kind: Any, value: Any) -> Any:
    """A value that went through the bytes of a frame."""
    bodies: list[Any] = []
    packed = msgpack.packb(pack(kind, value, bodies))
    views = [memoryview(bytes(body)) for body in bodies]
    return unpack(kind, msgpack.unpackb(packed, use_list=False), views)


def same(one: Any, other: Any) -> bool:
    """As `==`, also of what holds arrays; and of the same type, but that sequences come out as
    tuples, and mappings as dictionaries."""
    if isinstance(one, np.ndarray):
        return bool(
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and np.array_equal(one, other)
        )
    if isinstance(one, Sequence) and not isinstance(one, str | bytes):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping):
        return isinstance(other, dict) and all(
            map(same, (*one, *one.values()), (*other, *other.values()))
        )
    if type(one) is not type(other):
        return False
    if dataclasses.is_dataclass(one):
        names = [each.name for each in dataclasses.fields(one)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    return bool(one == other)


@pytest.mark.parametrize(
    "kind", [*MESSAGES, ModelConfig, ModelStatistics, SlotTable, Failure], ids=lambda c: c.__name__
)
def test_every_value_comes_out_as_it_went_in(kind: type) -> None:
    @FEW
    @given(st.from_type(kind))
    def check(value: object) -> None:
        assert same(value, travelled(kind, value))

    check()


@FEW
@given(snapshots)
def test_snapshots_come_out_with_arrays_of_their_own(snapshot: Snapshot) -> None:
    result = travelled(Snapshot, snapshot)
    assert same(snapshot, result)
    assert all(array.flags.owndata or array.base is not None for array in result.states.values())
    assert all(array.flags.writeable for array in result.states.values())


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(junk, st.sampled_from([*MESSAGES, ModelConfig, Snapshot]), st.lists(st.binary(), max_size=2))
def test_nonsense_is_refused_by_one_error(packed: Any, kind: type, bodies: list[bytes]) -> None:
    try:
        value: object = unpack(kind, packed, [memoryview(body) for body in bodies])
    except ValueFormatError:
        return
    assert type(value) is kind


def replaced(packed: Any, path: list[int], by: Any) -> Any:
    """With one part of it replaced, which the numbers lead to."""
    if not path or not isinstance(packed, tuple) or not packed:
        return by
    place = path[0] % len(packed)
    inner = replaced(packed[place], path[1:], by)
    return (*packed[:place], inner, *packed[place + 1 :])


@pytest.mark.parametrize("kind", [ModelConfig, Restore, Snapped, Refused])
def test_a_value_with_one_wrong_part_is_refused_or_is_one(kind: type) -> None:
    @FEW
    @given(st.from_type(kind), st.lists(st.integers(0, 99), min_size=1, max_size=6), junk)
    def check(value: object, path: list[int], by: object) -> None:
        bodies: list[Any] = []
        packed = replaced(pack(kind, value, bodies), path, by)
        try:
            result: object = unpack(kind, packed, [memoryview(bytes(body)) for body in bodies])
        except ValueFormatError:
            return
        assert type(result) is kind

    check()


@pytest.mark.parametrize("kind", [object, Any, complex, type, list, memoryview])
def test_types_that_are_not_known_are_not_sent(kind: Any) -> None:
    with pytest.raises(TypeError):
        pack(kind, None, [])
    with pytest.raises(ValueFormatError):
        unpack(kind, None, [])


@pytest.mark.parametrize(
    "value",
    [StateSpec("a", "b", None, ()), Failure(None, ""), Challenge("", "x")],  # type: ignore[arg-type]
)
def test_values_of_wrong_types_are_not_sent(value: object) -> None:
    with pytest.raises(TypeError, match="expected"):
        pack(type(value), value, [])


def test_arrays_of_objects_must_be_bytes_and_others_numbers() -> None:
    for array in (np.array(["2026-01-01"], "datetime64[D]"), np.zeros(2, np.complex64)):
        with pytest.raises(TypeError, match="can't be sent"):
            pack(Snapshot, Snapshot(0, "", {"s": array}), [])


def test_an_array_can_not_be_larger_than_its_bytes() -> None:
    packed = (0, "", (("s", ("<f4", (2**40,), 0)),), None, ())
    with pytest.raises(ValueFormatError):
        unpack(Snapshot, packed, [memoryview(b"1234")])
    packed = (0, "", (("s", ("O", (2**40,), 0)),), None, ())
    with pytest.raises(ValueFormatError):
        unpack(Snapshot, packed, [memoryview(b"1234")])


def test_the_shape_tells_programs_apart() -> None:
    shape = shape_of([Failure])
    assert shape == shape_of([Failure])
    assert shape != shape_of([Failure, Snapshot])
