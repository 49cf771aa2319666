"""The WebSocket dialect's messages, without a connection: every field, every error text."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.correlation import correlation_id
from streamgate.frontends.websocket.answers import (
    CLOSE_CODES,
    error_message,
    response_message,
)
from streamgate.frontends.websocket.frames import (
    InputFormat,
    default_format,
    frame_tensor,
    input_format,
)
from streamgate.frontends.websocket.messages import (
    InputChoice,
    Open,
    parse_message,
    parse_open,
    parse_step,
)
from streamgate.model.config import ControlInput, ControlKind
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Tensor, TensorSpec
from tests.frontends.fake_gateway import int32, model_config
from tests.session.plain_models import config_of, spec


def refusal_of(call: Any, *arguments: Any) -> str:
    """The text with which the call refuses; always the client's fault."""
    with pytest.raises(StreamGateError) as raised:
        call(*arguments)
    assert raised.value.code is Code.INVALID_ARG
    return raised.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "message is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("", "message is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[1]", "message is a JSON list, expected an object with a 'type'"),
        ("null", "message is a JSON null, expected an object with a 'type'"),
        ('"open"', "message is a JSON string, expected an object with a 'type'"),
        ("7", "message is a JSON number, expected an object with a 'type'"),
        ("true", "message is a JSON boolean, expected an object with a 'type'"),
        ("{}", "message has no 'type', expected a string"),
        ('{"type":7}', "message has 'type' 7, expected a string"),
    ],
)
def test_what_is_no_message(text: str, message: str) -> None:
    assert refusal_of(parse_message, text) == message


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"type":"open","model":"\\ud800"}',
        '{"type":"\\udfff"}',
        '{"type":"open","sequence_id":' + "9" * 5000 + "}",
    ],
)
def test_what_no_reader_survives_is_no_json(text: str) -> None:
    assert refusal_of(parse_message, text).startswith("message is not JSON: ")


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse_message('{"type":"flush","id":"\\ud83d\\ude00"}')[1]["id"] == "\N{GRINNING FACE}"


def test_open_with_every_field() -> None:
    opened = parse_open(
        {
            "type": "open",
            "model": "m",
            "model_version": "3",
            "sequence_id": 2**64 - 1,
            "input": {"name": "A", "datatype": "FP32", "shape": [1, -1]},
            "outputs": ["O"],
            "parameters": {"text": "x", "number": 1.5, "count": 2, "flag": True},
            "output_format": "binary",
            "reserve": True,
        }
    )
    assert opened == Open(
        "m",
        "3",
        2**64 - 1,
        InputChoice("A", DataType.FP32, (1, -1)),
        ["O"],
        {"text": "x", "number": 1.5, "count": 2, "flag": True},
        binary_output=True,
        reserve=True,
    )


