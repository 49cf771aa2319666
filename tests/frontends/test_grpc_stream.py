"""ModelStreamInfer over real sockets: the form of every message, order, endings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from streamgate._proto import grpc_service_pb2 as pb
from streamgate.errors import Code, EndReason, Failure
from streamgate.frontends.kserve_grpc import GrpcOptions, StreamLimits
from tests.frontends.conftest import GrpcService, GrpcStarter
from tests.frontends.fake_gateway import int32
from tests.frontends.grpc_client import Stub, infer_request, values_of

GRPC_ERROR = (("triton_grpc_error", "true"),)


@pytest.fixture
def stub(service: GrpcService) -> Iterator[Stub]:
    with Stub(service.address) as stub:
        yield stub


def message(
    error: str = "", *, final: bool | None, **fields: object
) -> pb.ModelStreamInferResponse:
    response = pb.ModelStreamInferResponse(error_message=error)
    response.infer_response.SetInParent()
    for field, value in fields.items():
        setattr(response.infer_response, field, value)
    if final is not None:
        response.infer_response.parameters["triton_final_response"].bool_param = final
    return response


def data(model: str, value: int, *, final: bool, id: str = "r") -> pb.ModelStreamInferResponse:
    response = message(model_name=model, model_version="3", id=id, final=final)
    response.infer_response.outputs.add(name="OUT", datatype="INT32", shape=[1])
    response.infer_response.raw_output_contents.append(bytes(int32("OUT", value).raw))
    return response


def counting(count: int, **parameters: Any) -> pb.ModelInferRequest:
    return infer_request("counting", count, id="r", dtype="INT32", **parameters)


def test_a_plain_model_answers_with_the_final_flag(stub: Stub) -> None:
    stream = stub.stream()
    request = infer_request("accumulate", 5, dtype="INT32", id="r", sequence_id=1)
    request.parameters["sequence_start"].bool_param = True
    stream.send(request)
    assert stream.receive() == data("accumulate", 5, final=True)


def test_responses_of_a_decoupled_model(stub: Stub) -> None:
    stream = stub.stream()
    stream.send(counting(2))
    stream.half_close()
    assert stream.rest() == [data("counting", value, final=False) for value in (0, 1)]
    assert stream.end() == (grpc.StatusCode.OK, "")


@pytest.mark.parametrize("version", ["", "1"])
def test_the_empty_final_response_where_it_was_asked_for(stub: Stub, version: str) -> None:
    stream = stub.stream()
    request = counting(0, triton_enable_empty_final_response=True)
    request.model_version = version
    stream.send(request)
    stream.half_close()
    expected = message(model_name="counting", model_version=version, id="r", final=True)
    assert stream.rest() == [expected]


def test_nothing_at_all_where_it_was_not(stub: Stub) -> None:
    stream = stub.stream()
    stream.send(counting(0))
    stream.half_close()
    assert stream.rest() == []
    assert stream.end() == (grpc.StatusCode.OK, "")


def test_a_final_flag_on_the_last_data_is_the_end(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    request = infer_request("manual_decoupled", 1.0, id="r")
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    stream.send(request)
    call = service.waiting("r")
    service.act(call.send, int32("OUT", 7), final=False)
    service.act(call.send, int32("OUT", 8))
    stream.half_close()
    assert stream.rest() == [
        data("manual_decoupled", 7, final=False),
        data("manual_decoupled", 8, final=True),
    ]


def test_a_models_error_in_the_middle_does_not_end_its_request(stub: Stub) -> None:
    stream = stub.stream()
    stream.send(counting(-3))
    stream.half_close()
    assert stream.rest() == [
        data("counting", 0, final=False),
        message("boom 1", model_name="counting", id="r", final=False),
        data("counting", 1, final=False),
        data("counting", 2, final=False),
    ]


@pytest.mark.parametrize("version", ["", "1"])
def test_an_error_after_admission(stub: Stub, version: str) -> None:
    stream = stub.stream()
    request = infer_request("failing", 1.0, id="r")
    request.model_version = version
    stream.send(request)
    expected = message("boom", model_name="failing", model_version=version, id="r", final=True)
    assert stream.receive() == expected


def refused_requests() -> list[tuple[pb.ModelInferRequest, str]]:
    bad_version = infer_request("identity", 1.0, id="r")
    bad_version.model_version = "9"
    no_data = infer_request("identity", 1.0, id="r")
    del no_data.raw_input_contents[:]
    return [
        (infer_request("nope", 1.0, id="r"), "Request for unknown model: 'nope' is not found"),
        (bad_version, "Request for unknown model: 'identity' version 9 is not found"),
        (
            infer_request("identity", 1.0, id="r", sequence_start=3),
            "invalid value type for 'sequence_start' parameter, expected bool_param.",
        ),
        (no_data, "unable to find data for input tensor 'IN' for model 'identity' in request."),
        (
            infer_request("identity", 1.0, id="r", tensor="X"),
            "unexpected inference input 'X' for model 'identity'",
        ),
        (
            infer_request("accumulate", 1, dtype="INT32", id="r", sequence_id=4),
            (
                "inference request for sequence 4 to model 'accumulate' must specify the START "
                "flag on the first request of the sequence"
            ),
        ),
    ]


@pytest.mark.parametrize(("request_", "text"), refused_requests())
@pytest.mark.parametrize("metadata", [(), GRPC_ERROR])
def test_an_error_before_admission_has_only_the_id(
    stub: Stub, request_: pb.ModelInferRequest, text: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    stream = stub.stream(metadata)
    stream.send(request_)
    assert stream.receive() == message(text, id="r", final=None)
    stream.send(infer_request("identity", 1.0, id="next"))
    assert stream.ids(1) == ["next"]


def test_an_error_that_the_engine_finds_before_admission(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream(GRPC_ERROR)
    stream.send(infer_request("manual", 1.0, id="r"))
    failure = Failure(Code.INVALID_ARG, "not taken")
    service.act(service.waiting("r").fail, failure, admitted=False)
    assert stream.receive() == message("not taken", id="r", final=None)


def test_an_error_without_a_text_is_still_an_error(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    stream.send(infer_request("manual", 1.0, id="r"))
    service.act(service.waiting("r").fail, Failure(Code.CANCELLED, ""))
    assert stream.receive().error_message == "CANCELLED"


def test_a_plain_model_that_answers_nothing(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    stream.send(infer_request("manual", 1.0, id="r"))
    service.act(service.waiting("r").close)
    expected = "expected a single response, got 0"
    assert stream.receive() == message(expected, model_name="manual", id="r", final=True)


def test_with_grpc_error_a_models_error_ends_the_stream(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream(GRPC_ERROR)
    stream.send(counting(-3), infer_request("manual", 1.0, id="other"))
    assert stream.receive() == data("counting", 0, final=False)
    assert stream.end() == (grpc.StatusCode.INVALID_ARGUMENT, "boom 1")
    service.thread.wait_until(lambda: [c.closed for c in service.gateway.connections] == [True])


def test_the_same_id_may_be_used_twice_at_a_time(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    stream.send(infer_request("manual", 1.0, id="x"), infer_request("manual", 2.0, id="x"))
    service.thread.wait_until(lambda: len(service.gateway.waiting) == 2)
    for call in tuple(service.gateway.waiting):
        service.act(call.send, int32("OUT", int(call.request.inputs[0].array[0])))
    assert [values_of(stream.receive().infer_response, "int32") for _ in "ab"] == [[1], [2]]


def test_requests_of_one_model_are_answered_in_order(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    stream.send(infer_request("manual", 1.0, id="a"), infer_request("manual", 1.0, id="b"))
    stream.send(infer_request("manual", 1.0, tensor="X", id="c"))  # refused, and still in order
    stream.send(infer_request("manual", 1.0, id="d"))
    for request_id in "dba":
        service.act(service.waiting(request_id).send, int32("OUT", 1))
    assert stream.ids(4) == list("abcd")


def test_sequences_do_not_wait_for_each_other(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    sequence: dict[str, Any] = {"sequence_start": True}
    stream.send(
        infer_request("manual", 1.0, id="slow"),
        infer_request("manual_sequence", 1.0, id="s1", sequence_id=1, **sequence),
        infer_request("manual_sequence", 1.0, id="s2", sequence_id=2, **sequence),
    )
    for request_id in ("s2", "s1", "slow"):
        service.act(service.waiting(request_id).send, int32("OUT", 1))
        assert stream.ids(1) == [request_id]


def test_outside_sequences_a_stream_keeps_its_order(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    stream.send(
        infer_request("manual", 1.0, id="slow"),
        infer_request("identity", 1.0, id="fast"),
        infer_request("nope", 1.0, id="unknown"),
        infer_request("manual_sequence", 1.0, id="s1", sequence_id=1, sequence_start=True),
    )
    service.act(service.waiting("s1").send, int32("OUT", 1))
    assert stream.ids(1) == ["s1"]
    service.act(service.waiting("slow").send, int32("OUT", 1))
    assert stream.ids(3) == ["slow", "fast", "unknown"]


def test_an_error_keeps_its_place_in_the_sequence(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    stream.send(
        infer_request("manual_sequence", 1.0, id="a", sequence_id=1, sequence_start=True),
        infer_request("manual_sequence", 1.0, id="b", sequence_id=1, priority="high"),
        infer_request("manual_sequence", 1.0, id="c", sequence_id=1),
    )
    service.act(service.waiting("c").send, int32("OUT", 1))
    service.act(service.waiting("a").send, int32("OUT", 1))
    assert stream.ids(3) == list("abc")


def test_decoupled_responses_leave_as_they_come(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    stream.send(*(infer_request("manual_decoupled", 1.0, id=each) for each in "ab"))
    for request_id in "baab":
        service.act(service.waiting(request_id).send, int32("OUT", 1), final=False)
    assert stream.ids(4) == list("baab")


def test_half_close_finishes_what_is_in_flight(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    stream.send(infer_request("manual", 1.0, id="a"), infer_request("manual", 1.0, id="b"))
    stream.half_close()
    for request_id in "ba":
        service.act(service.waiting(request_id).send, int32("OUT", 1))
    assert [each.infer_response.id for each in stream.rest()] == ["a", "b"]
    assert stream.end() == (grpc.StatusCode.OK, "")
    service.thread.wait_until(lambda: [c.closed for c in service.gateway.connections] == [False])


def test_a_stream_without_messages_ends_well(stub: Stub) -> None:
    stream = stub.stream()
    stream.half_close()
    assert stream.end() == (grpc.StatusCode.OK, "")


def test_a_cancelled_stream_aborts_its_sequences_and_requests(
    service: GrpcService, stub: Stub
) -> None:
    stream = stub.stream()
    stream.send(
        infer_request("manual_sequence", 1.0, id="s", sequence_id=6, sequence_start=True),
        infer_request("manual", 1.0, id="r"),
    )
    service.waiting("r")
    stream.call.cancel()
    gateway = service.gateway
    service.thread.wait_until(lambda: [c.closed for c in gateway.connections] == [True])
    assert sorted(gateway.cancelled) == ["r", "s"]
    assert gateway.ended == [("manual_sequence", 6, EndReason.CLIENT_ABORT)]


def test_a_lost_connection_is_a_cancelled_stream(service: GrpcService) -> None:
    with Stub(service.address) as stub:
        stub.stream().send(infer_request("manual", 1.0, id="r"))
        service.waiting("r")
    service.thread.wait_until(lambda: [c.closed for c in service.gateway.connections] == [True])


@pytest.mark.parametrize("junk", [b"\xff", b"\x0a\x05ab"])
def test_bytes_that_are_no_message_end_the_stream(
    service: GrpcService, stub: Stub, junk: bytes
) -> None:
    stream = stub.stream()
    stream.send(infer_request("identity", 1.0, id="good"))
    assert stream.ids(1) == ["good"]
    stream.send(junk)
    assert stream.end() == (grpc.StatusCode.INTERNAL, "Unable to parse request")
    service.thread.wait_until(lambda: [c.closed for c in service.gateway.connections] == [True])


def test_a_large_message_each_way(stub: Stub) -> None:
    stream = stub.stream()
    request = infer_request("identity", *([1.5] * 1000), id="small")
    large = infer_request("identity", id="large")
    large.inputs[0].shape[:] = [5_000_000]
    large.raw_input_contents[0] = bytes(20_000_000)
    stream.send(request, large, request)
    stream.half_close()
    sizes = [len(each.infer_response.raw_output_contents[0]) for each in stream.rest()]
    assert sizes == [4000, 20_000_000, 4000]


def test_300_streams_on_one_connection(service: GrpcService, stub: Stub) -> None:
    streams = [stub.stream() for _ in range(300)]
    for round_ in range(3):
        for number, stream in enumerate(streams):
            stream.send(
                infer_request(
                    "accumulate",
                    number,
                    dtype="INT32",
                    sequence_id=number + 1,
                    sequence_start=round_ == 0,
                    sequence_end=round_ == 2,
                )
            )
    for stream in streams:
        stream.half_close()
    for number, stream in enumerate(streams):
        totals = [values_of(each.infer_response, "int32") for each in stream.rest()]
        assert totals == [[number], [2 * number], [3 * number]]
    assert all(connection.closed is False for connection in service.gateway.connections)


def test_a_client_that_does_not_read_is_not_read_from(start_grpc: GrpcStarter) -> None:

    service = start_grpc(GrpcOptions(stream_limits=StreamLimits(in_flight=4)))
    with Stub(service.address) as stub:
        stream = stub.stream()
        for number in range(8):
            stream.send(infer_request("manual", 1.0, id=str(number)))
        service.waiting("3")
        assert len(service.gateway.requests) == 4
        for number in range(8):
            service.act(service.waiting(str(number)).send, int32("OUT", 1))
        assert stream.ids(8) == [str(number) for number in range(8)]


MIB = 1024 * 1024
TOO_MUCH = StreamLimits(unsent_pause_bytes=MIB, unsent_bytes=4 * MIB)
TOO_LONG = StreamLimits(unsent_pause_bytes=MIB, unread_seconds=0.2)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        pytest.param(TOO_MUCH, "at most 4194304 may", id="too much"),
        pytest.param(TOO_LONG, "and it took nothing for 0.2 s", id="too long"),
    ],
)
def test_a_client_that_does_not_read_is_given_up(
    start_grpc: GrpcStarter, limits: StreamLimits, reason: str
) -> None:
    service = start_grpc(GrpcOptions(stream_limits=limits))
    with Stub(service.address) as stub:
        stream = stub.stream()
        stream.send(infer_request("manual_decoupled", 1.0, id="flood"))
        call = service.waiting("flood")
        piece = int32("OUT", *range(50_000))

        def flood() -> bool:
            # A model that can't be held up, in the one case; in the other, it is.
            if not call.finished and not (limits is TOO_LONG and call.connection.paused):
                call.send(piece, final=False)
            return call.finished

        service.thread.wait_until(flood)
        assert service.gateway.cancelled == ["flood"]
        assert call.connection.closed is True
        # The client hears of it behind what had left already.
        status, text = stream.end()
        assert status is grpc.StatusCode.UNAVAILABLE
        assert text.startswith("the client reads too slowly: ")
        assert text.endswith(reason)
        # The connection has not suffered.
        assert values_of(stub.infer(infer_request("identity", 1.0))) == [1.0]
