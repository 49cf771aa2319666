"""Mounts the transport-neutral handlers on grpc.aio. Bytes go in and out as they are.

A stream costs two tasks for its whole life, none per message: one reads, one writes. grpc.aio's
own work is most of what a message costs here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias, TypeVar, final

import grpc
import grpc.aio

from streamgate.errors import Code, Failure, OverLimitError, StreamGateError
from streamgate.frontends.api_keys import key_in
from streamgate.frontends.codes import GRPC_STATUS
from streamgate.frontends.grpc_resumption import StreamReception
from streamgate.frontends.grpc_service import CallHandler, GrpcStatus, OpenCall
from streamgate.frontends.header_forwarding import HeaderForwarding
from streamgate.frontends.kserve_grpc.access import RestrictedKey
from streamgate.frontends.kserve_grpc.resumption import infer_beginning
from streamgate.frontends.kserve_grpc.stream import InferStream, StreamLimits, StreamTransport
from streamgate.frontends.kserve_grpc.unary import SHUTTING_DOWN, UnaryInfer, unexpected
from streamgate.model.request import ParameterValue
from streamgate.session.gateway import Gateway

Context: TypeAlias = grpc.aio.ServicerContext
ResultT = TypeVar("ResultT")
Handler = Callable[[Any, Context], Awaitable[ResultT]]

HALF_CLOSE_SECONDS: Final = 0.005
"""How long the end of a client's messages is doubted. A stream that was cancelled loses its
sequences, one that was closed in good order does not."""

READS_BEHIND_END: Final = 3
"""Answers of grpc-core that are waited for before: on a slow machine, time alone is no fence."""

_STATUS_BY_NUMBER: Final[dict[int, grpc.StatusCode]] = {
    status.value[0]: status for status in grpc.StatusCode
}
_STATUS: Final = {code: _STATUS_BY_NUMBER[number] for code, number in GRPC_STATUS.items()}


async def abort(context: Context, failure: Failure | GrpcStatus) -> NoReturn:
    """End the call with this failure's status."""
    if isinstance(failure, Failure):
        await context.abort(_STATUS[failure.code], failure.message)
    else:
        status = _STATUS_BY_NUMBER[failure.number]
        await context.abort(status, failure.text, tuple(failure.trailers))
    raise AssertionError  # abort always raises


def metadata_of(context: Context) -> Sequence[tuple[str, str | bytes]]:
    """The caller's metadata; keys are in lower case."""
    return [(key, value) for key, value in context.invocation_metadata() or ()]


def unary_handler(method: Callable[[bytes], Awaitable[bytes]]) -> Handler[bytes]:
    """A handler that answers with the method's bytes, or the status of what it raises."""

    async def handle(data: bytes, context: Context) -> bytes:
        try:
            return await method(data)
        except StreamGateError as error:
            failure = error.failure
        except Exception as error:  # noqa: BLE001, whatever it is, the client gets an answer
            failure = unexpected(error)
        return await abort(context, failure)

    return handle


def guarded(handler: Handler[ResultT], key: RestrictedKey) -> Handler[ResultT]:
    """The handler for those who show the key."""

    async def handle(request: object, context: Context) -> ResultT:
        refusal = key.refusal(metadata_of(context))
        if refusal is not None:
            await abort(context, refusal)
        return await handler(request, context)

    return handle


