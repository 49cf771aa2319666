"""gRPC calls on HTTP/2 streams: which method a path names, and the handler under it.

The handlers are those that `kserve_grpc` mounts on grpc.aio; this is the same mounting, without a
task per call but for the control RPCs. Health's `Check` and `Watch` answer as there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol, final

from grpc_health.v1 import health_pb2

from streamgate._proto.descriptors import INFERENCE_SERVICE
from streamgate.errors import Failure, OverLimitError, StreamGateError
from streamgate.frontends.api_keys import key_in
from streamgate.frontends.codes import GRPC_STATUS
from streamgate.frontends.grpc_resumption import StreamReception
from streamgate.frontends.grpc_service import CallHandler, GrpcService, GrpcStatus, OpenCall
from streamgate.frontends.header_forwarding import HeaderForwarding
from streamgate.frontends.kserve_grpc.access import RestrictedKey, restricted_methods
from streamgate.frontends.kserve_grpc.control import ControlMethods, Method
from streamgate.frontends.kserve_grpc.health import HEALTH_SERVICE, WATCH_PERIOD_SECONDS
from streamgate.frontends.kserve_grpc.resumption import infer_beginning
from streamgate.frontends.kserve_grpc.server import GrpcOptions
from streamgate.frontends.kserve_grpc.stream import InferStream, StreamTransport
from streamgate.frontends.kserve_grpc.unary import SHUTTING_DOWN, UnaryInfer, unexpected
from streamgate.frontends.lean_http2.heads import UNIMPLEMENTED
from streamgate.frontends.lean_http2.stream import RESOURCE_EXHAUSTED, Http2Stream
from streamgate.model.request import ParameterValue
from streamgate.session.gateway import Gateway

DEADLINE_EXCEEDED: Final = 4
UNAVAILABLE: Final = 14
INTERNAL: Final = 13

Opener = Callable[[Http2Stream], None]


def fail(stream: Http2Stream, failure: Failure | GrpcStatus | StreamGateError) -> None:
    """End the call with this failure's status."""
    if isinstance(failure, OverLimitError):
        failure = GrpcStatus.of_limit(failure)
    elif isinstance(failure, StreamGateError):
        failure = failure.failure
    if isinstance(failure, Failure):
        stream.finish(GRPC_STATUS[failure.code], failure.message)
    else:
        stream.finish(failure.number, failure.text, failure.trailers)


