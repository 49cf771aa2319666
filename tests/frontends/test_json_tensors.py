"""Tensors between JSON and numpy: types, nesting, conversions, refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.json_tensors import data_to_json, has_infinity, tensor_from_json
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Tensor
from tests.frontends.http_client import tensor as entry

NOT_A_NUMBER = "Unable to parse 'data': attempt to access JSON non-number as double"
NOT_SIGNED = "Unable to parse 'data': attempt to access JSON non-signed-integer as signed-integer"
NOT_UNSIGNED = (
    "Unable to parse 'data': attempt to access JSON non-unsigned-integer as unsigned-integer"
)


def refused(value: object) -> tuple[Code, str]:
    with pytest.raises(StreamGateError) as caught:
        tensor_from_json(value)
    return caught.value.code, caught.value.message


def converted(datatype: str, *data: object) -> list[Any]:
    tensor = tensor_from_json(entry(*data, datatype=datatype))
    assert tensor.datatype.value == datatype
    assert tensor.array.dtype == tensor.datatype.dtype
    return data_to_json(tensor)


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("BOOL", [True, False], [True, False]),
        ("UINT8", [256, 1], [0, 1]),
        ("INT8", [300, -1], [44, -1]),
        ("INT16", [2**15], [-(2**15)]),
        ("UINT16", [2**16 + 7], [7]),
        ("INT32", [2**31], [-(2**31)]),
        ("UINT32", [2**32 + 1], [1]),
        ("INT64", [2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
        ("UINT64", [2**64 - 1], [2**64 - 1]),
        ("FP32", [1, 0.1, 1e39, -1e39], [1.0, 0.10000000149011612, math.inf, -math.inf]),
        ("FP64", [0.1, 1e308, 10**30], [0.1, 1e308, 1e30]),
        ("BYTES", ["grün", "", "\0"], ["grün", "", "\0"]),
    ],
)
def test_values_convert_as_in_triton(
    datatype: str, data: list[object], expected: list[object]
) -> None:
    assert converted(datatype, *data) == expected


def test_literals_beyond_json_pass_both_ways() -> None:
    values = json.loads("[NaN, Infinity, -Infinity]")
    assert json.dumps(converted("FP32", *values)) == "[NaN, Infinity, -Infinity]"


@pytest.mark.parametrize(
    "data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [[[1]], [2, [3]], 4], [[], [1, 2, 3, 4], []]]
)
def test_data_is_flattened_whatever_its_nesting(data: list[object]) -> None:
    tensor = tensor_from_json(entry(shape=[2, 2], data=data))
    assert tensor.array.tolist() == [[1, 2], [3, 4]]


def test_no_elements() -> None:
    tensor = tensor_from_json(entry(shape=[3, 0], data=[]))
    assert tensor.array.shape == (3, 0)


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("FP32", ["a"], NOT_A_NUMBER),
        ("FP32", [None], NOT_A_NUMBER),
        ("FP32", [True], NOT_A_NUMBER),
        ("FP32", [{}], NOT_A_NUMBER),
        ("FP64", [10**400], NOT_A_NUMBER),
        ("INT32", [1.5], NOT_SIGNED),
        ("INT32", [1.0], NOT_SIGNED),
        ("INT32", [True], NOT_SIGNED),
        ("INT32", ["1"], NOT_SIGNED),
        ("INT64", [2**63], NOT_SIGNED),
        ("UINT32", [-1], NOT_UNSIGNED),
        ("UINT64", [2**64], NOT_UNSIGNED),
        ("BOOL", [1], "Unable to parse 'data': attempt to access JSON non-boolean as boolean"),
        (
            "BYTES",
            [3],
            "Unable to parse JSON bytes array: attempt to access JSON non-string as string",
        ),
    ],
)
def test_wrong_elements(datatype: str, data: list[object], expected: str) -> None:
    assert refused(entry(*data, datatype=datatype)) == (Code.INTERNAL, expected)


@pytest.mark.parametrize("data", [7, {"a": 1}, "text", None])
def test_data_that_is_no_array(data: object) -> None:
    value = entry(1) | {"data": data}
    expected = "Unable to parse 'data': attempt to access JSON non-array as array"
    assert refused(value) == (Code.INTERNAL, expected)


@pytest.mark.parametrize("shape", [[3], [1], [2, 2], [0], [2**40, 2**40]])
def test_a_wrong_number_of_elements(shape: list[int]) -> None:
    expected = "Unable to parse 'data': Shape does not match true shape of 'data' field"
    assert refused(entry(1, 2, shape=shape)) == (Code.INTERNAL, expected)


def test_without_a_shape_the_session_decides() -> None:
    two = tensor_from_json(entry(1, 2, shape=[]))
    assert two.shape == ()
    assert not has_infinity(two)
    assert tensor_from_json(entry(5, shape=[])).array.item() == 5


@pytest.mark.parametrize(
    ("member", "value", "expected"),
    [
        ("name", None, "attempt to access non-existing object member 'name'"),
        ("name", 3, "attempt to access JSON non-string as string"),
        ("datatype", None, "attempt to access non-existing object member 'datatype'"),
        ("datatype", 3, "attempt to access JSON non-string as string"),
        ("shape", None, "attempt to access non-existing object member 'shape'"),
        ("shape", 4, "attempt to access JSON non-array as array"),
        ("shape", [-1], "attempt to access JSON non-unsigned-integer as unsigned-integer"),
        ("shape", [1.0], "attempt to access JSON non-unsigned-integer as unsigned-integer"),
        ("shape", ["1"], "attempt to access JSON non-unsigned-integer as unsigned-integer"),
        ("shape", [True], "attempt to access JSON non-unsigned-integer as unsigned-integer"),
    ],
)
def test_members_that_are_missing_or_of_a_wrong_type(
    member: str, value: object, expected: str
) -> None:
    changes: dict[str, Any] = {member: value}
    found = refused(entry(1, **changes))
    assert found == (Code.INTERNAL, f"Unable to parse '{member}': {expected}")


@pytest.mark.parametrize("value", [3, None, [], {}, {"name": "IN"}])
def test_a_tensor_without_data(value: object) -> None:
    code, message = refused(value)
    assert code is Code.INVALID_ARG
    assert message.endswith("But no field is set")


@pytest.mark.parametrize("datatype", ["FOO", "fp32", ""])
def test_unknown_datatypes(datatype: str) -> None:
    found = refused(entry(1, datatype=datatype))
    assert found == (Code.INVALID_ARG, "invalid datatype for input IN")


@pytest.mark.parametrize("datatype", [DataType.FP16, DataType.BF16])
def test_half_precision_has_no_json_form(datatype: DataType) -> None:
    assert refused(entry(1, datatype=datatype.value)) == (
        Code.INVALID_ARG,
        (
            f"receiving {datatype.value} data via JSON is not supported. Please use the binary "
            "data format for input IN"
        ),
    )
    with pytest.raises(StreamGateError) as caught:
        data_to_json(Tensor("OUT", datatype, (1,), raw=bytes(2)))
    assert caught.value.failure.code is Code.INVALID_ARG
    assert caught.value.message == (
        f"sending {datatype.value} data via JSON is not supported. Please use the binary data "
        "format for output"
    )


@pytest.mark.parametrize("shape", [[1] * 65, [0, 2**62, 2**62], [0, 2**64 - 1]])
def test_shapes_that_no_array_has(shape: list[int]) -> None:
    code, message = refused(entry(*[1] * math.prod(shape), shape=shape))
    assert code is Code.INVALID_ARG
    assert message.startswith("tensor 'IN' contains an invalid dimension")


def test_bytes_that_are_no_text_are_escaped() -> None:
    tensor = Tensor.of("OUT", np.array([b"a\xffb", b"gr\xc3\xbcn"], np.object_), DataType.BYTES)
    assert data_to_json(tensor) == ["a\\xffb", "grün"]


def test_text_elements_of_a_model_pass() -> None:
    tensor = Tensor.of("OUT", np.array(["grün"], np.object_), DataType.BYTES)
    assert data_to_json(tensor) == ["grün"]


def test_a_shaped_tensor_is_written_flat() -> None:
    tensor = Tensor.of("OUT", np.arange(4, dtype=np.int32).reshape(2, 2).T, DataType.INT32)
    assert data_to_json(tensor) == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("FP32", [1.0], False),
        ("FP32", [1e39], True),
        ("INT32", [1], False),
        ("BYTES", ["x"], False),
    ],
)
def test_infinities_are_found(datatype: str, data: list[object], expected: bool) -> None:
    assert has_infinity(tensor_from_json(entry(*data, datatype=datatype))) is expected
