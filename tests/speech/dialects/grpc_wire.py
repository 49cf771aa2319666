"""Calls of the gRPC dialects, without a transport."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from streamgate.frontends.grpc_service import (
    CallHandler,
    GrpcService,
    GrpcStatus,
    Metadata,
)
from streamgate.frontends.speech import SpeechContext

MessageT = TypeVar("MessageT", bound=Message)
WAIT_SECONDS = 20


class FakeWire:
    """Takes what a call says. A `stuck` one never tells that anything has left."""

    def __init__(self) -> None:
        self.initial: dict[str, str] = {}
        self.sent: list[bytes] = []
        self.ended: asyncio.Future[GrpcStatus | None] = asyncio.get_running_loop().create_future()
        self.handler: CallHandler | None = None
        self.is_stuck = False
        self.is_broken_off = False
        self.may_read = asyncio.Event()

    def start(self, metadata: Sequence[tuple[str, str]], /) -> None:
        assert not self.sent
        self.initial = dict(metadata)

    def send(self, message: bytes) -> None:
        assert not self.ended.done()
        self.sent.append(message)
        if not self.is_stuck:
            asyncio.get_running_loop().call_soon(self.take, len(message))

    def take(self, size_bytes: int) -> None:
        assert self.handler is not None
        self.handler.on_sent(size_bytes)

    def finish(self, status: GrpcStatus | None, /) -> None:
        self.ended.set_result(status)
        self.may_read.set()

    def break_off(self, status: GrpcStatus, /) -> None:
        self.is_broken_off = True
        self.finish(status)

    def resume(self) -> None:
        self.may_read.set()


@dataclass
class Call:
    """One call under way."""

    wire: FakeWire
    handler: CallHandler

    async def send(self, *messages: Message) -> None:
        """As a transport does: when they are wanted."""
        for message in messages:
            async with asyncio.timeout(WAIT_SECONDS):
                while not self.handler.wants_message:
                    self.wire.may_read.clear()
                    await self.wire.may_read.wait()
            self.handler.on_message(message.SerializeToString())

    async def end(self) -> GrpcStatus | None:
        self.handler.on_half_close()
        return await self.ended()

    async def ended(self) -> GrpcStatus | None:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.wire.ended

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():  # noqa: ASYNC110 - conditions here are anybody's
                await asyncio.sleep(0.005)

    def answers(self, kind: type[MessageT]) -> Sequence[MessageT]:
        return [kind.FromString(data) for data in self.wire.sent]


@asynccontextmanager
async def call(service: GrpcService, method: str, metadata: Metadata = ()) -> AsyncIterator[Call]:
    wire = FakeWire()
    handler = service.methods[method](wire, metadata)
    wire.handler = handler
    yield Call(wire, handler)
    handler.on_lost()


async def ask(
    context_service: GrpcService, method: str, question: Message, answer: type[MessageT]
) -> MessageT | GrpcStatus:
    """A unary call."""
    async with call(context_service, method) as asked:
        await asked.send(question)
        status = await asked.end()
        if status is not None:
            assert not asked.wire.sent
            return status
        (message,) = asked.answers(answer)
        return message


async def slots_in_use(context: SpeechContext, model: str = "tone_transcriber") -> int:
    """How many sequences a model has just now."""
    return sum(table.taken for table in await context.gateway.slots(model, ""))


async def all_slots_free(context: SpeechContext) -> None:
    """Return once they are."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await slots_in_use(context):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