@final
class Calls:
    """Every call of a front end, over all of its connections."""

    def __init__(
        self,
        gateway: Gateway,
        options: GrpcOptions,
        services: Sequence[GrpcService],
        reception: StreamReception,
    ) -> None:
        """Raises ConfigError for options that can't be."""
        self._gateway = gateway
        self._options = options
        self._forwarding = HeaderForwarding(options.forward_headers)
        self._reception = reception
        self._streams: set[CallHandler] = set()
        self._count = 0
        self._inferring = 0
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        control = ControlMethods(gateway, lambda: self._is_draining)
        self._is_serving = control.is_ready
        self._openers = self._routes(control, restricted_methods(options.restricted))
        for service in services:
            for name, open_call in service.methods.items():
                self._openers[f"/{service.name}/{name}"] = partial(self._open_call, open_call)

    def drain(self) -> None:
        """Refuse new calls; open streams only finish what they have begun."""
        self._is_draining = True
        self._reception.stop()
        for stream in tuple(self._streams):
            stream.drain()

    async def wait_idle(self) -> None:
        """Return once no inference call is running."""
        await self._idle.wait()

    def open(self, stream: Http2Stream) -> None:
        """Begin the call that a stream's head asks for."""
        head = stream.head
        opener = self._openers.get(head.path)
        if opener is None:
            stream.finish(UNIMPLEMENTED, "Method not found!")
            return
        if head.refusal is not None:
            stream.finish(*head.refusal)
            return
        if self._count >= self._options.calls_max:
            stream.finish(RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
            return
        self._count += 1
        stream.on_end = self._ended
        try:
            opener(stream)
        except StreamGateError as error:
            fail(stream, error)
        except Exception as error:  # noqa: BLE001, whatever it is, the client gets an answer
            fail(stream, unexpected(error))
        if head.timeout_seconds is not None and not stream.is_over:
            self._limit(stream, head.timeout_seconds)

    def headers(self, stream: Http2Stream) -> Mapping[str, ParameterValue]:
        """The metadata that models get to see."""
        return self._forwarding.parameters(stream.head.metadata) if self._forwarding.is_on else {}

    def _ended(self) -> None:
        self._count -= 1

    def _inference_ended(self) -> None:
        self._count -= 1
        self._inferring -= 1
        if not self._inferring:
            self._idle.set()

    def _limit(self, stream: Http2Stream, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(
            seconds, stream.expire, DEADLINE_EXCEEDED, "Deadline Exceeded"
        )
        stream.on_end = partial(_cancel_then, timer, stream.on_end)

    def _routes(
        self, control: ControlMethods, keys: Mapping[str, RestrictedKey]
    ) -> dict[str, Opener]:
        inference: dict[str, Opener] = {
            name: partial(_open_control, method) for name, method in control.methods().items()
        }
        inference["ModelInfer"] = self._open_infer
        inference["ModelStreamInfer"] = self._open_stream
        health: dict[str, Opener] = {
            "Check": partial(_open_control, self._check),
            "Watch": self._open_watch,
        }
        return {
            f"/{service}/{name}": opener if name not in keys else _guarded(opener, keys[name])
            for service, openers in ((INFERENCE_SERVICE, inference), (HEALTH_SERVICE, health))
            for name, opener in openers.items()
        }

    def _begin_inference(self, stream: Http2Stream) -> bool:
        """Count the call, unless it must be refused."""
        if self._is_draining:
            stream.finish(UNAVAILABLE, SHUTTING_DOWN)
            return False
        self._inferring += 1
        self._idle.clear()
        stream.on_end = self._inference_ended
        return True

    def _open_infer(self, stream: Http2Stream) -> None:
        if self._begin_inference(stream):
            stream.sink = _OneMessage(
                stream, _InferCall(self._gateway.of(key_in(stream.head.metadata)), stream, self)
            )

    def _open_stream(self, stream: Http2Stream) -> None:
        if not self._begin_inference(stream):
            return
        metadata = stream.head.metadata

        def begin(transport: StreamTransport, says_places: bool) -> InferStream:
            return InferStream(
                self._gateway.of(key_in(metadata)),
                transport,
                limits=self._options.stream_limits,
                errors_end_stream=("triton_grpc_error", "true") in metadata,
                headers=self.headers(stream),
                says_places=says_places,
            )

        wire = _StreamWire(stream)
        self._carry(stream, self._reception.receive(wire, metadata, infer_beginning(wire, begin)))

    def _open_call(self, open_call: OpenCall, stream: Http2Stream) -> None:
        """A call of a service beside the inference service."""
        if not self._begin_inference(stream):
            return
        self._carry(stream, open_call(_StreamWire(stream), stream.head.metadata))

    def _carry(self, stream: Http2Stream, handler: CallHandler) -> None:
        if not stream.is_over:  # it may have been refused
            self._streams.add(handler)
            stream.sink = handler
            stream.on_end = partial(self._stream_ended, handler)

    def _stream_ended(self, handler: CallHandler) -> None:
        self._streams.discard(handler)
        self._inference_ended()
        handler.on_lost()  # does nothing when it has come to its end

    async def _check(self, _data: bytes) -> bytes:
        return _health(serving=self._is_serving())

    def _open_watch(self, stream: Http2Stream) -> None:
        stream.sink = _OneMessage(stream, _WatchCall(stream, self._is_serving))


def _guarded(opener: Opener, key: RestrictedKey) -> Opener:
    """The opener for those who show the key."""

    def open_(stream: Http2Stream) -> None:
        refusal = key.refusal(stream.head.metadata)
        if refusal is None:
            opener(stream)
        else:
            fail(stream, refusal)

    return open_


def _cancel_then(timer: asyncio.TimerHandle, then: Callable[[], None] | None) -> None:
    timer.cancel()
    if then is not None:
        then()


def _health(*, serving: bool) -> bytes:
    answer = health_pb2.HealthCheckResponse
    data: bytes = answer(
        status=answer.SERVING if serving else answer.NOT_SERVING
    ).SerializeToString()
    return data


def _open_control(method: Method, stream: Http2Stream) -> None:
    stream.sink = _OneMessage(stream, _ControlCall(stream, method))


@final
class _StreamWire:
    """A `FreshWire`, and a `StreamTransport`, on an HTTP/2 stream."""

    __slots__ = ("_stream", "resume", "send", "start")

    def __init__(self, stream: Http2Stream) -> None:
        self._stream = stream
        self.start = stream.start
        self.send = stream.send
        self.resume = stream.resume

    def finish(self, failure: Failure | GrpcStatus | None, /) -> None:
        if failure is None:
            self._stream.finish(0)
        else:
            fail(self._stream, failure)

    def break_off(self, failure: Failure | GrpcStatus, /) -> None:
        self._stream.drop_unsent()
        fail(self._stream, failure)


class _Handling(Protocol):
    """What is done for a call that has one message."""

    def begin(self, data: bytes) -> None:
        """Handle the request."""

    def on_lost(self) -> None:
        """Stop handling it."""


@final
class _OneMessage:
    """The request of a unary call. Its handling begins with the half-close."""

    wants_message = True

    def __init__(self, stream: Http2Stream, handling: _Handling) -> None:
        self.on_lost = handling.on_lost
        self._handling = handling
        self._stream = stream
        self._data: bytes | None = None

    def on_message(self, data: bytes, /) -> None:
        if self._data is not None:
            self._stream.finish(INTERNAL, "a unary call takes one message, got another")
        self._data = data

    def on_half_close(self) -> None:
        if self._data is None:
            self._stream.finish(INTERNAL, "a unary call takes one message, got none")
            return
        try:
            self._handling.begin(self._data)
        except StreamGateError as error:
            fail(self._stream, error)
        except Exception as error:  # noqa: BLE001, whatever it is, the client gets an answer
            fail(self._stream, unexpected(error))

    def on_sent(self, _size_bytes: int, /) -> None:
        """Nothing waits for that."""


@final
class _InferCall:
    """ModelInfer."""

    def __init__(self, gateway: Gateway, stream: Http2Stream, calls: Calls) -> None:
        self._stream = stream
        self._gateway = gateway
        self._headers = calls.headers(stream)
        self._call: UnaryInfer | None = None

    def begin(self, data: bytes) -> None:
        self._call = UnaryInfer(self._gateway, data, self._headers, self._answered)

    def on_lost(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def _answered(self, outcome: bytes | Failure) -> None:
        if isinstance(outcome, Failure):
            fail(self._stream, outcome)
        else:
            self._stream.answer(outcome)


@final
class _ControlCall:
    """A control RPC: a task, as loading a model takes its time."""

    def __init__(self, stream: Http2Stream, method: Method) -> None:
        self._stream = stream
        self._method = method
        self._task: asyncio.Task[None] | None = None

    def begin(self, data: bytes) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(data))

    def on_lost(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self, data: bytes) -> None:
        try:
            answer = await self._method(data)
        except StreamGateError as error:
            fail(self._stream, error.failure)
        except Exception as error:  # noqa: BLE001, whatever it is, the client gets an answer
            fail(self._stream, unexpected(error))
        else:
            self._stream.answer(answer)


@final
class _WatchCall:
    """Health's Watch: the state now and each other state later."""

    def __init__(self, stream: Http2Stream, is_serving: Callable[[], bool]) -> None:
        self._stream = stream
        self._is_serving = is_serving
        self._told: bool | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, data: bytes) -> None:
        del data  # the service asked for is ignored, as in Triton
        self._look()

    def on_lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        serving = self._is_serving()
        if serving is not self._told:
            self._told = serving
            self._stream.send(_health(serving=serving))
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(WATCH_PERIOD_SECONDS, self._look)
