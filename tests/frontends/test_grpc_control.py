"""Every RPC but inference, called raw."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from streamgate._proto import grpc_service_pb2 as pb
from streamgate._proto.descriptors import canonical_files
from streamgate.errors import Code, StreamGateError
from tests.frontends.conftest import GrpcService
from tests.frontends.grpc_client import SERVICE, Stub

INVALID = grpc.StatusCode.INVALID_ARGUMENT
UNSUPPORTED = grpc.StatusCode.UNIMPLEMENTED
NOT_FOUND = grpc.StatusCode.NOT_FOUND
SHARED_MEMORY_OFF = (
    "Client shared memory is disabled. StreamGate does not serve it yet: send the data inline."
)


@pytest.fixture
def stub(service: GrpcService) -> Iterator[Stub]:
    with Stub(service.address) as stub:
        yield stub


def published_methods() -> list[str]:
    return [
        method.name
        for file in canonical_files().file
        if file.package == "inference"
        for each in file.service
        for method in each.method
    ]


@pytest.mark.parametrize("method", published_methods())
def test_every_published_method_is_there_and_refuses_junk(stub: Stub, method: str) -> None:
    if method == "ModelStreamInfer":
        stream = stub.stream()
        stream.send(b"\xff")
        assert stream.end() == (grpc.StatusCode.INTERNAL, "Unable to parse request")
    else:
        expected = (grpc.StatusCode.INTERNAL, "Unable to parse request")
        assert stub.refusal(method, b"\xff") == expected


def test_an_unknown_method(stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.channel.unary_unary(SERVICE + "Nope")(b"")
    assert raised.value.code() is UNSUPPORTED


def test_live_and_ready(service: GrpcService, stub: Stub) -> None:
    assert stub.call("ServerLive", b"").live
    assert stub.call("ServerReady", b"").ready
    service.gateway.ready = False
    assert not stub.call("ServerReady", b"").ready


def test_model_ready(stub: Stub) -> None:
    assert stub.call("ModelReady", pb.ModelReadyRequest(name="identity")).ready
    assert stub.call("ModelReady", pb.ModelReadyRequest(name="identity", version="1")).ready
    assert not stub.call("ModelReady", pb.ModelReadyRequest(name="identity", version="9")).ready
    assert not stub.call("ModelReady", pb.ModelReadyRequest(name="nope")).ready
    request = pb.ModelReadyRequest(name="identity", version="x")
    assert stub.refusal("ModelReady", request)[0] is INVALID


def test_server_metadata(stub: Stub) -> None:
    expected = pb.ServerMetadataResponse(
        name="streamgate", version="1.2.3", extensions=["sequence", "statistics"]
    )
    assert stub.call("ServerMetadata", b"") == expected


def test_model_metadata(stub: Stub) -> None:
    tensor = pb.ModelMetadataResponse.TensorMetadata
    expected = pb.ModelMetadataResponse(
        name="batched",
        versions=["1", "3"],
        platform="fake",
        inputs=[tensor(name="IN", datatype="FP32", shape=[-1, -1])],
        outputs=[tensor(name="OUT", datatype="FP32", shape=[-1, -1])],
    )
    assert stub.call("ModelMetadata", pb.ModelMetadataRequest(name="batched")) == expected
    request = pb.ModelMetadataRequest(name="identity", version="1")
    plain = stub.call("ModelMetadata", request)
    assert plain.versions == ["1"]
    assert plain.inputs[0].shape == [-1]
    assert stub.refusal("ModelMetadata", pb.ModelMetadataRequest(name="nope")) == (
        NOT_FOUND,
        "Request for unknown model: 'nope' is not found",
    )


def test_model_config(stub: Stub) -> None:
    config = stub.call("ModelConfig", pb.ModelConfigRequest(name="batched")).config
    assert (config.name, config.max_batch_size, config.backend) == ("batched", 8, "fake")
    assert stub.refusal("ModelConfig", pb.ModelConfigRequest(name="nope"))[0] is NOT_FOUND


def test_model_statistics(stub: Stub) -> None:
    response = stub.call("ModelStatistics", pb.ModelStatisticsRequest(name="identity"))
    (model,) = response.model_stats
    assert (model.name, model.version) == ("identity", "3")
    assert model.last_inference == 1_700_000_000_000
    assert (model.inference_count, model.execution_count) == (7, 5)
    parts = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    for number, part in enumerate(parts, start=1):
        duration = getattr(model.inference_stats, part)
        assert (duration.count, duration.ns) == (number, 100 * number)
    (batch,) = model.batch_stats
    assert batch.batch_size == 4
    assert (batch.compute_input.ns, batch.compute_infer.ns, batch.compute_output.ns) == (
        700,
        800,
        900,
    )
    request = pb.ModelStatisticsRequest(name="nope")
    expected = (INVALID, "requested model 'nope' is not available")
    assert stub.refusal("ModelStatistics", request) == expected


def test_repository_index(stub: Stub) -> None:
    entry = pb.RepositoryIndexResponse.ModelIndex
    response = stub.call("RepositoryIndex", b"")
    assert list(response.models) == [
        entry(name="identity", version="3", state="READY"),
        entry(name="broken", version="1", state="UNAVAILABLE", reason="Internal: no"),
        entry(name="never"),
    ]
    ready = stub.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=True))
    assert [model.name for model in ready.models] == ["identity"]


@pytest.mark.parametrize(
    "method", ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"]
)
def test_repositories_have_no_names(stub: Stub, method: str) -> None:
    request = getattr(pb, f"{method}Request")(repository_name="r")
    expected = (UNSUPPORTED, "'repository_name' specification is not supported")
    assert stub.refusal(method, request) == expected


def test_load_with_and_without_overrides(service: GrpcService, stub: Stub) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="m")
    stub.call("RepositoryModelLoad", request)
    request.parameters["config"].string_param = "{}"
    request.parameters["file:1/model.py"].bytes_param = b"\x00\xff"
    stub.call("RepositoryModelLoad", request)
    assert service.gateway.loads == [
        ("m", None, {}),
        ("m", "{}", {"1/model.py": b"\x00\xff"}),
    ]


def test_a_load_that_fails(stub: Stub) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="missing")
    assert stub.refusal("RepositoryModelLoad", request) == (
        grpc.StatusCode.INTERNAL,
        "failed to load 'missing', failed to poll from model repository",
    )


@pytest.mark.parametrize(
    ("key", "choice", "value", "text"),
    [
        ("zzz", "string_param", "x", "unrecognized load parameter 'zzz'."),
        (
            "config",
            "bytes_param",
            b"{}",
            "invalid value type for load parameter 'config', expected string_param.",
        ),
        (
            "file:1/m",
            "string_param",
            "x",
            "invalid value type for load parameter 'file:1/m', expected bytes_param.",
        ),
    ],
)
def test_refused_load_parameters(
    service: GrpcService, stub: Stub, key: str, choice: str, value: object, text: str
) -> None:
    request = pb.RepositoryModelLoadRequest(model_name="m")
    setattr(request.parameters[key], choice, value)
    assert stub.refusal("RepositoryModelLoad", request) == (INVALID, text)
    assert not service.gateway.loads


def test_unload(service: GrpcService, stub: Stub) -> None:
    request = pb.RepositoryModelUnloadRequest(model_name="m")
    stub.call("RepositoryModelUnload", request)
    request.parameters["unload_dependents"].bool_param = True
    request.parameters["other"].int64_param = 1  # ignored
    stub.call("RepositoryModelUnload", request)
    assert service.gateway.unloads == [("m", False), ("m", True)]
    request.parameters["unload_dependents"].int64_param = 1
    text = "invalid value type for 'unload_dependents' parameter, expected bool_param."
    assert stub.refusal("RepositoryModelUnload", request) == (INVALID, text)


@pytest.mark.parametrize("kind", ["System", "Cuda"])
def test_shared_memory_is_off(stub: Stub, kind: str) -> None:
    prefix = f"{kind}SharedMemory"
    assert not stub.call(f"{prefix}Status", b"").regions
    stub.call(f"{prefix}Unregister", b"")
    register = getattr(pb, f"{prefix}RegisterRequest")(name="r", byte_size=4)
    assert stub.refusal(f"{prefix}Register", register) == (UNSUPPORTED, SHARED_MEMORY_OFF)
    status = getattr(pb, f"{prefix}StatusRequest")(name="r")
    text = f"Unable to find {kind.lower()} shared memory region: 'r'"
    assert stub.refusal(f"{prefix}Status", status) == (NOT_FOUND, text)


@pytest.mark.parametrize("method", ["TraceSetting", "LogSettings"])
def test_settings_that_are_not_served(stub: Stub, method: str) -> None:
    status, text = stub.refusal(method, b"")
    assert status is UNSUPPORTED
    assert "settings" in text


def test_a_defect_is_told_and_logged(
    service: GrpcService, stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    service.gateway.is_live = broken  # type: ignore[method-assign]
    status, text = stub.refusal("ServerLive", b"")
    assert status is grpc.StatusCode.INTERNAL
    assert "ZeroDivisionError" in text
    assert "could not be handled" in caplog.text


def test_a_gateways_refusal_reaches_the_client(service: GrpcService, stub: Stub) -> None:
    def stopping() -> bool:
        raise StreamGateError(Code.UNAVAILABLE, "Server exiting")

    service.gateway.is_live = stopping  # type: ignore[method-assign]
    expected = (grpc.StatusCode.UNAVAILABLE, "Server exiting")
    assert stub.refusal("ServerLive", b"") == expected