def test_open_with_no_field_but_the_model() -> None:
    assert parse_open({"model": "m"}) == Open("m", outputs=[])
    assert parse_open({"model": "m", "input": {"name": "A"}}).input == InputChoice("A")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": ""}, "'open' has no 'model', expected the name of a model"),
        ({"model": 7}, "'model' is a number, expected a string"),
        ({"model_version": 1}, "'model_version' is a number, expected a string"),
        ({"sequence_id": None}, "'sequence_id' is a null, expected a string or an integer"),
        ({"sequence_id": 1.0}, "'sequence_id' is a number, expected a string or an integer"),
        ({"sequence_id": True}, "'sequence_id' is a boolean, expected a string or an integer"),
        ({"sequence_id": -1}, "'sequence_id' is -1, expected 0 to 2^64-1"),
        ({"sequence_id": 2**64}, f"'sequence_id' is {2**64}, expected 0 to 2^64-1"),
        (
            {"sequence_id": "\N{SNOWMAN}" * 43},
            "'sequence_id' has 129 bytes, expected at most 128",
        ),
        ({"output_format": "xml"}, "'output_format' is \"xml\", expected 'json' or 'binary'"),
        ({"output_format": 1}, "'output_format' is a number, expected a string"),
        ({"reserve": 1}, "'reserve' is 1, expected true or false"),
        ({"position": -1}, "'position' is -1, expected a number from 0"),
        ({"position": True}, "'position' is true, expected a number from 0"),
        *(
            (
                {"position": 3, **fields},
                "'position' is that of a sequence that lives: name it, and reserve nothing",
            )
            for fields in ({}, {"sequence_id": 7, "reserve": True})
        ),
        ({"outputs": "O"}, "'outputs' is \"O\", expected a list of output names"),
        ({"outputs": [1]}, "'outputs' is [1], expected a list of output names"),
        ({"parameters": []}, "'parameters' is a list, expected an object"),
        (
            {"parameters": {"a": None}},
            "parameter 'a' is a JSON null, expected a string, a number or a boolean",
        ),
        (
            {"parameters": {"a": {}}},
            "parameter 'a' is a JSON object, expected a string, a number or a boolean",
        ),
        ({"input": "A"}, "'input' is a string, expected an object"),
        ({"input": {}}, "'input.name' is null, expected the name of an input"),
        ({"input": {"name": 7}}, "'input.name' is 7, expected the name of an input"),
        (
            {"input": {"name": "A", "datatype": "float"}},
            "'input.datatype' is \"float\", expected a KServe datatype such as 'FP32'",
        ),
        (
            {"input": {"name": "A", "datatype": ["FP32"]}},
            "'input.datatype' is [\"FP32\"], expected a KServe datatype such as 'FP32'",
        ),
        *(
            (
                {"input": {"name": "A", "shape": shape}},
                f"'input.shape' is {shown}, expected a list of sizes with at most one -1",
            )
            for shape, shown in [
                (4, "4"),
                ([-1, -1], "[-1, -1]"),
                ([-2], "[-2]"),
                ([True], "[true]"),
                ([1.0], "[1.0]"),
                ([2**63], f"[{2**63}]"),
                ([-1] * 40, "[" + "-1, " * 19 + "-1,..."),
            ]
        ),
    ],
)
def test_open_with_a_wrong_field(fields: dict[str, Any], message: str) -> None:
    assert refusal_of(parse_open, {"model": "m", **fields}) == message


def test_a_step_in_json() -> None:
    entry = {"name": "A", "datatype": "INT32", "shape": [1, 2], "data": [[1, 2]]}
    inputs, last = parse_step({"inputs": [entry], "last": True})
    assert inputs[0].array.tolist() == [[1, 2]]
    assert last
    assert parse_step({"inputs": []}) == ([], False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "'inputs' is null, expected a list of tensors"),
        ({"inputs": {}}, "'inputs' is {}, expected a list of tensors"),
        ({"inputs": [], "last": 1}, "'last' is 1, expected true or false"),
        ({"inputs": [7]}, "'inputs[0]' is a number, expected an object"),
        ({"inputs": [{}]}, "'inputs[0]' has no 'data'"),
        (
            {"inputs": [{"data": [1]}]},
            (
                "'inputs[0]': Unable to parse 'name': attempt to access non-existing object member "
                "'name'"
            ),
        ),
        (
            {"inputs": [{"name": "A", "datatype": "FP99", "shape": [1], "data": [1]}]},
            "'inputs[0]': invalid datatype for input A",
        ),
        (
            {"inputs": [{"name": "A", "datatype": "INT32", "shape": [2], "data": [1]}]},
            "'inputs[0]': Unable to parse 'data': Shape does not match true shape of 'data' field",
        ),
        (
            {"inputs": [{"name": "A", "datatype": "INT32", "shape": [1], "data": ["x"]}]},
            (
                "'inputs[0]': Unable to parse 'data': attempt to access JSON non-signed-integer as "
                "signed-integer"
            ),
        ),
        (
            {"inputs": [{"name": "A", "datatype": "FP16", "shape": [1], "data": [1]}]},
            (
                "'inputs[0]': receiving FP16 data via JSON is not supported. Please use the binary "
                "data format for input A"
            ),
        ),
    ],
)
def test_a_wrong_step(fields: dict[str, Any], message: str) -> None:
    assert refusal_of(parse_step, fields) == message


