"""A ModelStreamInfer stream that outlives the calls that carry it.

    InferStream --messages--> ResumableStream (keeps, numbers) --> the call that it is attached to
    InferStream <--requests-- ResumableStream <-- Attachment <-- the same

When its call is lost the stream is detached: what it has under way goes on, what it says is kept,
and its client comes back with a token and the number of the message that it had last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, final

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.frontends.grpc_service import GrpcStatus
from streamgate.frontends.kserve_grpc import encode
from streamgate.frontends.kserve_grpc.stream import InferStream

TOKEN_KEY: Final = "streamgate-resume"  # noqa: S105, the name of a piece of metadata
SECONDS_KEY: Final = "streamgate-resume-seconds"
LAST_EVENT_KEY: Final = "streamgate-last-event"
RECEIVED_KEY: Final = "streamgate-received"

TOKEN_PARAMETER: Final = "streamgate_resume"  # noqa: S105, the same in a message
EVENT_PARAMETER: Final = "streamgate_event"
RECEIVED_PARAMETER: Final = "streamgate_received"

SUPERSEDED: Final = GrpcStatus(10, "superseded: the stream was resumed over another call")
"""ABORTED: how a call ends whose stream another one has taken over."""

HALF_CLOSE_SECONDS: Final = 0.05
"""How long the end of a client's messages is doubted: a connection that breaks may look like it,
and a stream whose client has said its last takes no more."""


class ResumableWire(Protocol):
    """What carries a stream's messages just now. No method calls back before it returns."""

    def start(self, metadata: Sequence[tuple[str, str]], /) -> None:
        """Send the call's initial metadata, before any message."""

    def send(self, message: bytes) -> None:
        """Write this message after those before; `on_sent` is called once it has left."""

    def finish(self, failure: Failure | GrpcStatus | None, /) -> None:
        """End the call after all messages were written."""

    def break_off(self, failure: Failure | GrpcStatus, /) -> None:
        """End the call now. What was not written is dropped."""

    def resume(self) -> None:
        """`wants_message` has become true again."""


@dataclass(frozen=True, slots=True)
class KeepLimits:
    """What is kept of a stream's messages once they have left: at most so many, of so many bytes.
    A client that is further behind can't resume. What has not left is kept in any case; its bound
    is the stream's own."""

    messages: int = 4096
    bytes: int = 8 * 2**20


class Shelf(Protocol):
    """Where streams wait that are detached."""

    def shelve(self, stream: ResumableStream) -> bool:
        """A stream has lost its call. False if it can't wait."""

    def forget(self, stream: ResumableStream, why: str) -> None:
        """A stream is over."""


class _Kept(NamedTuple):
    event: int
    data: bytes
    size_bytes: int
    """What the stream counts for it: its size before the number was added."""


