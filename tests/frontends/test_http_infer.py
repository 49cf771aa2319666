"""The infer end point with JSON bodies over real sockets: every parameter, every refusal."""

from __future__ import annotations

import json
import math
import socket
from typing import Any

import numpy as np
import pytest

from streamgate.errors import Code, Failure
from streamgate.frontends.codes import HTTP_STATUS
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Tensor
from tests.frontends.conftest import HttpService
from tests.frontends.fake_gateway import int32
from tests.frontends.http_client import HEADER_LENGTH, HttpClient, Reply, inputs, tensor, values

NOT_TEXT = "attempt to access JSON non-string as string"
SHARED_MEMORY_OFF = (
    "Client shared memory is disabled. StreamGate does not serve it yet: send the data inline."
)
SOURCES = (
    "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
    "'shared_memory_region' in 'parameters'. But "
)


def test_an_answer_names_id_model_version_and_outputs_in_order(http: HttpClient) -> None:
    reply = http.infer(inputs(tensor(1.5, -2), id="a b"))
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert HEADER_LENGTH not in reply.headers
    assert reply.body == (
        b'{"id":"a b","model_name":"identity","model_version":"3","outputs":'
        b'[{"name":"OUT","datatype":"FP32","shape":[2],"data":[1.5,-2.0]}]}'
    )


def test_without_an_id_there_is_none(http: HttpClient) -> None:
    assert list(http.infer(inputs(tensor(1))).json) == ["model_name", "model_version", "outputs"]


def test_the_version_asked_for_is_served(http: HttpClient) -> None:
    assert http.infer(inputs(tensor(1)), "identity/versions/1").json["model_version"] == "1"


def test_unknown_members_and_the_content_type_do_not_matter(http: HttpClient) -> None:
    body = inputs(tensor(1, zzz=[1]), more={"a": 1})
    assert values(http.infer(body, headers={"Content-Type": "text/html"})) == [1.0]


def test_fp32_is_written_with_the_digits_of_a_double(http: HttpClient) -> None:
    found = values(http.infer('{"inputs":[' + json.dumps(tensor(0.1, math.nan, math.inf)) + "]}"))
    assert found[0] == 0.10000000149011612
    assert math.isnan(found[1])
    assert found[2] == math.inf


def test_numbers_beyond_a_double_are_refused(http: HttpClient) -> None:
    body = '{"inputs":[{"name":"IN","datatype":"FP32","shape":[1],"data":[1e400]}]}'
    status, message = http.infer(body).error
    assert status == 500
    assert message.startswith("failed to parse the request JSON buffer: Number too big to be stor")


@pytest.mark.parametrize("name", [d.value for d in DataType if d.value not in {"FP16", "BF16"}])
def test_every_type_with_a_json_form(http: HttpClient, name: str) -> None:
    special: dict[str, list[Any]] = {"BYTES": ["grün", ""], "BOOL": [True, False]}
    data = special.get(name, [1, 0])
    body = inputs(tensor(*data, datatype=name))
    assert values(http.infer(body, f"identity_{name}")) == data


def test_bytes_that_are_no_text_stay_json(http: HttpClient, http_service: HttpService) -> None:
    body = inputs(tensor("x", datatype="BYTES"), id="b")
    with HttpClient(http_service.address) as other:
        send = threaded(other, body, "manual")
        call = http_service.waiting("b")
        output = Tensor.of("OUT", np.array([b"\xff"], np.object_), DataType.BYTES)
        http_service.act(call.send, output)
        assert values(send()) == ["\\xff"]


