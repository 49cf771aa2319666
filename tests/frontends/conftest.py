"""Fixtures for front-end tests: a server's event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from streamgate.frontends.kserve_grpc import GrpcFrontEnd, GrpcOptions
from streamgate.frontends.kserve_http import HttpFrontEnd, HttpOptions
from streamgate.frontends.lean_http2 import LeanGrpcFrontEnd
from tests.frontends.fake_gateway import FakeCall, FakeGateway
from tests.frontends.http_client import HttpClient

ResultT = TypeVar("ResultT")
WAIT_SECONDS = 20.0


class LoopThread:
    """An event loop on a thread, so that blocking clients can be used from the test's own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """The coroutine's result; it runs on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_SECONDS)

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Return once the condition holds; it is asked on the loop, turn after turn."""

        async def poll() -> None:
            async with asyncio.timeout(WAIT_SECONDS):
                while not condition():  # noqa: ASYNC110, conditions here are anybody's
                    await asyncio.sleep(0.002)

        self.run(poll())

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_SECONDS)
        self.loop.close()


@pytest.fixture(scope="module")
def loop_thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close()


@dataclass
class Service:
    """A running front end over a gateway in memory."""

    gateway: FakeGateway
    address: str
    thread: LoopThread

    def waiting(self, request_id: str) -> FakeCall:
        """The request with this id, once it waits for the test's answer."""
        self.thread.wait_until(
            lambda: any(call.request.id == request_id for call in self.gateway.waiting)
        )
        return self.gateway.waiting_for(request_id)

    def act(self, action: Callable[..., object], *arguments: Any, **named: Any) -> None:
        """Call it on the loop."""

        async def call() -> None:
            action(*arguments, **named)

        self.thread.run(call())


@dataclass
class GrpcService(Service):
    front_end: GrpcFrontEnd | LeanGrpcFrontEnd


@dataclass
class HttpService(Service):
    front_end: HttpFrontEnd


GrpcStarter = Callable[[GrpcOptions], GrpcService]


@pytest.fixture(params=["grpcio", "lean"])
def grpc_front_end(request: pytest.FixtureRequest) -> type[GrpcFrontEnd | LeanGrpcFrontEnd]:
    """Both transports: whatever uses this passes on each."""
    return LeanGrpcFrontEnd if request.param == "lean" else GrpcFrontEnd


@pytest.fixture
def start_grpc(
    loop_thread: LoopThread, grpc_front_end: type[GrpcFrontEnd | LeanGrpcFrontEnd]
) -> Iterator[GrpcStarter]:
    """Starts front ends with options; stops them after the test."""
    started: list[GrpcFrontEnd | LeanGrpcFrontEnd] = []

    def start(options: GrpcOptions) -> GrpcService:
        gateway = FakeGateway()
        front_end = grpc_front_end(gateway, options)
        port = loop_thread.run(front_end.start("127.0.0.1", 0))
        started.append(front_end)
        return GrpcService(gateway, f"127.0.0.1:{port}", loop_thread, front_end)

    yield start
    for front_end in started:
        loop_thread.run(front_end.stop(0))


@pytest.fixture
def service(start_grpc: GrpcStarter) -> GrpcService:
    return start_grpc(GrpcOptions())


HttpStarter = Callable[[HttpOptions], HttpService]


@pytest.fixture
def start_http(loop_thread: LoopThread) -> Iterator[HttpStarter]:
    """Starts front ends with options; stops them after the test."""
    started: list[HttpFrontEnd] = []

    def start(options: HttpOptions) -> HttpService:
        gateway = FakeGateway()
        front_end = HttpFrontEnd(gateway, options)
        port = loop_thread.run(front_end.start("127.0.0.1", 0))
        started.append(front_end)
        return HttpService(gateway, f"127.0.0.1:{port}", loop_thread, front_end)

    yield start
    for front_end in started:
        loop_thread.run(front_end.stop(0))


@pytest.fixture
def http_service(start_http: HttpStarter) -> HttpService:
    return start_http(HttpOptions())


@pytest.fixture
def http(http_service: HttpService) -> Iterator[HttpClient]:
    """A client of `http_service` over one connection."""
    with HttpClient(http_service.address) as client:
        yield client
