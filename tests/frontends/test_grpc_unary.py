"""ModelInfer over real sockets: tensors in every form, the order of checks, failures, endings."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from streamgate._proto import grpc_service_pb2 as pb
from streamgate.errors import Code, Failure
from streamgate.frontends.codes import GRPC_STATUS
from streamgate.model.datatypes import DataType
from streamgate.session.gateway import ModelInfo
from tests.frontends.conftest import GrpcService
from tests.frontends.fake_gateway import FakeCall, FakeModel, int32, model_config
from tests.frontends.grpc_client import SERVICE, Stub, infer_request, values_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def stub(service: GrpcService) -> Iterator[Stub]:
    with Stub(service.address) as stub:
        yield stub


def explicit(datatype: str, **contents: list[object]) -> pb.ModelInferRequest:
    """A request to the identity model of this type, its input in typed contents."""
    model = f"identity_{datatype}" if datatype in DataType.__members__ else "identity"
    request = pb.ModelInferRequest(model_name=model)
    count = max([len(values) for values in contents.values()], default=0)
    tensor = request.inputs.add(name="IN", datatype=datatype, shape=[count])
    tensor.contents.SetInParent()
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return request


def test_a_response_names_model_version_and_id(stub: Stub) -> None:
    response = stub.infer(infer_request("identity", 1.5, -2.0, id="a b"))
    assert response == pb.ModelInferResponse(
        model_name="identity",
        model_version="3",
        id="a b",
        outputs=[pb.ModelInferResponse.InferOutputTensor(name="OUT", datatype="FP32", shape=[2])],
        raw_output_contents=[np.array([1.5, -2.0], np.float32).tobytes()],
    )


def test_the_version_asked_for_is_served(stub: Stub) -> None:
    request = infer_request("identity", 1.0)
    request.model_version = "1"
    assert stub.infer(request).model_version == "1"


def test_several_tensors_keep_their_order_and_surplus_raw_contents_are_ignored(
    stub: Stub,
) -> None:
    request = pb.ModelInferRequest(model_name="pair")
    for name, value in (("IN1", 1.0), ("IN0", 2.0)):
        request.inputs.add(name=name, datatype="FP32", shape=[1])
        request.raw_input_contents.append(np.array([value], np.float32).tobytes())
    request.raw_input_contents.append(b"surplus")
    response = stub.infer(request)
    assert [output.name for output in response.outputs] == ["OUT1", "OUT0"]
    assert values_of(response) == [1.0]


def test_large_tensors_arrive_whole(stub: Stub) -> None:
    values = np.random.default_rng(1).random(5_000_000, np.float32)  # 20 MB
    request = pb.ModelInferRequest(model_name="identity", id="large")
    request.inputs.add(name="IN", datatype="FP32", shape=[len(values)])
    request.raw_input_contents.append(values.tobytes())
    response = stub.infer(request)
    assert response.id == "large"
    assert response.raw_output_contents[0] == values.tobytes()


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("UINT8", "uint_contents", [1, 255]),
        ("UINT16", "uint_contents", [1, 65535]),
        ("UINT32", "uint_contents", [1, 2**32 - 1]),
        ("UINT64", "uint64_contents", [1, 2**64 - 1]),
        ("INT8", "int_contents", [-1, 127]),
        ("INT16", "int_contents", [-1, 32767]),
        ("INT32", "int_contents", [-1, 2**31 - 1]),
        ("INT64", "int64_contents", [-1, 2**63 - 1]),
        ("FP32", "fp32_contents", [0.5, -2.0]),
        ("FP64", "fp64_contents", [0.1, -2.0]),
    ],
)
def test_typed_contents(stub: Stub, datatype: str, field: str, values: list[object]) -> None:
    response = stub.infer(explicit(datatype, **{field: values}))
    assert response.outputs[0].datatype == datatype
    dtype = DataType[datatype].dtype
    assert np.frombuffer(response.raw_output_contents[0], dtype).tolist() == values


def test_typed_bytes(stub: Stub) -> None:
    response = stub.infer(explicit("BYTES", bytes_contents=[b"ab", b""]))
    assert response.raw_output_contents[0] == b"\x02\x00\x00\x00ab\x00\x00\x00\x00"


def test_high_bits_of_small_integers_are_lost(stub: Stub) -> None:
    assert stub.infer(explicit("INT8", int_contents=[300])).raw_output_contents[0] == bytes([44])
    assert stub.infer(explicit("UINT8", uint_contents=[257])).raw_output_contents[0] == bytes([1])


@pytest.mark.parametrize(
    ("datatype", "contents", "found"),
    [
        ("FP32", {"int_contents": [1]}, "INT32"),
        ("FP16", {"fp32_contents": [1.0]}, "FP32"),
        ("BF16", {"bytes_contents": [b"xx"]}, "BYTES"),
        ("INT32", {"int_contents": [1], "fp32_contents": [1.0]}, "FP32"),
        ("INT64", {"int_contents": [1]}, "INT32"),
        ("FOO", {"uint_contents": [1]}, "UINT32"),
    ],
)
def test_contents_that_do_not_go_with_the_type(
    stub: Stub, datatype: str, contents: dict[str, list[object]], found: str
) -> None:
    request = explicit(datatype, **contents)
    expected = "<invalid>" if datatype == "FOO" else datatype
    text = (
        f"unexpected explicit tensor data for input tensor 'IN' for model '{request.model_name}' "
        f"of type '{found}', expected datatype '{expected}'"
    )
    assert stub.refusal("ModelInfer", request) == (INVALID, text)


def test_contents_beside_raw_contents(stub: Stub) -> None:
    request = explicit("FP32", fp32_contents=[1.0])
    request.raw_input_contents.append(b"1234")
    text = (
        "contents field must not be specified when using raw_input_contents for 'IN' for model "
        "'identity_FP32'"
    )
    assert stub.refusal("ModelInfer", request) == (INVALID, text)


def test_a_tensor_without_data(stub: Stub) -> None:
    request = infer_request("identity", 1.0)
    del request.raw_input_contents[:]
    text = "unable to find data for input tensor 'IN' for model 'identity' in request."
    assert stub.refusal("ModelInfer", request) == (INVALID, text)


@pytest.mark.parametrize("word", ["FOO", "", "fp32", "STRING"])
def test_a_word_that_is_no_datatype(stub: Stub, service: GrpcService, word: str) -> None:
    request = infer_request("identity", 1.0)
    request.inputs[0].datatype = word
    stub.call("ModelInfer", request)
    assert service.gateway.requests[-1].unknown_types == {"IN"}, "for the session to refuse"
    stub.call("ModelInfer", infer_request("identity", 1.0))
    assert not service.gateway.requests[-1].unknown_types


def test_data_is_told_before_the_parameters_of_outputs(stub: Stub) -> None:
    request = infer_request("identity", 1.0)
    del request.raw_input_contents[:]
    request.outputs.add(name="OUT").parameters["classification"].bool_param = True
    text = "unable to find data for input tensor 'IN' for model 'identity' in request."
    assert stub.refusal("ModelInfer", request) == (INVALID, text)


def test_checks_come_in_tritons_order(stub: Stub) -> None:
    request = infer_request("counting", 1.0)  # decoupled; it also lacks its data below
    request.model_version = "x"
    request.parameters["sequence_id"].bool_param = True
    del request.raw_input_contents[:]
    assert stub.refusal("ModelInfer", request)[1].startswith("failed to get model version")
    request.model_version = "9"
    assert stub.refusal("ModelInfer", request) == (
        grpc.StatusCode.NOT_FOUND,
        "Request for unknown model: 'counting' version 9 is not found",
    )
    request.model_version = ""
    assert stub.refusal("ModelInfer", request) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "ModelInfer RPC doesn't support models with decoupled transaction policy",
    )
    request.model_name = "identity"
    assert stub.refusal("ModelInfer", request)[1].startswith("invalid value type for 'sequence_id'")
    del request.parameters["sequence_id"]
    assert stub.refusal("ModelInfer", request)[1].startswith("unable to find data")


def test_unknown_models(stub: Stub) -> None:
    for name in ("nope", ""):
        assert stub.refusal("ModelInfer", infer_request(name, 1.0)) == (
            grpc.StatusCode.NOT_FOUND,
            f"Request for unknown model: '{name}' is not found",
        )


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x3a" + b"\xff" * 40_000])
def test_bytes_that_are_no_message(stub: Stub, data: bytes) -> None:
    expected = (grpc.StatusCode.INTERNAL, "Unable to parse request")
    assert stub.refusal("ModelInfer", data) == expected


@pytest.mark.parametrize("code", list(Code))
def test_every_code_reaches_the_client(service: GrpcService, stub: Stub, code: Code) -> None:
    def fail(call: FakeCall) -> None:
        call.fail(Failure(code, f"it was {code.value}"))

    service.gateway.models["fails"] = FakeModel(model_config("fails"), fail)
    status, text = stub.refusal("ModelInfer", infer_request("fails", 1.0))
    assert status.value[0] == GRPC_STATUS[code]
    assert text == f"it was {code.value}"


def test_any_number_of_responses_but_one_is_an_error(service: GrpcService, stub: Stub) -> None:
    def twice(call: FakeCall) -> None:
        call.send(int32("OUT", 1), final=False)
        call.send(int32("OUT", 2))

    service.gateway.models["twice"] = FakeModel(model_config("twice"), twice)
    service.gateway.models["never"] = FakeModel(model_config("never"), FakeCall.close)
    internal = grpc.StatusCode.INTERNAL
    assert stub.refusal("ModelInfer", infer_request("twice", 1.0)) == (
        internal,
        "expected a single response, got 2",
    )
    assert stub.refusal("ModelInfer", infer_request("never", 1.0)) == (
        internal,
        "expected a single response, got 0",
    )


def test_one_response_and_its_end_apart_are_one(service: GrpcService, stub: Stub) -> None:
    def late(call: FakeCall) -> None:
        call.send(int32("OUT", 1), final=False)
        call.close()

    service.gateway.models["late"] = FakeModel(model_config("late"), late)
    assert values_of(stub.infer(infer_request("late", 1.0)), "int32") == [1]


def test_no_outputs_at_all(stub: Stub) -> None:
    response = stub.infer(infer_request("parrot", 1.0))
    assert not response.outputs
    assert not response.raw_output_contents


def test_a_defect_is_told_and_logged(
    service: GrpcService, stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(name: str, version: str) -> ModelInfo:
        raise ZeroDivisionError(name, version)

    service.gateway.model = broken  # type: ignore[method-assign]
    status, text = stub.refusal("ModelInfer", infer_request("identity", 1.0))
    assert status is grpc.StatusCode.INTERNAL
    assert "ZeroDivisionError" in text
    assert "could not be handled" in caplog.text


def test_a_sequence_of_unary_calls_outlives_each_of_them(service: GrpcService, stub: Stub) -> None:
    totals = []
    for value, start, end in ((1, True, False), (2, False, False), (4, False, True)):
        request = infer_request(
            "accumulate",
            value,
            dtype="INT32",
            sequence_id=9,
            sequence_start=start,
            sequence_end=end,
        )
        totals += values_of(stub.infer(request), "int32")
    assert totals == [1, 3, 7]
    assert [connection.closed for connection in service.gateway.connections] == [False] * 3
    assert not service.gateway.ended


def test_a_refused_call_closes_its_connection(service: GrpcService, stub: Stub) -> None:
    stub.refusal("ModelInfer", infer_request("accumulate", 1, dtype="INT32", sequence_id=9))
    assert [connection.closed for connection in service.gateway.connections] == [False]


def test_a_cancelled_call_cancels_its_request(service: GrpcService, stub: Stub) -> None:
    future = stub.channel.unary_unary(SERVICE + "ModelInfer").future(
        infer_request("manual", 1.0, id="c").SerializeToString()
    )
    call = service.waiting("c")
    future.cancel()
    service.thread.wait_until(lambda: call.cancelled and call.connection.closed is False)


def test_a_deadline_cancels_the_request(service: GrpcService, stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.channel.unary_unary(SERVICE + "ModelInfer")(
            infer_request("manual", 1.0, id="d").SerializeToString(), timeout=0.2
        )
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    service.thread.wait_until(lambda: service.gateway.cancelled == ["d"])


def test_an_answer_after_the_client_left_goes_nowhere(service: GrpcService, stub: Stub) -> None:
    future = stub.channel.unary_unary(SERVICE + "ModelInfer").future(
        infer_request("manual", 1.0, id="late").SerializeToString()
    )
    call = service.waiting("late")
    call.cancel = lambda: setattr(call, "cancelled", True)  # type: ignore[method-assign]
    future.cancel()
    service.thread.wait_until(lambda: call.cancelled)
    service.act(call.send, int32("OUT", 1))
    assert values_of(stub.infer(infer_request("identity", 1.0))) == [1.0]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests(service: GrpcService, compression: grpc.Compression) -> None:
    with grpc.insecure_channel(service.address, compression=compression) as channel:
        answer = channel.unary_unary(SERVICE + "ModelInfer")(
            infer_request("identity", *[1.0] * 1000).SerializeToString()
        )
    assert values_of(pb.ModelInferResponse.FromString(answer)) == [1.0] * 1000