def threaded(client: HttpClient, body: object, model: str) -> Any:
    """Send without waiting; the result waits for the reply."""
    connection = client._connection
    connection.request("POST", f"/v2/models/{model}/infer", json.dumps(body).encode())

    def receive() -> Reply:
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())

    return receive


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_needs_binary_data(http: HttpClient, datatype: str) -> None:
    assert http.infer(inputs(tensor(1, datatype=datatype))).error == (
        400,
        (
            f"receiving {datatype} data via JSON is not supported. Please use the binary data "
            "format for input IN"
        ),
    )
    entry = tensor(datatype=datatype, shape=[1], data=None, parameters={"binary_data_size": 2})
    assert http.infer_binary(inputs(entry), bytes(2), f"identity_{datatype}").error == (
        400,
        (
            f"sending {datatype} data via JSON is not supported. Please use the binary data format "
            "for output"
        ),
    )


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (
            "{bad",
            500,
            "failed to parse the request JSON buffer: Missing a name for object member. at 1",
        ),
        *(
            (
                body,
                500,
                "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'",
            )
            for body in ("[]", "[1]", "7", '"text"', "{}", "null")
        ),
        (
            '{"inputs":[]} trailing',
            500,
            (
                "failed to parse the request JSON buffer: The document root must not be followed "
                "by other values. at 14"
            ),
        ),
        (
            {"inputs": 3},
            500,
            "Unable to parse 'inputs': attempt to access JSON non-array as array",
        ),
        ({"inputs": [3]}, 400, f"{SOURCES}no field is set"),
        (
            inputs(tensor(1, name=None)),
            500,
            "Unable to parse 'name': attempt to access non-existing object member 'name'",
        ),
        (inputs(tensor(1, data=None)), 400, f"{SOURCES}no field is set"),
        (
            inputs(tensor(1, parameters={"binary_data_size": 4})),
            400,
            f"{SOURCES}set 'data' 'binary_data_size'",
        ),
        (
            inputs(tensor(1, parameters={"binary_data_size": 4, "shared_memory_region": "r"})),
            400,
            f"{SOURCES}set 'data' 'binary_data_size' 'shared_memory_region'",
        ),
        (
            inputs(tensor(1, data=None, parameters={"shared_memory_region": "r"})),
            501,
            SHARED_MEMORY_OFF,
        ),
        (inputs(tensor(1), id=3), 500, f"Unable to parse 'id': {NOT_TEXT}"),
        (
            inputs(tensor(1), parameters=3),
            500,
            "failed to get request params.: attempt to get members for non-object",
        ),
        (
            inputs(tensor(1), outputs=3),
            500,
            "Unable to parse 'outputs': attempt to access JSON non-array as array",
        ),
        (
            inputs(tensor(1), outputs=[{}]),
            500,
            "Unable to parse 'name': attempt to access non-existing object member 'name'",
        ),
        (
            inputs(tensor(1), outputs=[3]),
            500,
            "Unable to parse 'name': attempt to access non-existing object member 'name'",
        ),
        (inputs(tensor(1, datatype="FOO")), 400, "invalid datatype for input IN"),
        (
            inputs(tensor(1, name="X")),
            400,
            "unexpected inference input 'X' for model 'identity'",
        ),
    ],
)
def test_bodies_that_are_refused_and_a_connection_that_goes_on(
    http: HttpClient, body: object, status: int, message: str
) -> None:
    assert http.infer(body).error == (status, message)
    assert values(http.infer(inputs(tensor(1)))) == [1.0]


def test_no_outputs_named_means_all(http: HttpClient, http_service: HttpService) -> None:
    assert values(http.infer(inputs(tensor(1), outputs=[]))) == [1.0]
    assert list(http_service.gateway.requests[-1].requested_outputs) == []


def test_requested_outputs_reach_the_gateway(http: HttpClient, http_service: HttpService) -> None:
    http.infer(inputs(tensor(1), outputs=[{"name": "OUT"}, {"name": "B", "parameters": 3}]))
    assert list(http_service.gateway.requests[-1].requested_outputs) == ["OUT", "B"]


def classified(count: int, **parameters: object) -> dict[str, Any]:
    entry = tensor(0.5, 2, 1, 0.5, 2, 3, shape=[2, 3])
    wanted = {"name": "OUT", "parameters": {"classification": count} | parameters}
    return inputs(entry, outputs=[wanted])


def test_classification(http: HttpClient) -> None:
    (output,) = http.infer(classified(2), "batched").json["outputs"]
    assert output == {
        "name": "OUT",
        "datatype": "BYTES",
        "shape": [2, 2],
        "data": ["2.000000:1:dog", "1.000000:2", "3.000000:2", "2.000000:1:dog"],
    }


def test_classification_as_binary_data(http: HttpClient) -> None:
    reply = http.infer(classified(1, binary_data=True), "batched")
    assert reply.json["outputs"][0]["parameters"] == {"binary_data_size": 32}
    assert reply.tail == b"\x0e\0\0\0" + b"2.000000:1:dog" + b"\x0a\0\0\0" + b"3.000000:2"


