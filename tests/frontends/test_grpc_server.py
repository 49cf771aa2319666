"""The gRPC front end as a server: address, stop, health, reflection, keys, forwarded headers."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from streamgate._proto import grpc_service_pb2 as pb
from streamgate.errors import Code, ConfigError, StreamGateError
from streamgate.frontends.kserve_grpc import GrpcFrontEnd, GrpcOptions
from streamgate.frontends.kserve_grpc.access import CATEGORIES, RestrictedKey
from streamgate.frontends.lean_http2 import LeanGrpcFrontEnd
from tests.frontends.conftest import GrpcService, GrpcStarter
from tests.frontends.fake_gateway import FakeGateway, int32
from tests.frontends.grpc_client import Stub, infer_request, values_of

SHUTTING_DOWN = (
    grpc.StatusCode.UNAVAILABLE,
    "GRPC server is shutting down and has stopped accepting new requests.",
)


FrontEndType = type[GrpcFrontEnd | LeanGrpcFrontEnd]


@pytest.fixture
def stub(service: GrpcService) -> Iterator[Stub]:
    with Stub(service.address) as stub:
        yield stub


def test_a_port_in_use_is_named(service: GrpcService, grpc_front_end: FrontEndType) -> None:
    port = int(service.address.rpartition(":")[2])
    with pytest.raises(
        StreamGateError, match=f"127.0.0.1:{port}: Address already in use"
    ) as raised:
        service.thread.run(grpc_front_end(FakeGateway()).start("127.0.0.1", port))
    assert raised.value.code is Code.UNAVAILABLE


def test_ipv6(service: GrpcService, grpc_front_end: FrontEndType) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    front_end = grpc_front_end(FakeGateway())
    port = service.thread.run(front_end.start("::1", 0))
    with Stub(f"[::1]:{port}") as stub:
        assert stub.call("ServerLive", b"").live
    service.thread.run(front_end.stop(0))


def test_health_follows_readiness(service: GrpcService, stub: Stub) -> None:
    health = health_pb2_grpc.HealthStub(stub.channel)
    request = health_pb2.HealthCheckRequest(service="anything")
    assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING
    watch = health.Watch(request)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    service.gateway.ready = False
    assert health.Check(request).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()


@pytest.mark.parametrize("grpc_front_end", [GrpcFrontEnd])
def test_reflection_shows_public_names(stub: Stub) -> None:
    reflection = reflection_pb2_grpc.ServerReflectionStub(stub.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="inference.GRPCInferenceService"
        ),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
    ]
    listed, inference, health = reflection.ServerReflectionInfo(iter(requests))
    names = {service.name for service in listed.list_services_response.service}
    assert names >= {"inference.GRPCInferenceService", "grpc.health.v1.Health"}
    for answer in (inference, health):
        assert answer.file_descriptor_response.file_descriptor_proto
    assert b"streamgate" not in b"".join(inference.file_descriptor_response.file_descriptor_proto)


def start_stop(service: GrpcService, grace_seconds: float) -> asyncio.Future[None]:
    """Begin to stop; the returned future belongs to the loop's thread."""

    async def begin() -> asyncio.Future[None]:
        task = asyncio.ensure_future(service.front_end.stop(grace_seconds))
        await asyncio.sleep(0)
        return task

    return service.thread.run(begin())


async def joined(task: asyncio.Future[None]) -> None:
    await task


