"""Decoupled models on a whole server, on every wire: any number of responses, also late ones,
finals, errors in the middle, and what unary calls get. Facts section 6."""

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from streamgate._proto import grpc_service_pb2 as pb
from streamgate.server.settings import GrpcTransport
from tests.frontends.grpc_client import Stream, Stub, infer_request, values_of
from tests.system.running_server import WAIT_SECONDS, RunningServer, running
from tests.system.talker import IN_A_THREAD, IN_EXECUTE, WITH_AN_ERROR, write_talkers
from tests.waiting import wait

MODELS = Path(__file__).parents[1] / "conformance" / "models"
Told = tuple[float | None, str, bool]
"""A message on a stream: the output's value, the error, whether it is final."""


@pytest.fixture(scope="module", params=GrpcTransport)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("models")
    shutil.copytree(MODELS / "decoupled_repeat", directory / "decoupled_repeat")
    write_talkers(directory)
    with running(directory, request.param) as server:
        yield server


@pytest.fixture
def stub(server: RunningServer) -> Iterator[Stub]:
    with Stub(server.grpc) as stub:
        yield stub


def repeat(
    count: int, error_at: int = -1, *, final: bool = False, raises: bool = False, **parameters: Any
) -> pb.ModelInferRequest:
    """`final` sends the flag with the last response. Parameters as in `infer_request`."""
    program = (count, error_at, int(final), int(raises))
    return infer_request(
        "decoupled_repeat", *program, dtype="INT32", tensor="PROGRAM", **parameters
    )


def told(message: pb.ModelStreamInferResponse) -> Told:
    response = message.infer_response
    value = values_of(response, "int32")[0] if response.raw_output_contents else None
    return value, message.error_message, response.parameters["triton_final_response"].bool_param


def answers(stub: Stub, *requests: pb.ModelInferRequest) -> list[Told]:
    stream = stub.stream()
    stream.send(*requests)
    stream.half_close()
    return [told(message) for message in stream.rest()]


@pytest.mark.parametrize("empty_final", [False, True])
@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_number_of_responses(stub: Stub, count: int, final: bool, empty_final: bool) -> None:
    request = repeat(count, final=final, triton_enable_empty_final_response=empty_final)
    expected: list[Told] = [(index, "", final and index == count - 1) for index in range(count)]
    if empty_final and not (final and count):
        expected.append((None, "", True))
    assert answers(stub, request) == expected


def test_an_error_between_two_responses(stub: Stub) -> None:
    expected = [(0, "", False), (None, "boom 1", False), (2, "", True)]
    assert answers(stub, repeat(3, 1, final=True)) == expected


def test_an_error_with_the_final_flag(stub: Stub) -> None:
    assert answers(stub, repeat(2, 1, final=True)) == [(0, "", False), (None, "boom 1", True)]


def test_a_model_that_raises(stub: Stub) -> None:
    (failed,) = answers(stub, repeat(2, raises=True))
    assert failed[0] is None
    assert "asked to raise" in failed[1]
    assert failed[2]


def talk(
    key: int, count: int, where: int, *, id: str, model: str = "talker", **parameters: Any
) -> pb.ModelInferRequest:
    program = (count, 4, where)
    request = infer_request(
        model, *program, id=id, dtype="INT32", tensor="PROGRAM", sequence_id=key, **parameters
    )
    request.inputs[0].shape[:] = [1, 3]
    return request


def id_and_index(stream: Stream) -> tuple[str, float]:
    message = stream.receive()
    assert not message.error_message
    return message.infer_response.id, values_of(message.infer_response, "int32")[0]