def test_classification_0_is_off_and_too_many_classes_are_all(http: HttpClient) -> None:
    (output,) = http.infer(classified(0), "batched").json["outputs"]
    assert output["datatype"] == "FP32"
    (output,) = http.infer(classified(9), "batched").json["outputs"]
    assert output["shape"] == [2, 3]


def test_a_type_that_can_not_be_classified(http: HttpClient) -> None:
    body = inputs(
        tensor("x", datatype="BYTES"),
        outputs=[{"name": "OUT", "parameters": {"classification": 1}}],
    )
    assert http.infer(body, "identity_BYTES").error == (
        400,
        "class result not available for output due to unsupported type 'BYTES'",
    )


@pytest.mark.parametrize(
    ("model", "status", "message"),
    [
        ("nobody", 404, "Request for unknown model: 'nobody' is not found"),
        (
            "identity/versions/9",
            404,
            "Request for unknown model: 'identity' version 9 is not found",
        ),
        (
            "counting",
            501,
            "HTTP end point doesn't support models with decoupled transaction policy",
        ),
    ],
)
def test_the_model_is_looked_up_before_the_body_is_read(
    http: HttpClient, model: str, status: int, message: str
) -> None:
    assert http.infer("{bad", model).error == (status, message)
    assert http.infer("{bad", model, {"Content-Encoding": "br"}).error == (status, message)


def test_errors_of_the_model_and_of_admission(http: HttpClient) -> None:
    assert http.infer(inputs(tensor(1)), "failing").error == (400, "boom")
    assert http.infer(inputs(tensor(1, datatype="INT32")), "accumulate").error == (
        400,
        (
            "inference request to model 'accumulate' must specify a non-zero or non-empty "
            "correlation ID"
        ),
    )


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_its_status(http_service: HttpService, code: Code) -> None:
    with HttpClient(http_service.address) as client:
        receive = threaded(client, inputs(tensor(1), id="c"), "manual")
        http_service.act(http_service.waiting("c").fail, Failure(code, "as told"))
        assert receive().error == (HTTP_STATUS[code], "as told")


def test_not_one_response_is_an_error(http_service: HttpService) -> None:
    with HttpClient(http_service.address) as client:
        receive = threaded(client, inputs(tensor(1), id="none"), "manual")
        http_service.act(http_service.waiting("none").close)
        assert receive().error == (500, "expected a single response, got 0")
        receive = threaded(client, inputs(tensor(1), id="two"), "manual")
        call = http_service.waiting("two")
        http_service.act(call.send, int32("OUT", 1), final=False)
        http_service.act(call.send, int32("OUT", 2))
        assert receive().error == (500, "expected a single response, got 2")


def test_a_sequence_goes_on_over_other_connections(http_service: HttpService) -> None:
    def step(value: int, key: object, **flags: bool) -> list[Any]:
        with HttpClient(http_service.address) as client:
            parameters = {"sequence_id": key} | flags
            body = inputs(tensor(value, datatype="INT32"), parameters=parameters)
            return values(client.infer(body, "accumulate"))

    assert step(1, 7, sequence_start=True) == [1]
    assert step(10, "7", sequence_start=True) == [10]
    assert step(2, 7) == [3]
    assert step(20, "7", sequence_end=True) == [30]
    assert step(3, 7, sequence_end=True) == [6]
    connections = http_service.gateway.connections
    assert [connection.closed for connection in connections] == [False] * 5
    assert http_service.gateway.ended == []


def test_refused_requests_close_their_gateway_connection(
    http: HttpClient, http_service: HttpService
) -> None:
    http.infer(inputs(tensor(1, name="X")))
    (connection,) = http_service.gateway.connections
    assert connection.closed is False


def test_a_client_that_goes_cancels_its_request_but_not_its_sequence(
    http_service: HttpService,
) -> None:
    body = inputs(tensor(1), id="gone", parameters={"sequence_id": 5, "sequence_start": True})
    client = HttpClient(http_service.address)
    threaded(client, body, "manual_sequence")
    call = http_service.waiting("gone")
    sock = client._connection.sock
    assert sock is not None
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    http_service.thread.wait_until(lambda: call.finished)
    assert http_service.gateway.cancelled == ["gone"]
    assert call.connection.closed is False
    assert ("manual_sequence", 5) in http_service.gateway.live
