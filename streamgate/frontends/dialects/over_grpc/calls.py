"""What begins a service's calls, and calls with a single question and answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import final

from google.protobuf.message import DecodeError

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.frontends.dialects.over_grpc.call import SpeechCall, Wording
from streamgate.frontends.dialects.over_grpc.resuming import hearing_beginning
from streamgate.frontends.dialects.over_grpc.statuses import UNAVAILABLE, entered, refusal
from streamgate.frontends.grpc_resumption import StreamReception
from streamgate.frontends.grpc_service import (
    CallHandler,
    CallWire,
    FreshWire,
    GrpcStatus,
    Metadata,
    OpenCall,
    RefusedCall,
)
from streamgate.frontends.kserve_grpc.decode import UNPARSABLE
from streamgate.frontends.kserve_grpc.unary import SHUTTING_DOWN, unexpected
from streamgate.frontends.speech import SpeechContext

Answer = Callable[[SpeechContext, bytes], Awaitable[bytes]]
"""Answers a question of the context's client. Raises StreamGateError and DecodeError."""


def hearing_call(context: SpeechContext, wording: Callable[[], Wording]) -> OpenCall:
    """Begins calls that hear; each has a wording of its own."""
    return _guarded(context, lambda own, wire, _: SpeechCall(own, wording(), wire))


def resumable_call(
    context: SpeechContext,
    kind: str,
    wording: Callable[[], Wording],
    reception: StreamReception | None,
) -> OpenCall:
    """The same, but that clients may come back to them where there is a reception. `kind` is the
    method."""
    if reception is None:
        return hearing_call(context, wording)

    def begin(own: SpeechContext, wire: FreshWire, metadata: Metadata) -> CallHandler:
        def speak(over: CallWire) -> SpeechCall:
            return SpeechCall(own, wording(), over)

        return reception.receive(wire, metadata, hearing_beginning(kind, wire, speak))

    return _guarded(context, begin)


def single_call(context: SpeechContext, answer: Answer) -> OpenCall:
    """Begins calls with one question and one answer."""
    return _guarded(context, lambda own, wire, _: _SingleCall(own, answer, wire))


def _guarded(
    context: SpeechContext, begin: Callable[[SpeechContext, FreshWire, Metadata], CallHandler]
) -> OpenCall:
    """For those who show a key, if the server wants one."""

    def open_call(wire: FreshWire, metadata: Metadata) -> CallHandler:
        own = entered(context, metadata)
        if isinstance(own, SpeechContext):
            return begin(own, wire, metadata)
        wire.finish(own)
        return RefusedCall()

    return open_call


@final
class _SingleCall:
    """The task that answers begins with the question."""

    def __init__(self, context: SpeechContext, answer: Answer, wire: CallWire) -> None:
        self._context = context
        self._answer = answer
        self._wire = wire
        self._task: asyncio.Task[None] | None = None
        self._is_over = False

    @property
    def wants_message(self) -> bool:
        return True

    def on_message(self, data: bytes, /) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(data))

    def on_half_close(self) -> None:
        if self._task is None:
            self._end(GrpcStatus.of(Failure(Code.INTERNAL, "the call came without a message")))

    def on_lost(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def on_sent(self, size_bytes: int, /) -> None:
        """Nothing waits for that."""

    def drain(self) -> None:
        if self._task is None:
            self._end(GrpcStatus(UNAVAILABLE, SHUTTING_DOWN))

    async def _run(self, data: bytes) -> None:
        try:
            answer = await self._answer(self._context, data)
        except DecodeError:
            status = GrpcStatus.of(Failure(Code.INTERNAL, UNPARSABLE))
        except StreamGateError as error:
            status = refusal(self._context, error)
        except Exception as error:  # noqa: BLE001, whatever it is, the client gets an answer
            status = GrpcStatus.of(unexpected(error))
        else:
            if not self._is_over:
                self._wire.send(answer)
            self._end(None)
            return
        self._end(status)

    def _end(self, status: GrpcStatus | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._wire.finish(status)
