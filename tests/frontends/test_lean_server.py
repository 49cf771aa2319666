"""The lean gRPC front end over real sockets: what it does beyond the tests of both transports."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hpack import Encoder

from streamgate.errors import ConfigError
from streamgate.frontends.kserve_grpc import GrpcOptions
from streamgate.frontends.lean_http2 import Http2Limits, LeanGrpcFrontEnd, frames
from tests.frontends.conftest import WAIT_SECONDS, GrpcService, LoopThread
from tests.frontends.fake_gateway import FakeGateway, int32
from tests.frontends.grpc_client import SERVICE, Stub, infer_request, values_of
from tests.frontends.lean_peer import message

Starter = Callable[[Http2Limits, GrpcOptions], GrpcService]
HANDSHAKE = frames.PREFACE + frames.settings({})


@pytest.fixture
def start(loop_thread: LoopThread) -> Iterator[Starter]:
    started: list[LeanGrpcFrontEnd] = []

    def start(limits: Http2Limits, options: GrpcOptions) -> GrpcService:
        gateway = FakeGateway()
        front_end = LeanGrpcFrontEnd(gateway, options, limits)
        port = loop_thread.run(front_end.start("127.0.0.1", 0))
        started.append(front_end)
        return GrpcService(gateway, f"127.0.0.1:{port}", loop_thread, front_end)

    yield start
    for front_end in started:
        loop_thread.run(front_end.stop(0))


def connect(service: GrpcService) -> socket.socket:
    host, _, port = service.address.rpartition(":")
    return socket.create_connection((host, int(port)), WAIT_SECONDS)


def read_to_end(client: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            found += data
    return found


def request_head(method: str) -> bytes:
    return bytes(
        Encoder().encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", SERVICE + method),
                ("content-type", "application/grpc"),
            ]
        )
    )


@pytest.mark.parametrize("begin", [b"", frames.PREFACE[:10], frames.PREFACE + bytes(3)])
def test_a_client_that_does_not_say_hello_is_left(start: Starter, begin: bytes) -> None:
    service = start(Http2Limits(preface_seconds=0.1), GrpcOptions())
    with connect(service) as client:
        client.sendall(begin)
        assert b"no HTTP/2 preface came in time" in read_to_end(client)


def test_an_idle_connection_is_left_and_a_busy_one_is_not(start: Starter) -> None:
    service = start(Http2Limits(idle_seconds=0.1), GrpcOptions())
    with connect(service) as idle, Stub(service.address) as stub:
        stream = stub.stream()
        stream.send(infer_request("manual", 1.0, id="busy"))
        service.waiting("busy")
        idle.sendall(HANDSHAKE)
        assert frames.goaway(0, frames.ErrorCode.NO_ERROR) in read_to_end(idle)
        service.act(service.waiting("busy").send, int32("OUT", 4))
        assert values_of(stream.receive().infer_response, "int32") == [4]
        stream.half_close()
        assert stream.rest() == []


def test_a_client_that_answers_no_ping_is_lost(start: Starter) -> None:
    service = start(Http2Limits(), GrpcOptions(keepalive_ms=100, keepalive_timeout_ms=100))
    with connect(service) as client:
        client.sendall(HANDSHAKE)
        assert frames.frame(frames.PING, 0, 0, b"keepaliv") in read_to_end(client)


def test_a_connection_that_breaks_the_rules_is_closed_and_others_go_on(start: Starter) -> None:
    service = start(Http2Limits(), GrpcOptions())
    with connect(service) as bad, Stub(service.address) as stub:
        assert stub.call("ServerLive", b"").live
        bad.sendall(HANDSHAKE + frames.frame(frames.PING, 0, 1, bytes(8)))
        assert b"PING on a stream" in read_to_end(bad)
        assert stub.call("ServerLive", b"").live


def test_a_lost_connection_ends_its_sequences(start: Starter) -> None:
    service = start(Http2Limits(), GrpcOptions())
    request = infer_request("manual", 1.0, id="r").SerializeToString()
    with connect(service) as client:
        client.sendall(
            HANDSHAKE
            + frames.frame(frames.HEADERS, frames.END_HEADERS, 1, request_head("ModelStreamInfer"))
            + frames.frame(frames.DATA, 0, 1, message(request))
        )
        service.waiting("r")
    service.thread.wait_until(lambda: service.gateway.cancelled == ["r"])
    assert [connection.closed for connection in service.gateway.connections] == [True]


def test_a_deadline_cancels_a_unary_call_and_a_stream(start: Starter) -> None:
    service = start(Http2Limits(), GrpcOptions())
    head = [
        (":method", "POST"),
        (":scheme", "http"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "100m"),
    ]
    encoder = Encoder()
    with connect(service) as client:
        client.sendall(HANDSHAKE)
        for stream_id, method in ((1, "ModelInfer"), (3, "ModelStreamInfer")):
            block = encoder.encode([*head[:2], (":path", SERVICE + method), *head[2:]])
            request = infer_request("manual", 1.0, id=method).SerializeToString()
            client.sendall(
                frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block)
                + frames.frame(frames.DATA, frames.END_STREAM, stream_id, message(request))
            )
        found = b""
        while found.count(b"Deadline Exceeded") < 2:
            found += client.recv(65536)
    assert set(service.gateway.cancelled) == {"ModelInfer", "ModelStreamInfer"}


def test_a_slow_reader_gets_everything(start: Starter) -> None:
    service = start(Http2Limits(), GrpcOptions())
    values = [1.5] * 250_000
    with Stub(service.address) as stub:
        stream = stub.stream()
        for number in range(30):
            stream.send(infer_request("identity", *values, id=str(number)))
        stream.half_close()
        service.thread.wait_until(lambda: len(service.gateway.requests) >= 16)
        assert stream.ids(30) == [str(number) for number in range(30)]
        assert stream.rest() == []


def test_a_client_that_does_not_read_is_cut_off(start: Starter) -> None:
    """Its windows are wide open, so that only the socket's fill level holds us up."""
    service = start(Http2Limits(unsent_bytes=1_000_000), GrpcOptions())
    request = infer_request("identity", *([1.5] * 3000), id="r").SerializeToString()
    assert len(request) < 16000
    data = frames.frame(frames.DATA, 0, 1, message(request))
    with connect(service) as client:
        client.sendall(
            HANDSHAKE
            + frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31 - 1})
            + frames.window_update(0, 2**30)
            + frames.frame(frames.HEADERS, frames.END_HEADERS, 1, request_head("ModelStreamInfer"))
        )
        client.setblocking(False)
        is_reset = False
        while not is_reset:
            _, writable, _ = select.select([], [client], [], WAIT_SECONDS)
            assert writable, "the server neither reads nor ends the connection"
            try:
                client.send(data)
            except BlockingIOError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                is_reset = True
    service.thread.wait_until(lambda: service.gateway.connections[0].closed)