BATCHED = config_of(spec("A", -1, 4), spec("B", 2, datatype=DataType.INT32))
UNBATCHED = config_of(spec("A", -1), max_batch=0)
TWO_OPEN_SIZES = config_of(spec("A", -1, -1))


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        (InputChoice("A"), (1, -1, 4)),
        (InputChoice("A", DataType.FP32, (1, 7, 4)), (1, 7, 4)),
        (InputChoice("A", shape=(-1, 7, 4)), (-1, 7, 4)),
        (InputChoice("A", shape=(1, 7, -1)), (1, 7, -1)),
    ],
)
def test_what_open_does_not_say_the_model_does(choice: InputChoice, found: tuple[int, ...]) -> None:
    assert input_format(choice, BATCHED) == InputFormat("A", DataType.FP32, found)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (InputChoice("C"), "unexpected inference input 'C' for model 'm'"),
        (
            InputChoice("B", DataType.FP32),
            "inference input 'B' data-type is 'FP32', but model 'm' expects 'INT32'",
        ),
        (
            InputChoice("B", shape=(2,)),
            "'input.shape' is [2], but input 'B' of model 'm' is [-1, 2]",
        ),
        (
            InputChoice("B", shape=(1, 3)),
            "'input.shape' is [1, 3], but input 'B' of model 'm' is [-1, 2]",
        ),
    ],
)
def test_an_input_that_the_model_can_not_take(choice: InputChoice, message: str) -> None:
    assert refusal_of(input_format, choice, BATCHED) == message


def test_two_sizes_can_not_be_told_by_one_length() -> None:
    message = (
        "input 'A' of model 'm' is [-1, -1], and a frame's length tells one size only: give "
        "'input' a 'shape' with at most one -1"
    )
    assert refusal_of(input_format, InputChoice("A"), TWO_OPEN_SIZES) == message
    assert refusal_of(default_format, TWO_OPEN_SIZES) == message
    chosen = input_format(InputChoice("A", shape=(1, 3, -1)), TWO_OPEN_SIZES)
    assert frame_tensor(chosen, bytes(24)).shape == (1, 3, 2)


def test_the_only_input_is_the_default_one() -> None:
    optional = TensorSpec("B", DataType.INT8, (2,), optional=True)
    assert default_format(UNBATCHED) == InputFormat("A", DataType.FP32, (-1,))
    assert default_format(config_of(spec("A", 4), optional)).name == "A"
    assert default_format(config_of(optional)) == InputFormat("B", DataType.INT8, (1, 2))


@pytest.mark.parametrize(("inputs", "names"), [((), "none"), (("A", "B"), "'A', 'B'")])
def test_no_default_where_there_are_several_inputs_or_none(
    inputs: tuple[str, ...], names: str
) -> None:
    assert refusal_of(default_format, config_of(*(spec(name, 4) for name in inputs))) == (
        f"model 'm' has {len(inputs)} inputs ({names}), and a binary frame holds one tensor: name "
        "it in 'input', and use 'step' messages for several"
    )


def test_a_frame_is_a_tensor() -> None:
    frame = np.arange(6, dtype=np.float32).tobytes()
    tensor = frame_tensor(InputFormat("A", DataType.FP32, (1, -1, 3)), frame)
    assert tensor.shape == (1, 2, 3)
    assert tensor.raw is frame
    assert frame_tensor(InputFormat("A", DataType.INT8, (1, -1)), b"").shape == (1, 0)
    text = frame_tensor(InputFormat("A", DataType.BYTES, (1, -1)), b"caf\xc3\xa9")
    assert text.array.tolist() == [[b"caf\xc3\xa9"]]


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((1, 4), 15, "16"),
        ((1, 4), 20, "16"),
        ((1, -1, 4), 24, "a multiple of 16"),
        ((0, -1), 4, "0"),
    ],
)
def test_a_frame_that_does_not_fill_its_shape(
    shape: tuple[int, ...], size: int, expected: str
) -> None:
    format_ = InputFormat("A", DataType.FP32, shape)
    assert refusal_of(frame_tensor, format_, bytes(size)) == (
        f"binary frame of {size} bytes does not fill input 'A' (FP32 {list(shape)}), expected "
        f"{expected}"
    )


def response_of(*outputs: Tensor, **fields: Any) -> Response:
    return Response(Request("m"), "m", "1", outputs, **fields)


def test_a_response_in_json() -> None:
    response = response_of(
        int32("O", 1, 2), final=False, index=3, parameters={"a": 1, "bad": float("nan")}
    )
    message = response_message(response, 7, binary=False)
    assert message == (
        '{"type":"response","position":7,"index":3,"final":false,"outputs":[{"name":"O",'
        '"datatype":"INT32","shape":[2],"data":[1,2]}],"parameters":{"a":1,"bad":"NaN"}}'
    )