def test_responses_that_come_after_the_step_and_after_the_sequence(
    server: RunningServer, stub: Stub
) -> None:
    """A step has ended when `execute` has returned: the next one begins, whatever the first still
    has to send, and so may the sequence end. Each request's responses are in order."""
    server.gates.close("sent 11")
    stream = stub.stream()
    stream.send(talk(11, 3, IN_A_THREAD, id="first", sequence_start=True))
    assert id_and_index(stream) == ("first", 0)
    stream.send(talk(11, 0, IN_EXECUTE, id="second", sequence_end=True))
    server.until(lambda: server.gates.count("step 11") == 2)
    wait(lambda: server.active("talker") == 0)
    stream.send(talk(12, 2, IN_EXECUTE, id="other", sequence_start=True, sequence_end=True))
    assert [id_and_index(stream) for _ in range(2)] == [("other", 0), ("other", 1)]
    server.gates.open("sent 11")
    assert [id_and_index(stream) for _ in range(2)] == [("first", 1), ("first", 2)]
    stream.half_close()
    assert stream.rest() == []
    server.assert_at_rest("talker")


@pytest.mark.parametrize("where", [IN_EXECUTE, WITH_AN_ERROR])
def test_defect_13_a_model_that_goes_on_after_its_error_has_ended_the_stream(
    server: RunningServer, stub: Stub, where: int
) -> None:
    """Triton crashed. Here the stream ends with the error, and the model talks to nobody."""
    done = server.gates.count("done 0")
    for _ in range(20):
        stream = stub.stream([("triton_grpc_error", "true")])
        if where == IN_EXECUTE:
            stream.send(repeat(200, 1))
            first, text = 0, "boom 1"
        else:
            stream.send(talk(0, 200, where, id="r", model="stateless_talker"))
            first, text = 0, "boom"
        assert told(stream.receive())[0] == first
        assert stream.end() == (grpc.StatusCode.INVALID_ARGUMENT, text)
    if where == WITH_AN_ERROR:
        server.until(lambda: server.gates.count("done 0") == done + 20)
    assert answers(stub, repeat(1, final=True)) == [(0, "", True)]
    wait(lambda: server.pending("decoupled_repeat") == 0)


def test_errors_before_the_model_do_not_end_the_stream(stub: Stub) -> None:
    stream = stub.stream([("triton_grpc_error", "true")])
    stream.send(infer_request("nobody", 1.0, id="r"))
    assert "unknown model" in stream.receive().error_message
    stream.send(repeat(1, final=True))
    assert told(stream.receive()) == (0, "", True)


def test_a_unary_call_is_refused(stub: Stub) -> None:
    assert stub.refusal("ModelInfer", repeat(1)) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "ModelInfer RPC doesn't support models with decoupled transaction policy",
    )


def post(server: RunningServer, end_point: str, body: dict[str, Any]) -> tuple[int, str]:
    with closing(http.client.HTTPConnection(server.http, timeout=WAIT_SECONDS)) as connection:
        path = f"/v2/models/decoupled_repeat/{end_point}"
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_infer_over_http_is_refused(server: RunningServer) -> None:
    tensor = {"name": "PROGRAM", "datatype": "INT32", "shape": [4], "data": [1, -1, 0, 0]}
    status, text = post(server, "infer", {"inputs": [tensor]})
    assert status == 501
    assert json.loads(text)["error"] == (
        "HTTP end point doesn't support models with decoupled transaction policy"
    )


@pytest.mark.parametrize("count", [0, 1, 2])
def test_generate_takes_a_single_response(server: RunningServer, count: int) -> None:
    status, text = post(server, "generate", {"PROGRAM": [count, -1, 0, 0]})
    if count == 1:
        assert (status, json.loads(text)["OUTPUT"]) == (200, 0)
    else:
        assert status == 400
        assert "expects model to produce exactly 1 response" in json.loads(text)["error"]


def test_generate_tells_the_models_error(server: RunningServer) -> None:
    status, text = post(server, "generate", {"PROGRAM": [1, 0, 1, 0]})
    assert (status, json.loads(text)["error"]) == (400, "boom 0")


def test_a_stream_of_events(server: RunningServer) -> None:
    status, text = post(server, "generate_stream", {"PROGRAM": [3, 1, 0, 0]})
    assert status == 200
    events = [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n") if event]
    assert [event.get("OUTPUT", event.get("error")) for event in events] == [0, "boom 1", 2]
    assert post(server, "generate_stream", {"PROGRAM": [0, -1, 0, 0]}) == (200, "")