@final
class ResumableStream:
    """Implements `StreamTransport` for its stream. Messages are numbered from 1, in the order that
    they were said in; so are, for the client's sake, the requests that have come."""

    def __init__(
        self, number: bytes, token: str, seconds: float, limits: KeepLimits, shelf: Shelf
    ) -> None:
        self.number = number
        self.seconds = seconds
        self.received = 0
        self.kept_bytes = 0
        self.stream: InferStream | None = None
        self._token = token
        self._limits = limits
        self._shelf = shelf
        self._kept: deque[_Kept] = deque()
        self._last_event = 0
        self._unsent: deque[_Kept] = deque()
        self._again_bytes = 0
        self._attachment: Attachment | None = None
        self._ending: tuple[Failure | None] | None = None
        self._is_over = False

    @property
    def is_attached(self) -> bool:
        return self._attachment is not None

    def is_carried_by(self, attachment: Attachment) -> bool:
        return attachment is self._attachment

    # -- what the stream says

    def send(self, message: bytes) -> None:
        self._last_event += 1
        parameters: dict[str, int | str] = {EVENT_PARAMETER: self._last_event}
        if self._last_event == 1:
            # For clients that do not show their callers a call's metadata.
            parameters[TOKEN_PARAMETER] = self._token
        kept = _Kept(self._last_event, encode.with_parameters(message, parameters), len(message))
        self._kept.append(kept)
        self._unsent.append(kept)
        self.kept_bytes += len(kept.data)
        if self._attachment is not None:
            self._attachment.wire.send(kept.data)

    def finish(self, failure: Failure | None) -> None:
        self._ending = (failure,)
        if self._attachment is not None:
            self._attachment.wire.finish(failure)

    def break_off(self, failure: Failure) -> None:
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.wire.break_off(failure)
        self.end("slow")

    def resume(self) -> None:
        if self._attachment is not None:
            self._attachment.wire.resume()

    # -- the calls that carry it

    def begin(self, stream: InferStream, wire: ResumableWire) -> Attachment:
        """Its first call."""
        self.stream = stream
        wire.start([(TOKEN_KEY, self._token), (SECONDS_KEY, f"{self.seconds:g}")])
        self._attachment = attachment = Attachment(self, wire)
        return attachment

    def go_on(self, wire: ResumableWire, last_event: int, token: str) -> Attachment:
        """Another call, behind the message that the client had last. One that still carries the
        stream is told, and ended.

        Raises StreamGateError (NOT_FOUND, INVALID_ARG) for a number that can't be gone on from;
        nothing has changed then.
        """
        again = self._after(last_event)
        old, self._attachment = self._attachment, None
        if old is not None:
            old.wire.break_off(SUPERSEDED)
        self._token = token
        received = self.received
        wire.start(
            [
                (TOKEN_KEY, token),
                (SECONDS_KEY, f"{self.seconds:g}"),
                (RECEIVED_KEY, str(received)),
            ]
        )
        self._attachment = attachment = Attachment(self, wire)
        greeting = encode.stream_greeting(
            {TOKEN_PARAMETER: token, RECEIVED_PARAMETER: received, EVENT_PARAMETER: last_event}
        )
        wire.send(greeting)
        # What the client has, and what leaves for another time, is none of the stream's worry.
        self._again_bytes = len(greeting)
        for kept in again:
            wire.send(kept.data)
        left: list[_Kept] = []
        while self._unsent and self._unsent[0].event <= last_event:
            left.append(self._unsent.popleft())
        first_unsent = self._unsent[0].event if self._unsent else self._last_event + 1
        self._again_bytes += sum(len(kept.data) for kept in again if kept.event < first_unsent)
        self._note_left(left)
        if self._ending is not None:
            wire.finish(*self._ending)
        return attachment

    def on_sent(self, size_bytes: int) -> None:
        """Messages of this size have left over the call that carries it."""
        again = min(size_bytes, self._again_bytes)
        self._again_bytes -= again
        size_bytes -= again
        left: list[_Kept] = []
        while size_bytes > 0 and self._unsent:
            kept = self._unsent.popleft()
            size_bytes -= len(kept.data)
            left.append(kept)
        self._note_left(left)

    def on_call_lost(self, attachment: Attachment) -> None:
        """A call is over."""
        if attachment is not self._attachment or self._is_over:
            return
        self._attachment = None
        if not self._shelf.shelve(self):
            self.end("not kept")

    def keep(self) -> None:
        """Called now and then while it is detached: its sequences do not run out for that."""
        assert self.stream is not None
        if not self.stream.is_over:
            self.stream.keep()

    def end(self, why: str) -> None:
        """Give everything up. Idempotent."""
        if self._is_over:
            return
        self._is_over = True
        if self.stream is not None:
            self.stream.on_lost()
        self._kept.clear()
        self._unsent.clear()
        self._shelf.forget(self, why)

    def _after(self, last_event: int) -> list[_Kept]:
        if last_event > self._last_event:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"'{LAST_EVENT_KEY}' is {last_event}, but this stream has said "
                f"{self._last_event} messages",
            )
        again = [kept for kept in self._kept if kept.event > last_event]
        if len(again) != self._last_event - last_event:
            oldest = self._kept[0].event if self._kept else self._last_event + 1
            raise StreamGateError(
                Code.NOT_FOUND,
                f"the messages behind {last_event} are not kept any more, the oldest is {oldest}: "
                "begin a new stream",
            )
        return again

    def _note_left(self, left: Sequence[_Kept]) -> None:
        """These have left, or need not any more: they are kept within limits from now on."""
        limits = self._limits
        unsent = len(self._unsent)
        while len(self._kept) > unsent and (
            self.kept_bytes > limits.bytes or len(self._kept) > limits.messages
        ):
            self.kept_bytes -= len(self._kept.popleft().data)
        if left and self.stream is not None:
            self.stream.on_sent(sum(kept.size_bytes for kept in left))


@final
class Attachment:
    """A stream's side of one call: the call's `CallHandler`, for as long as it carries it."""

    def __init__(self, stream: ResumableStream, wire: ResumableWire) -> None:
        self.wire = wire
        self._stream = stream
        self._is_lost = False

    @property
    def wants_message(self) -> bool:
        return self._current is not None and self._current.wants_message

    def on_message(self, data: bytes) -> None:
        stream = self._current
        if stream is not None:
            self._stream.received += 1
            stream.on_message(data)

    def on_half_close(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(HALF_CLOSE_SECONDS, self._half_close)

    def on_lost(self) -> None:
        self._is_lost = True
        self._stream.on_call_lost(self)

    def on_sent(self, size_bytes: int) -> None:
        if self._current is not None:
            self._stream.on_sent(size_bytes)

    def drain(self) -> None:
        if self._current is not None:
            self._current.drain()

    def _half_close(self) -> None:
        if self._current is not None and not self._is_lost:
            self._current.on_half_close()

    @property
    def _current(self) -> InferStream | None:
        """The stream, while this call carries it."""
        return self._stream.stream if self._stream.is_carried_by(self) else None