@pytest.mark.parametrize(
    ("datatype", "array", "found"),
    [
        (DataType.FP32, np.array([0.5, np.nan, np.inf, -np.inf], np.float32), [0.5, "NaN"]),
        (DataType.FP64, np.array([0.1, np.nan, np.inf, -np.inf]), [0.1, "NaN"]),
        (DataType.FP16, np.array([0.5, np.nan, np.inf, -np.inf], np.float16), [0.5, "NaN"]),
        (
            DataType.BF16,
            np.array([0x3F00, 0x7FC0, 0x7F80, 0xFF80], np.uint16),
            [0.5, "NaN"],
        ),
    ],
)
def test_every_json_reader_can_read_every_float(
    datatype: DataType, array: Any, found: list[Any]
) -> None:
    message = response_message(response_of(Tensor.of("O", array, datatype)), 0, binary=False)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    (output,) = json.loads(message, parse_constant=refuse)["outputs"]
    assert output["data"] == [*found, "Infinity", "-Infinity"]


def test_text_and_bytes_in_json() -> None:
    array = np.array([b"caf\xc3\xa9", b"\xff"], np.object_)
    message = response_message(response_of(Tensor.of("O", array, DataType.BYTES)), 0, binary=False)
    assert json.loads(message)["outputs"][0]["data"] == [
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
        r"\xff",
    ]


def test_a_response_in_binary() -> None:
    text = Tensor("T", DataType.BYTES, (1,), raw=b"\x02\0\0\0hi")
    message = response_message(response_of(int32("O", 1, 2), text), 7, binary=True)
    assert isinstance(message, bytes)
    (size,) = struct.unpack_from("<I", message)
    head = json.loads(message[4 : 4 + size])
    assert [output["binary_data_size"] for output in head["outputs"]] == [8, 6]
    assert all("data" not in output for output in head["outputs"])
    assert message[4 + size :] == struct.pack("<ii", 1, 2) + b"\x02\0\0\0hi"


@pytest.mark.parametrize("binary", [True, False])
def test_errors_are_text(binary: bool) -> None:
    response = response_of(failure=Failure(Code.INTERNAL, "no"), index=1)
    assert response_message(response, 7, binary=binary) == (
        '{"type":"error","position":7,"index":1,"final":true,"code":"INTERNAL","message":"no"}'
    )
    assert error_message(Code.NOT_FOUND, "no") == (
        '{"type":"error","code":"NOT_FOUND","message":"no"}'
    )


def test_every_reason_has_a_close_code_that_a_server_may_send() -> None:
    assert set(CLOSE_CODES) == set(EndReason)
    for code in CLOSE_CODES.values():
        assert code in {1000, 1011, 1012, 1013} or 4000 <= code < 5000


def with_control(datatype: DataType) -> Any:
    control = ControlInput("CORRID", ControlKind.CORRID, datatype)
    return config_of(spec("A", 4), controls=(control,))


@pytest.mark.parametrize(
    ("datatype", "largest"),
    [(DataType.INT32, 2**31), (DataType.UINT32, 2**31), (DataType.UINT64, 2**53)],
)
def test_new_ids_are_integers_where_the_model_wants_them(datatype: DataType, largest: int) -> None:
    found = {correlation_id("", with_control(datatype)) for _ in range(100)}
    assert len(found) == 100
    assert all(isinstance(key, int) and 0 < key < largest for key in found)
    assert isinstance(correlation_id(0, with_control(datatype)), int)


def test_new_ids_are_strings_elsewhere() -> None:
    for config in (model_config("m"), with_control(DataType.BYTES)):
        found = {correlation_id("", config) for _ in range(100)}
        assert len(found) == 100
        assert all(isinstance(key, str) and key.startswith("ws-") for key in found)


def test_a_clients_id_is_taken_as_it_is_where_the_model_can_carry_it() -> None:
    assert correlation_id(7, with_control(DataType.UINT64)) == 7
    assert correlation_id("7", with_control(DataType.BYTES)) == "7"
    assert correlation_id(7, model_config("m")) == 7
    assert correlation_id("7", model_config("m")) == "7"
    assert refusal_of(correlation_id, "7", with_control(DataType.UINT64)) == (
        "'sequence_id' is a string, but model 'm' takes an integer (its CORRID control is UINT64)"
    )
    assert refusal_of(correlation_id, 7, with_control(DataType.BYTES)) == (
        "'sequence_id' is an integer, but model 'm' takes a string (its CORRID control is BYTES)"
    )
