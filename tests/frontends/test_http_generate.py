"""The generate extension over real sockets: mapping, shapes, one response, streams of events."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from streamgate.errors import Code, Failure
from streamgate.frontends.kserve_http import aio, generate
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Shape, Tensor, TensorSpec
from tests.frontends.conftest import HttpService
from tests.frontends.fake_gateway import FakeModel, identity, int32, model_config
from tests.frontends.http_client import WAIT_SECONDS, HttpClient

NOT_ONE = (
    "generate expects model to produce exactly 1 response, use generate stream for model that "
    "generates various number of responses"
)


def call(http: HttpClient, model: str, body: object, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(f"/v2/models/{model}/generate", body, named)


def events(http: HttpClient, model: str, body: object) -> tuple[int, list[Any]]:
    reply = http.post(f"/v2/models/{model}/generate_stream", body)
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["Transfer-Encoding"] == "chunked"
    return reply.status, parsed(reply.body)


def parsed(body: bytes) -> list[Any]:
    *parts, rest = body.split(b"\n\n")
    assert rest == b""
    assert all(part.startswith(b"data: ") for part in parts)
    return [json.loads(part.removeprefix(b"data: ")) for part in parts]


def test_a_scalar_comes_back_as_one(http: HttpClient) -> None:
    reply = call(http, "identity_INT32", {"IN": 5})
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json == {"model_name": "identity_INT32", "model_version": "3", "OUT": 5}


def test_a_list_comes_back_flat(http: HttpClient) -> None:
    assert call(http, "identity", {"IN": [[1, 2], [3]]}).json["OUT"] == [1.0, 2.0, 3.0]
    assert call(http, "identity", {"IN": []}).json["OUT"] == []
    assert call(http, "identity_BYTES", {"IN": "grün"}).json["OUT"] == "grün"


def test_the_version_asked_for(http: HttpClient) -> None:
    reply = http.post("/v2/models/identity/versions/1/generate", {"IN": 1})
    assert reply.json["model_version"] == "1"


def test_members_are_inputs_or_parameters(http: HttpClient, http_service: HttpService) -> None:
    body = {"IN0": 1, "word": "x", "n": 2, "parameters": {"IN1": [2], "p": True, "f": 1.5}}
    reply = call(http, "pair", body)
    assert (reply.json["OUT0"], reply.json["OUT1"]) == (1.0, 2.0)
    request = http_service.gateway.requests[-1]
    assert request.parameters == {"word": "x", "n": 2, "p": True, "f": 1.5}
    assert (request.sequence, request.id) == (0, "")


def test_an_id_is_the_requests_and_a_parameter(http: HttpClient, http_service: HttpService) -> None:
    assert call(http, "identity", {"IN": 1, "id": "g"}).json["id"] == "g"
    assert http_service.gateway.requests[-1].parameters == {"id": "g"}


def test_sequence_parameters_mean_nothing_here(http: HttpClient, http_service: HttpService) -> None:
    assert call(http, "accumulate", {"IN": 1, "sequence_id": 3, "sequence_start": True}).error == (
        400,
        (
            "inference request to model 'accumulate' must specify a non-zero or non-empty "
            "correlation ID"
        ),
    )
    call(http, "identity", {"IN": 1, "priority": 2, "triton_x": 1})
    request = http_service.gateway.requests[-1]
    assert (request.priority, request.parameters) == (0, {"priority": 2, "triton_x": 1})


def test_a_models_parameters_are_in_the_object(http: HttpClient) -> None:
    assert call(http, "parrot", {"IN": 1, "a": "b"}).json == {
        "model_name": "parrot",
        "model_version": "3",
        "a": "b",
    }


def add_model(service: HttpService, shape: Shape, *, batches: bool) -> None:
    """The model `shaped`, with one input of this shape."""
    given = model_config("shaped", max_batch_size=8 if batches else 0)
    config = ModelConfig(
        name="shaped",
        backend="fake",
        platform="",
        max_batch_size=given.max_batch_size,
        inputs=(TensorSpec("IN", DataType.FP32, shape),),
        outputs=given.outputs,
        scheduling=given.scheduling,
    )
    service.gateway.models["shaped"] = FakeModel(config, identity)


@pytest.mark.parametrize(
    ("shape", "batches", "count", "expected"),
    [
        ((1,), False, 1, (1,)),
        ((1,), False, 2, None),
        ((4,), True, 8, (2, 4)),
        ((4,), True, 6, None),
        ((4,), True, 0, None),
        ((-1,), True, 3, (1, 3)),
        ((-1,), False, 0, (0,)),
        ((-1,), True, 0, (1, 0)),
        ((2, -1), False, 6, (2, 3)),
        ((-1, 2), False, 6, (3, 2)),
        ((-1, -1), False, 6, (1, 6)),
        ((-1, 2, -1, 3), True, 12, (1, 1, 2, 2, 3)),
        ((2, -1), False, 5, None),
    ],
)
def test_shapes_follow_from_the_number_of_elements(
    http: HttpClient,
    http_service: HttpService,
    shape: Shape,
    batches: bool,
    count: int,
    expected: Shape | None,
) -> None:
    add_model(http_service, shape, batches=batches)
    reply = call(http, "shaped", {"IN": [0.5] * count})
    if expected is None:
        text = "The schema can not convert input 'IN' to tensor with proper shape"
        assert reply.error == (400, text)
    else:
        assert reply.status == 200
        assert http_service.gateway.requests[-1].inputs[0].shape == expected


@pytest.mark.parametrize("path", ["generate", "generate_stream"])
@pytest.mark.parametrize(
    ("model", "body", "status", "message"),
    [
        ("nobody", "{bad", 404, "Request for unknown model: 'nobody' is not found"),
        (
            "identity_INT32",
            {"IN": "text"},
            500,
            "Unable to parse 'data': attempt to access JSON non-signed-integer as signed-integer",
        ),
        (
            "identity",
            {"IN": None},
            500,
            "Unable to parse 'data': attempt to access JSON non-number as double",
        ),
        (
            "identity",
            {"IN": 1, "list": [1]},
            400,
            "parameter 'list' has invalid type. It should be either 'int', 'bool', or 'string'.",
        ),
        (
            "identity",
            {"parameters": {"parameters": {}}},
            400,
            (
                "parameter 'parameters' has invalid type. It should be either 'int', 'bool', or "
                "'string'."
            ),
        ),
        (
            "identity",
            {"parameters": None},
            400,
            (
                "parameter 'parameters' has invalid type. It should be either 'int', 'bool', or "
                "'string'."
            ),
        ),
        (
            "identity",
            {"id": 3},
            500,
            "Unable to parse 'id': attempt to access JSON non-string as string",
        ),
        (
            "identity",
            "{bad",
            500,
            "failed to parse the request JSON buffer: Missing a name for object member. at 1",
        ),
        (
            "identity",
            b"",
            500,
            "failed to parse the request JSON buffer: The document is empty. at 0",
        ),
        ("identity", "[]", 500, "attempt to get members for non-object"),
        (
            "identity",
            '{"IN": 1e400}',
            500,
            "failed to parse the request JSON buffer: Number too big to be stored in double. at 7",
        ),
        (
            "identity_FP16",
            {"IN": 1},
            400,
            (
                "receiving FP16 data via JSON is not supported. Please use the binary data format "
                "for input IN"
            ),
        ),
    ],
)
def test_requests_that_are_refused(
    http: HttpClient, path: str, model: str, body: object, status: int, message: str
) -> None:
    assert http.post(f"/v2/models/{model}/{path}", body).error == (status, message)


def test_compression_is_refused_but_not_identity(http: HttpClient) -> None:
    reply = call(http, "identity", {"IN": 1}, Content_Encoding="gzip")
    assert reply.error == (400, "Unsupported content-encoding, only 'identity' is supported.")
    assert call(http, "identity", {"IN": 1}, Content_Encoding="identity").status == 200


def test_errors_have_the_status_of_their_code(http: HttpClient) -> None:
    assert call(http, "failing", {"IN": 1}).error == (400, "boom")


@pytest.mark.parametrize("count", [0, 2, -1, -2])
def test_not_one_response_is_an_error_with_its_own_status(http: HttpClient, count: int) -> None:
    assert call(http, "counting", {"IN": count}).error == (400, NOT_ONE)


def test_a_decoupled_model_may_answer_once(http: HttpClient) -> None:
    assert call(http, "counting", {"IN": 1}).json["OUT"] == 0


def test_a_stream_has_an_event_for_each_response(http: HttpClient) -> None:
    status, found = events(http, "counting", {"IN": 3, "id": "s"})
    assert status == 200
    assert found == [
        {"id": "s", "model_name": "counting", "model_version": "3", "OUT": n} for n in range(3)
    ]


def test_a_stream_of_a_model_that_answers_once(http: HttpClient) -> None:
    status, found = events(http, "identity", {"IN": 5})
    assert (status, [event["OUT"] for event in found]) == (200, [5.0])


def test_a_stream_without_responses_is_empty(http: HttpClient) -> None:
    assert events(http, "counting", {"IN": 0}) == (200, [])


def test_a_stream_goes_on_after_an_error(http: HttpClient) -> None:
    status, found = events(http, "counting", {"IN": -2})
    assert status == 200
    assert [event.get("OUT", event.get("error")) for event in found] == [0, "boom 1", 1]


def test_a_stream_has_the_status_of_its_first_response(http: HttpClient) -> None:
    assert events(http, "failing", {"IN": 1}) == (400, [{"error": "boom"}])


def test_an_output_without_json_form_is_an_event_of_its_own(
    http_service: HttpService, stream: StreamClient
) -> None:
    stream.begin("half")
    request = http_service.waiting("half")
    http_service.act(request.send, int32("OUT", 1), final=False)
    half = Tensor.of("OUT", np.zeros(1, np.float16), DataType.FP16)
    http_service.act(request.send, half, final=True)
    _, found = stream.end()
    assert found[0]["OUT"] == 1
    assert found[1]["error"].startswith("sending FP16 data via JSON is not supported.")


class StreamClient:
    """One generate_stream call to `manual_decoupled`, read while it goes on."""

    def __init__(self, service: HttpService) -> None:
        host, port = service.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), WAIT_SECONDS)

    def begin(self, request_id: str) -> None:
        body = json.dumps({"IN": 1, "id": request_id}).encode()
        head = (
            "POST /v2/models/manual_decoupled/generate_stream HTTP/1.1\r\nHost: x\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + body)

    def until(self, text: bytes) -> bytes:
        """What comes up to this text."""
        found = b""
        while text not in found:
            part = self.socket.recv(65536)
            assert part, found
            found += part
        return found

    def end(self) -> tuple[bytes, list[Any]]:
        """The head and all events, once the server has closed."""
        found = b"".join(iter(lambda: self.socket.recv(65536), b""))
        head, _, body = found.partition(b"\r\n\r\n")
        content = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            content += body[: int(size, 16)]
            body = body[int(size, 16) + 2 :]
        return head, parsed(content)


@pytest.fixture
def stream(http_service: HttpService) -> Iterator[StreamClient]:
    client = StreamClient(http_service)
    yield client
    client.socket.close()


def test_events_leave_as_they_come(http_service: HttpService, stream: StreamClient) -> None:
    stream.begin("live")
    request = http_service.waiting("live")
    http_service.act(request.send, int32("OUT", 1), final=False)
    assert stream.until(b'"OUT":1}\n\n').startswith(b"HTTP/1.1 200 OK\r\n")
    http_service.act(request.send, int32("OUT", 2), final=False)
    stream.until(b'"OUT":2}\n\n')
    http_service.act(request.close)
    assert stream.until(b"0\r\n\r\n").endswith(b"0\r\n\r\n")
    assert request.connection.closed is False


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.INTERNAL, Code.UNAVAILABLE])
def test_the_first_error_decides_the_status(
    http_service: HttpService, stream: StreamClient, code: Code
) -> None:
    status = {Code.NOT_FOUND: b"404", Code.INTERNAL: b"500", Code.UNAVAILABLE: b"503"}[code]
    stream.begin("bad")
    request = http_service.waiting("bad")
    http_service.act(request.fail, Failure(code, "no"))
    head, found = stream.end()
    assert head.startswith(b"HTTP/1.1 " + status)
    assert found == [{"error": "no"}]


def test_a_client_that_goes_cancels_its_stream(
    http_service: HttpService, stream: StreamClient
) -> None:
    stream.begin("gone")
    request = http_service.waiting("gone")
    http_service.act(request.send, int32("OUT", 1), final=False)
    stream.until(b"\n\n")
    stream.socket.close()
    http_service.thread.wait_until(lambda: request.finished)
    assert http_service.gateway.cancelled == ["gone"]
    assert request.connection.closed is False


def test_a_client_that_reads_too_slowly_is_cut(
    http_service: HttpService, stream: StreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "UNSENT_BYTES_MAX", 1_000_000)
    stream.begin("slow")
    request = http_service.waiting("slow")
    text = Tensor.of("OUT", np.array([b"x" * 500_000], np.object_), DataType.BYTES)

    def flood() -> bool:
        if not request.finished:
            request.send(text, final=False)
        return request.finished

    http_service.thread.wait_until(flood)
    assert http_service.gateway.cancelled == ["slow"]
    found = b"".join(iter(lambda: stream.socket.recv(1 << 20), b""))
    assert not found.endswith(b"0\r\n\r\n")


def test_a_client_that_takes_nothing_for_too_long_is_cut(
    http_service: HttpService, stream: StreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "EVENTS_UNREAD_SECONDS", 0.2)
    stream.begin("slow")
    request = http_service.waiting("slow")
    text = Tensor.of("OUT", np.array([b"x" * 500_000], np.object_), DataType.BYTES)

    def send_while_it_may() -> bool:
        if not request.finished and not request.connection.paused:
            request.send(text, final=False)
        return request.finished

    http_service.thread.wait_until(send_while_it_may)
    assert http_service.gateway.cancelled == ["slow"]
    found = b"".join(iter(lambda: stream.socket.recv(1 << 20), b""))
    assert not found.endswith(b"0\r\n\r\n")