@final
class InferHandlers:
    """ModelInfer and ModelStreamInfer on grpc.aio, and which of their calls are running."""

    def __init__(
        self,
        gateway: Gateway,
        limits: StreamLimits,
        forwarding: HeaderForwarding,
        reception: StreamReception,
    ) -> None:
        self._gateway = gateway
        self._reception = reception
        self._limits = limits
        self._forwarding = forwarding
        self._streams: set[CallHandler] = set()
        self._running = 0
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    def drain(self) -> None:
        """Refuse new calls; open streams only finish what they have begun."""
        self._is_draining = True
        self._reception.stop()
        for stream in tuple(self._streams):
            stream.drain()

    async def wait_idle(self) -> None:
        """Return once no call is running."""
        await self._idle.wait()

    async def infer(self, data: bytes, context: Context) -> bytes:
        """The ModelInfer RPC."""
        if self._is_draining:
            await abort(context, Failure(Code.UNAVAILABLE, SHUTTING_DOWN))
        answered: asyncio.Future[bytes | Failure] = asyncio.get_running_loop().create_future()
        outcome: bytes | Failure | GrpcStatus
        self._begin()
        try:
            headers = self._headers(context)
            gateway = self._gateway.of(key_in(metadata_of(context)))
            call = UnaryInfer(gateway, data, headers, answered.set_result)
            try:
                outcome = await answered
            except asyncio.CancelledError:
                call.cancel()
                raise
        except OverLimitError as error:
            outcome = GrpcStatus.of_limit(error)
        except StreamGateError as error:
            outcome = error.failure
        except Exception as error:  # noqa: BLE001, whatever it is, the client gets an answer
            outcome = unexpected(error)
        finally:
            self._end()
        if isinstance(outcome, bytes):
            return outcome
        return await abort(context, outcome)

    async def stream(self, _requests: object, context: Context) -> None:
        """The ModelStreamInfer RPC."""
        metadata = metadata_of(context)

        def begin(transport: StreamTransport, says_places: bool) -> InferStream:
            return InferStream(
                self._gateway.of(key_in(metadata)),
                transport,
                limits=self._limits,
                errors_end_stream=("triton_grpc_error", "true") in metadata,
                headers=self._headers(context),
                says_places=says_places,
            )

        def receive(pipe: _Pipe) -> CallHandler:
            return self._reception.receive(pipe, metadata, infer_beginning(pipe, begin))

        await self._serve(context, receive)

    def of_service(self, open_call: OpenCall) -> Handler[None]:
        """An RPC of a service beside the inference service."""

        async def handle(_requests: object, context: Context) -> None:
            await self._serve(context, lambda pipe: open_call(pipe, metadata_of(context)))

        return handle

    async def _serve(self, context: Context, begin: Callable[[_Pipe], CallHandler]) -> None:
        """One call. This task writes, another reads."""
        if self._is_draining:
            await abort(context, Failure(Code.UNAVAILABLE, SHUTTING_DOWN))
        self._begin()
        failure: Failure | GrpcStatus | None
        try:
            failure = await self._carry(context, begin)
        except StreamGateError as error:
            failure = error.failure
        finally:
            self._end()
        if failure is not None:
            await abort(context, failure)

    async def _carry(
        self, context: Context, begin: Callable[[_Pipe], CallHandler]
    ) -> Failure | GrpcStatus | None:
        pipe = _Pipe(context)
        stream = begin(pipe)
        self._streams.add(stream)
        reader = asyncio.create_task(pipe.read(stream))
        try:
            return await pipe.write(stream)
        finally:
            self._streams.discard(stream)
            stream.on_lost()  # does nothing when the stream has come to its end
            reader.cancel()

    def _headers(self, context: Context) -> Mapping[str, ParameterValue]:
        return self._forwarding.parameters(metadata_of(context)) if self._forwarding.is_on else {}

    def _begin(self) -> None:
        self._running += 1
        self._idle.clear()

    def _end(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()


@final
class _Pipe:
    """The messages of one stream between its handler and grpc.aio: a `FreshWire`, and a
    `StreamTransport`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._outbox: deque[bytes] = deque()
        self._metadata: Sequence[tuple[str, str]] | None = None
        self._is_finished = False
        self._failure: Failure | GrpcStatus | None = None
        loop = asyncio.get_running_loop()
        self._to_write = _Signal(loop)
        self._to_read = _Signal(loop)

    def start(self, metadata: Sequence[tuple[str, str]], /) -> None:
        self._metadata = metadata
        self._to_write.set()

    def send(self, message: bytes) -> None:
        self._outbox.append(message)
        self._to_write.set()

    def finish(self, failure: Failure | GrpcStatus | None, /) -> None:
        self._is_finished = True
        self._failure = failure
        self._to_write.set()

    def break_off(self, failure: Failure | GrpcStatus, /) -> None:
        # What grpc-core has taken stands before the status, until the client reads or goes.
        self._outbox.clear()
        self.finish(failure)

    def resume(self) -> None:
        self._to_read.set()

    async def read(self, stream: CallHandler) -> None:
        """Hand over messages until the client has sent its last. Cancelled with the call."""
        read: Callable[[], Awaitable[Any]] = self._context.read
        end = grpc.aio.EOF
        # Cancelled: the call is over, and its writing task is told the same.
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                # Nor is the first wanted always: a call may go on with a stream that is full.
                while not stream.wants_message:
                    await self._to_read.wait()
                message = await read()
                if message is end:
                    # A cancelled call looks the same for a moment, until this task is cancelled.
                    # How long that takes is the machine's to say. But grpc-core tells of both at
                    # once, and its answers to further reads come behind that.
                    for _ in range(READS_BEHIND_END):
                        await read()
                    await asyncio.sleep(HALF_CLOSE_SECONDS)
                    stream.on_half_close()
                    return
                stream.on_message(message)

    async def write(self, stream: CallHandler) -> Failure | GrpcStatus | None:
        """Write what is sent, until the end. Returns the failure that the call ends with."""
        write: Callable[[bytes], Awaitable[None]] = self._context.write
        outbox = self._outbox
        while True:
            if self._metadata is not None:
                metadata, self._metadata = self._metadata, None
                await self._context.send_initial_metadata(tuple(metadata))
            while outbox:
                message = outbox.popleft()
                try:
                    await write(message)
                except grpc.aio.InternalError:
                    # The call was lost while the message waited for its reader.
                    raise asyncio.CancelledError from None
                stream.on_sent(len(message))
            if self._is_finished:
                return self._failure
            await self._to_write.wait()


@final
class _Signal:
    """Wakes the one task that waits for it. Set while nobody waits, it does nothing."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: asyncio.Future[None] | None = None

    def set(self) -> None:
        waiting = self._waiting
        if waiting is not None:
            self._waiting = None
            if not waiting.done():
                waiting.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        self._waiting = self._loop.create_future()
        return self._waiting
