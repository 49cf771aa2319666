"""Request and tensor parameters over the wire: what is accepted, and the text of each refusal."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from streamgate._proto import grpc_service_pb2 as pb
from tests.frontends.conftest import GrpcService
from tests.frontends.grpc_client import Stub, infer_request

INVALID = grpc.StatusCode.INVALID_ARGUMENT
UNSUPPORTED = grpc.StatusCode.UNIMPLEMENTED
SHARED_MEMORY_OFF = (
    "Client shared memory is disabled. StreamGate does not serve it yet: send the data inline."
)


@pytest.fixture
def stub(service: GrpcService) -> Iterator[Stub]:
    with Stub(service.address) as stub:
        yield stub


def with_parameter(key: str, choice: str | None, value: object) -> pb.ModelInferRequest:
    request = infer_request("identity", 1.0)
    if choice is None:
        request.parameters[key].SetInParent()
    else:
        setattr(request.parameters[key], choice, value)
    return request


RESERVED = (
    "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following "
    "keys starting with 'triton_' are allowed: triton_enable_empty_final_response"
)
CUSTOM = "invalid value type for 'k' parameter, expected int64_param, bool_param, or string_param."
SEQUENCE_ID = (
    "invalid value type for 'sequence_id' parameter, expected int64_param or string_param."
)
PRIORITY = "invalid value type for 'priority' parameter, expected int64_param or uint64_param."


@pytest.mark.parametrize(
    ("key", "choice", "value", "text"),
    [
        ("sequence_id", "bool_param", True, SEQUENCE_ID),
        ("sequence_id", "uint64_param", 7, SEQUENCE_ID),
        ("sequence_id", None, None, SEQUENCE_ID),
        *(
            (
                key,
                "int64_param",
                1,
                f"invalid value type for '{key}' parameter, expected bool_param.",
            )
            for key in ("sequence_start", "sequence_end", "triton_enable_empty_final_response")
        ),
        ("priority", "string_param", "x", PRIORITY),
        ("priority", "int64_param", -1, "invalid value for 'priority', expected value >= 0."),
        (
            "timeout",
            "double_param",
            1.0,
            "invalid value type for 'timeout' parameter, expected int64_param.",
        ),
        (
            "timeout",
            "uint64_param",
            1,
            "invalid value type for 'timeout' parameter, expected int64_param.",
        ),
        ("triton_x", "bool_param", True, RESERVED),
        ("k", "uint64_param", 1, CUSTOM),
        ("k", None, None, CUSTOM),
    ],
)
def test_refused_request_parameters(
    stub: Stub, key: str, choice: str | None, value: object, text: str
) -> None:
    assert stub.refusal("ModelInfer", with_parameter(key, choice, value)) == (INVALID, text)


def test_a_correlation_id_may_have_128_bytes_and_no_more(service: GrpcService, stub: Stub) -> None:
    stub.infer(with_parameter("sequence_id", "string_param", "ä" * 64))
    assert service.gateway.requests[0].sequence == "ä" * 64
    refused = with_parameter("sequence_id", "string_param", "ä" * 64 + "x")
    text = "string correlation ID cannot be longer than 128 characters"
    assert stub.refusal("ModelInfer", refused) == (UNSUPPORTED, text)


@pytest.mark.parametrize(
    ("key", "choice", "value", "field", "expected"),
    [
        ("sequence_id", "int64_param", 5, "sequence", 5),
        ("sequence_id", "int64_param", -3, "sequence", 2**64 - 3),
        ("sequence_id", "string_param", "5", "sequence", "5"),
        ("sequence_start", "bool_param", True, "start", True),
        ("sequence_end", "bool_param", True, "end", True),
        ("priority", "int64_param", 3, "priority", 3),
        ("priority", "uint64_param", 2**63, "priority", 2**63),
        ("timeout", "int64_param", 1500, "timeout_us", 1500),
        ("timeout", "int64_param", -1, "timeout_us", 2**64 - 1),
        ("headers", "string_param", "h", "parameters", {"headers": "h"}),
        ("max_tokens", "int64_param", 4, "parameters", {"max_tokens": 4}),
        ("ratio", "double_param", 0.5, "parameters", {"ratio": 0.5}),
        ("Triton_x", "bool_param", False, "parameters", {"Triton_x": False}),
        ("triton_enable_empty_final_response", "bool_param", True, "parameters", {}),
    ],
)
def test_accepted_request_parameters(
    service: GrpcService,
    stub: Stub,
    key: str,
    choice: str,
    value: object,
    field: str,
    expected: object,
) -> None:
    stub.infer(with_parameter(key, choice, value))
    assert getattr(service.gateway.requests[0], field) == expected


def test_response_parameters_keep_their_types(stub: Stub) -> None:
    request = infer_request("parrot", 1.0, flag=True, count=-5, text="x")
    request.parameters["ratio"].double_param = 0.25
    response = stub.infer(request)
    assert dict(response.parameters) == dict(request.parameters)


TENSOR_CASES = [
    (
        {"shared_memory_region": "r"},
        INVALID,
        (
            "'shared_memory_byte_size' must be specified along with "
            "'shared_memory_region' parameter for tensor '{tensor}'"
        ),
    ),
    (
        {"shared_memory_offset": 4},
        INVALID,
        (
            "'shared_memory_offset' can not be specified without "
            "'shared_memory_region' parameter for tensor '{tensor}'"
        ),
    ),
    (
        {"shared_memory_byte_size": 4},
        INVALID,
        (
            "'shared_memory_byte_size' can not be specified without "
            "'shared_memory_region' parameter for tensor '{tensor}'"
        ),
    ),
    (
        {"shared_memory_region": 4},
        INVALID,
        (
            "invalid value type for 'shared_memory_region' parameter for tensor '{tensor}', "
            "expected string_param."
        ),
    ),
    (
        {"shared_memory_region": "r", "shared_memory_byte_size": "4"},
        INVALID,
        (
            "invalid value type for 'shared_memory_byte_size' parameter for tensor '{tensor}', "
            "expected int64_param."
        ),
    ),
    (
        {"shared_memory_region": "r", "shared_memory_byte_size": 4, "shared_memory_offset": "0"},
        INVALID,
        (
            "invalid value type for 'shared_memory_offset' parameter for tensor '{tensor}', "
            "expected int64_param."
        ),
    ),
    (
        {"shared_memory_region": "r", "shared_memory_byte_size": 4},
        UNSUPPORTED,
        SHARED_MEMORY_OFF,
    ),
]


def fill(target: object, parameters: dict[str, object]) -> None:
    for key, value in parameters.items():
        parameter = target.parameters[key]  # type: ignore[attr-defined]
        if isinstance(value, int):
            parameter.int64_param = value
        else:
            parameter.string_param = value


@pytest.mark.parametrize("where", ["input", "output"])
@pytest.mark.parametrize(("parameters", "status", "text"), TENSOR_CASES)
def test_shared_memory_parameters(
    stub: Stub, where: str, parameters: dict[str, object], status: grpc.StatusCode, text: str
) -> None:
    request = infer_request("identity", 1.0)
    tensor = "IN" if where == "input" else "OUT"
    fill(request.inputs[0] if where == "input" else request.outputs.add(name="OUT"), parameters)
    assert stub.refusal("ModelInfer", request) == (status, text.format(tensor=tensor))


def test_contents_beside_shared_memory(stub: Stub) -> None:
    request = pb.ModelInferRequest(model_name="identity")
    tensor = request.inputs.add(name="IN", datatype="FP32", shape=[1])
    tensor.contents.fp32_contents.append(1.0)
    fill(tensor, {"shared_memory_region": "r", "shared_memory_byte_size": 4})
    text = (
        "unexpected 'content' provided when using shared memory for input tensor 'IN' for model "
        "'identity'"
    )
    assert stub.refusal("ModelInfer", request) == (INVALID, text)


def test_unknown_tensor_parameters_are_ignored(stub: Stub) -> None:
    request = infer_request("identity", 1.0)
    fill(request.inputs[0], {"binary_data": 1, "whatever": "x"})
    fill(request.outputs.add(name="OUT"), {"binary_data": 1})
    assert stub.infer(request).outputs[0].name == "OUT"


def classified(classes: object, model: str = "batched") -> pb.ModelInferRequest:
    request = infer_request(model, 0.5, 2.5)
    request.inputs[0].shape[:] = [1, 2]
    fill(request.outputs.add(name="OUT"), {"classification": classes})
    return request


def test_classification(stub: Stub) -> None:
    response = stub.infer(classified(1))
    assert response.outputs[0].datatype == "BYTES"
    assert list(response.outputs[0].shape) == [1, 1]
    assert response.raw_output_contents[0] == b"\x0e\x00\x00\x002.500000:1:dog"


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        (-1, "invalid value for 'classification' parameter, expected >= 0"),
        (0, "invalid value for 'classification' parameter, expected >= 0"),
        ("1", "invalid value type for 'classification' parameter, expected int64_param"),
    ],
)
def test_refused_classification(stub: Stub, classes: object, text: str) -> None:
    assert stub.refusal("ModelInfer", classified(classes)) == (INVALID, text)


def test_classification_into_shared_memory(stub: Stub) -> None:
    request = classified(1)
    fill(request.outputs[0], {"shared_memory_region": "r", "shared_memory_byte_size": 4})
    text = "output can't set both 'shared_memory_region' and 'classification'"
    assert stub.refusal("ModelInfer", request) == (INVALID, text)


def test_classification_of_a_type_without_order(stub: Stub) -> None:
    request = pb.ModelInferRequest(model_name="identity_FP16")
    request.inputs.add(name="IN", datatype="FP16", shape=[2])
    request.raw_input_contents.append(np.zeros(2, np.float16).tobytes())
    fill(request.outputs.add(name="OUT"), {"classification": 1})
    text = "class result not available for output due to unsupported type 'FP16'"
    assert stub.refusal("ModelInfer", request) == (INVALID, text)