def test_a_stop_lets_calls_finish_and_refuses_new_ones(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    stream.send(infer_request("manual", 1.0, id="s"))
    service.waiting("s")
    stop = start_stop(service, 20)
    assert stub.refusal("ModelInfer", infer_request("identity", 1.0)) == SHUTTING_DOWN
    assert stub.stream().end() == SHUTTING_DOWN
    assert not stub.call("ServerReady", b"").ready
    assert stub.call("ServerLive", b"").live
    service.act(service.waiting("s").send, int32("OUT", 4))
    assert values_of(stream.receive().infer_response, "int32") == [4]
    assert stream.end() == SHUTTING_DOWN
    service.thread.run(joined(stop))
    assert [connection.closed for connection in service.gateway.connections] == [True]


def test_a_stop_waits_for_unary_calls(service: GrpcService, stub: Stub) -> None:
    future = stub.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(
        infer_request("manual", 1.0, id="u").SerializeToString()
    )
    call = service.waiting("u")
    stop = start_stop(service, 20)
    service.act(call.send, int32("OUT", 4))
    assert values_of(pb.ModelInferResponse.FromString(future.result(20)), "int32") == [4]
    service.thread.run(joined(stop))


def test_a_stop_cuts_off_what_does_not_end(service: GrpcService, stub: Stub) -> None:
    stream = stub.stream()
    stream.send(infer_request("manual", 1.0, id="s"))
    service.waiting("s")
    service.thread.run(service.front_end.stop(0.05))
    status, _ = stream.end()
    assert status is not grpc.StatusCode.OK
    service.thread.wait_until(lambda: service.gateway.cancelled == ["s"])


def test_a_stop_without_a_start_and_a_second_stop(
    service: GrpcService, grpc_front_end: FrontEndType
) -> None:
    service.thread.run(grpc_front_end(FakeGateway()).stop(1))
    service.thread.run(service.front_end.stop(1))
    service.thread.run(service.front_end.stop(1))


def test_restricted_calls_need_the_key(start_grpc: GrpcStarter) -> None:
    key = RestrictedKey("admin-key", "secret")
    categories = ("inference", "health", "model-repository")
    service = start_grpc(GrpcOptions(restricted=dict.fromkeys(categories, key)))
    expected = (
        grpc.StatusCode.UNAVAILABLE,
        "This protocol is restricted, expecting header 'triton-grpc-protocol-admin-key'",
    )
    shown = (("triton-grpc-protocol-admin-key", "secret"),)
    wrong = (("triton-grpc-protocol-admin-key", "Secret"), ("admin-key", "secret"))
    with Stub(service.address) as stub:
        for method in ("ServerLive", "ModelReady", "RepositoryIndex"):
            assert stub.refusal(method, b"", wrong) == expected
        request = infer_request("identity", 1.0)
        assert stub.refusal("ModelInfer", request) == expected
        assert stub.stream(wrong).end() == expected
        assert stub.infer(request, shown).model_name == "identity"
        stream = stub.stream(shown)
        stream.send(request)
        assert stream.receive().error_message == ""
        assert stub.call("ServerMetadata", b"").name == "streamgate"
        health = health_pb2_grpc.HealthStub(stub.channel)
        for call in (health.Check, lambda request: next(health.Watch(request))):
            with pytest.raises(grpc.RpcError) as raised:
                call(health_pb2.HealthCheckRequest())
            assert raised.value.details() == expected[1]


def test_every_published_method_has_a_category() -> None:
    published = {
        method.name for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    }
    assert set().union(*CATEGORIES.values()) == published | {"Check", "Watch"}


def test_forwarded_headers(start_grpc: GrpcStarter) -> None:
    service = start_grpc(GrpcOptions(forward_headers="x-.*|timeout"))
    metadata = (("x-user", "u"), ("x-both", "header"), ("other", "o"), ("ax-b", "no"))
    with Stub(service.address) as stub:
        request = infer_request("identity", 1.0)
        request.parameters["x-both"].string_param = "request"
        stub.infer(request, metadata)
        stream = stub.stream(metadata)
        stream.send(infer_request("identity", 1.0))
        stream.receive()
        assert [request.parameters for request in service.gateway.requests] == [
            {"x-user": "u", "x-both": "request"},
            {"x-user": "u", "x-both": "header"},
        ]
        text = "Header 'timeout' is reserved for Triton usage and cannot be forwarded."
        expected = (grpc.StatusCode.INVALID_ARGUMENT, text)
        reserved = (("timeout", "1"),)
        assert stub.refusal("ModelInfer", request, reserved) == expected
        assert stub.stream(reserved).end() == expected


def test_options_that_cannot_be(grpc_front_end: FrontEndType) -> None:
    with pytest.raises(ConfigError, match="no regular expression"):
        grpc_front_end(FakeGateway(), GrpcOptions(forward_headers="("))
    with pytest.raises(ConfigError, match="unknown restricted protocol 'nope', expected"):
        grpc_front_end(FakeGateway(), GrpcOptions(restricted={"nope": RestrictedKey("a", "b")}))


def test_too_many_calls_are_refused(start_grpc: GrpcStarter) -> None:
    service = start_grpc(GrpcOptions(calls_max=2))
    with Stub(service.address) as stub:
        streams = [stub.stream(), stub.stream()]
        for number, stream in enumerate(streams):
            stream.send(infer_request("manual", 1.0, id=str(number)))
            service.waiting(str(number))
        status, _ = stub.refusal("ModelInfer", infer_request("identity", 1.0))
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
        for stream in streams:
            stream.call.cancel()


@pytest.mark.parametrize("grpc_front_end", [GrpcFrontEnd])
def test_compressed_responses(start_grpc: GrpcStarter) -> None:
    service = start_grpc(GrpcOptions(compression=grpc.Compression.Gzip))
    with Stub(service.address) as stub:
        assert values_of(stub.infer(infer_request("identity", *[2.0] * 5000))) == [2.0] * 5000


FROZEN_CLIENT = """
import sys
from tests.frontends.grpc_client import Stub, infer_request
stream = Stub(sys.argv[1]).stream()
stream.send(infer_request("manual", 1.0, id="frozen"))
stream.receive()
"""


@pytest.mark.slow
def test_a_frozen_client_is_a_lost_one(start_grpc: GrpcStarter) -> None:
    service = start_grpc(GrpcOptions(keepalive_ms=1000, keepalive_timeout_ms=1000))
    command = [sys.executable, "-c", FROZEN_CLIENT, service.address]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as client:
        try:
            service.waiting("frozen")
            client.send_signal(signal.SIGSTOP)
            service.thread.wait_until(lambda: service.gateway.cancelled == ["frozen"])
        finally:
            client.kill()


@pytest.mark.slow
def test_a_client_may_ping_every_second(service: GrpcService) -> None:
    options = [("grpc.keepalive_time_ms", 1000), ("grpc.http2.max_pings_without_data", 0)]
    with grpc.insecure_channel(service.address, options=options) as channel:
        request = infer_request("manual", 1.0, id="long").SerializeToString()
        future = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(request)
        call = service.waiting("long")
        with pytest.raises(grpc.FutureTimeoutError):
            future.result(timeout=7)  # by grpc-core's defaults, the fifth ping ends the connection
        service.act(call.send, int32("OUT", 1))
        assert future.result(20)
