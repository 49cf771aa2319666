"""The binary tensor data extension over real sockets: sizes, lengths, raw requests, outputs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Shape, TensorSpec, pack_bytes
from tests.frontends.conftest import HttpService
from tests.frontends.fake_gateway import FakeModel, identity, model_config
from tests.frontends.http_client import (
    HEADER_LENGTH,
    HttpClient,
    binary_tensor,
    inputs,
    tensor,
)

FOUR = np.array([1, 2, 3, 4], np.float32).tobytes()
RAW = {HEADER_LENGTH: "0"}
NO_ID = "[request id: <id_unknown>] "


def test_binary_in_and_json_out(http: HttpClient) -> None:
    reply = http.infer_binary(inputs(binary_tensor(16, 4)), FOUR)
    assert reply.json["outputs"][0]["data"] == [1, 2, 3, 4]
    assert HEADER_LENGTH not in reply.headers


def test_json_in_and_binary_out(http: HttpClient) -> None:
    reply = http.infer(inputs(tensor(1, 2, 3, 4), parameters={"binary_data_output": True}))
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.json["outputs"] == [
        {
            "name": "OUT",
            "datatype": "FP32",
            "shape": [4],
            "parameters": {"binary_data_size": 16},
        }
    ]
    assert reply.tail == FOUR


@pytest.mark.parametrize(
    ("default", "own", "binary"),
    [
        (None, None, False),
        (True, None, True),
        (False, True, True),
        (True, False, False),
        (None, True, True),
    ],
)
def test_what_an_output_says_wins_over_the_request(
    http: HttpClient, default: bool | None, own: bool | None, binary: bool
) -> None:
    parameters = {} if default is None else {"binary_data_output": default}
    output: dict[str, Any] = {"name": "OUT"}
    if own is not None:
        output["parameters"] = {"binary_data": own}
    reply = http.infer(inputs(tensor(1), parameters=parameters, outputs=[output]))
    assert (HEADER_LENGTH in reply.headers) is binary


def test_inputs_and_outputs_of_both_kinds_keep_their_order(http: HttpClient) -> None:
    entries = [binary_tensor(8, 2, name="IN0"), binary_tensor(4, 1, name="IN1")]
    outputs = [{"name": "OUT1", "parameters": {"binary_data": True}}, {"name": "OUT0"}]
    tail = np.array([1, 2, 3], np.float32).tobytes()
    reply = http.infer_binary(inputs(*entries, outputs=outputs), tail, "pair")
    first, second = reply.json["outputs"]
    assert (first["name"], first["data"]) == ("OUT0", [1, 2])
    assert (second["name"], second["parameters"]) == ("OUT1", {"binary_data_size": 4})
    assert reply.tail == np.float32(3).tobytes()


@pytest.mark.parametrize("datatype", list(DataType))
def test_every_type(http: HttpClient, datatype: DataType) -> None:
    raw = pack_bytes([b"\xff\0", b""]) if datatype is DataType.BYTES else None
    data = raw or bytes(range(2 * datatype.size_bytes))
    entry = binary_tensor(len(data), 2, datatype=datatype.value)
    body = inputs(entry, parameters={"binary_data_output": True})
    reply = http.infer_binary(body, data, f"identity_{datatype.value}")
    assert reply.tail == data


def test_large_tensors(http: HttpClient) -> None:
    data = np.random.default_rng(7).random(1_500_000, np.float32).tobytes()
    body = inputs(binary_tensor(len(data), len(data) // 4), parameters={"binary_data_output": True})
    reply = http.infer_binary(body, data)
    assert reply.tail == data


def test_an_output_without_elements_is_told_in_plain_json(http: HttpClient) -> None:
    body = inputs(binary_tensor(0, 0), parameters={"binary_data_output": True})
    reply = http.infer_binary(body, b"")
    assert HEADER_LENGTH not in reply.headers
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json["outputs"][0]["parameters"] == {"binary_data_size": 0}


@pytest.mark.parametrize(
    ("size", "tail", "status", "message"),
    [
        (16, bytes(10), 400, "unexpected size for input 'IN', expecting 6 additional bytes for"),
        (16, bytes(20), 400, "unexpected additional input data for"),
        ("16", bytes(16), 500, "Unable to parse 'binary_data_size': attempt to access JSON non-un"),
        (-1, bytes(16), 500, "Unable to parse 'binary_data_size': attempt to access JSON non-un"),
        (1.5, bytes(16), 500, "Unable to parse 'binary_data_size': attempt to access JSON non-un"),
        (None, bytes(16), 500, "Unable to parse 'binary_data_size': attempt to access JSON non-u"),
    ],
)
def test_sizes_that_do_not_add_up(
    http: HttpClient, size: object, tail: bytes, status: int, message: str
) -> None:
    entry = binary_tensor(size, 4)
    found = http.infer_binary(inputs(entry), tail).error
    assert found[0] == status
    assert found[1].startswith(message)
    if status == 400:
        assert found[1].endswith(" model 'identity'")


def test_binary_data_without_the_header_is_missing(http: HttpClient) -> None:
    assert http.infer(inputs(binary_tensor(16, 4))).error == (
        400,
        "unexpected size for input 'IN', expecting 16 additional bytes for model 'identity'",
    )


@pytest.mark.parametrize("length", ["9999", "-1"])
def test_header_lengths_that_can_not_be(http: HttpClient, length: str) -> None:
    body = inputs(tensor(1))
    size = len(json.dumps(body))
    expected = f"inference header size should be in range (0, {size}), got: {length}"
    assert http.infer_binary(body, b"", length=length).error == (400, expected)


def test_a_header_length_that_cuts_the_json(http: HttpClient) -> None:
    expected = "failed to parse the request JSON buffer: Invalid value. at 10"
    assert http.infer_binary(inputs(tensor(1)), b"", length="10").error == (500, expected)


@pytest.mark.parametrize("datatype", ["FOO", "fp32", ""])
def test_unknown_types_of_binary_data(
    http: HttpClient, http_service: HttpService, datatype: str
) -> None:
    http.infer_binary(inputs(binary_tensor(1, 1, datatype=datatype)), bytes(1))
    (request,) = http_service.gateway.requests
    assert request.unknown_types == {"IN"}, "for the session to refuse"
    http.infer_binary(inputs(binary_tensor(4, 1)), bytes(4))
    assert not http_service.gateway.requests[1].unknown_types


def add_model(
    service: HttpService, name: str, datatype: DataType, shape: Shape, max_batch_size: int = 0
) -> None:
    """A model like `identity` with one input of this shape."""
    given = model_config(name, datatype, max_batch_size=max_batch_size)
    config = ModelConfig(
        name=name,
        backend="fake",
        platform="",
        max_batch_size=max_batch_size,
        inputs=(TensorSpec("IN", datatype, shape),),
        outputs=given.outputs,
        scheduling=given.scheduling,
    )
    service.gateway.models[name] = FakeModel(config, identity)


@pytest.mark.parametrize("length", ["0", "", "none", "0x10"])
def test_a_raw_request_is_the_only_input(http: HttpClient, length: str) -> None:
    reply = http.infer(FOUR, headers={HEADER_LENGTH: length})
    assert reply.json["outputs"][0]["shape"] == [4]
    assert reply.tail == FOUR


def test_a_raw_request_gets_a_batch_dimension_of_1(
    http: HttpClient, http_service: HttpService
) -> None:
    add_model(http_service, "raw", DataType.INT16, (2, -1, 3), max_batch_size=8)
    reply = http.infer(bytes(24), "raw", RAW)
    assert reply.json["outputs"][0]["shape"] == [1, 2, 2, 3]


def test_a_raw_request_to_a_model_of_text_gets_its_length(
    http: HttpClient, http_service: HttpService
) -> None:
    add_model(http_service, "text", DataType.BYTES, (1,))
    assert http.infer(b"text", "text", RAW).tail == b"\x04\0\0\0text"


def test_no_body_at_all_is_a_raw_request(http: HttpClient, http_service: HttpService) -> None:
    reply = http.infer(b"")
    assert reply.json["outputs"][0]["shape"] == [0]
    add_model(http_service, "fixed", DataType.FP32, (4,))
    assert http.infer(b"", "fixed").error == (
        400,
        (
            f"{NO_ID}input byte size mismatch for input 'raw_input' for model 'fixed'. Expected "
            "16, got 0"
        ),
    )


def test_raw_requests_that_do_not_fit(http: HttpClient, http_service: HttpService) -> None:
    add_model(http_service, "two", DataType.FP32, (-1, -1))
    assert http.infer(bytes(15), headers=RAW).error == (
        400,
        (
            f"{NO_ID}input byte size mismatch for input 'raw_input' for model 'identity'. Expected "
            "12, got 15"
        ),
    )
    assert http.infer(bytes(8), "two", RAW).error == (
        400,
        (
            f"{NO_ID}The shape of the raw input 'IN' can not be deduced because there are more "
            "than one variable-sized dimension"
        ),
    )
    assert http.infer(b"x", "identity_BYTES", RAW).error == (
        400,
        f"{NO_ID}For BYTE datatype raw input 'IN', the model must have input shape [1]",
    )
    assert http.infer(bytes(8), "pair", RAW).error == (
        400,
        (
            f"{NO_ID}Raw request must only have 1 input (found 1) to be deduced but got 2 inputs "
            "in 'pair' model configuration"
        ),
    )