def test_compressed_requests_of_a_real_client(start: Starter) -> None:
    service = start(Http2Limits(), GrpcOptions())
    for kind in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        with grpc.insecure_channel(service.address, compression=kind) as channel:
            request = infer_request("identity", *([2.0] * 5000), id="z").SerializeToString()
            channel.unary_unary(SERVICE + "ModelInfer")(request, timeout=WAIT_SECONDS)
    assert [request.id for request in service.gateway.requests] == ["z", "z"]


def test_what_is_not_offered(start: Starter) -> None:
    service = start(Http2Limits(), GrpcOptions())
    with Stub(service.address) as stub:
        reflection = reflection_pb2_grpc.ServerReflectionStub(stub.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as raised:
            list(reflection.ServerReflectionInfo(iter([request])))
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        two = stub.channel.stream_unary(SERVICE + "ServerLive")
        for requests in ([], [b"", b""]):
            with pytest.raises(grpc.RpcError) as raised:
                two(iter(requests), timeout=WAIT_SECONDS)
            assert raised.value.code() is grpc.StatusCode.INTERNAL
            assert "a unary call takes one message" in raised.value.details()


def test_a_stop_ends_watches(start: Starter) -> None:
    service = start(Http2Limits(), GrpcOptions())
    with Stub(service.address) as stub:
        watch = health_pb2_grpc.HealthStub(stub.channel).Watch(health_pb2.HealthCheckRequest())
        next(watch)
        service.thread.run(service.front_end.stop(0.1))
        with pytest.raises(grpc.RpcError):
            list(watch)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (GrpcOptions(credentials=grpc.local_server_credentials()), "has no TLS"),
        (GrpcOptions(compression=grpc.Compression.Gzip), "doesn't compress responses"),
    ],
)
def test_options_that_the_lean_transport_has_not(options: GrpcOptions, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        LeanGrpcFrontEnd(FakeGateway(), options)
