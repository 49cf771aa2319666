"""A conversation that outlives the calls that carry it.

    Carried --messages--> ResumableStream (keeps, numbers) --> the call that it is attached to
    Carried <--requests-- ResumableStream <-- Attachment <-- the same

When its call is lost the stream is detached: what it has under way goes on, what it says is kept,
and its client comes back with a token and the number of the message that it had last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol, final

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.frontends.grpc_resumption.metadata import LAST_EVENT, RECEIVED, SECONDS, TOKEN
from streamgate.frontends.grpc_service import CallHandler, CallWire, FreshWire, GrpcStatus

SUPERSEDED: Final = GrpcStatus(10, "superseded: the stream was resumed over another call")
"""ABORTED: how a call ends whose stream another one has taken over."""

HALF_CLOSE_SECONDS: Final = 0.25
"""How long the end of a client's messages is doubted: a connection that breaks may look like it,
and a stream whose client has said its last takes no more."""


class Carried(CallHandler, Protocol):
    """A conversation. What it says goes to a `ResumableStream`."""

    @property
    def is_over(self) -> bool: ...

    def keep(self) -> None:
        """Called now and then while its client is away: nothing of it runs out for that."""


class Words(Protocol):
    """What a conversation's service has to say of its being resumed, beside metadata."""

    def numbered(self, message: bytes, event: int, token: str) -> bytes:
        """The message with its number, where messages can say it. `token` is for the first."""

    def greeting(self, token: str, received: int, last_event: int) -> bytes | None:
        """The message, if any, that a call begins with that resumes; it has no number."""

    def repeats(self, data: bytes) -> bool:
        """Whether the first message of a call that resumes only says again how the conversation
        began: it is not counted then, and dropped."""

    def received(self) -> Sequence[tuple[str, str]]:
        """What the metadata of a call that resumes says of what has come, beside the number of
        messages."""


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
    """A wire for what it carries. Messages are numbered from 1, in the order that they were said
    in; so are, for the client's sake, the requests that have come."""

    def __init__(
        self,
        number: bytes,
        kind: str,
        token: str,
        seconds: float,
        limits: KeepLimits,
        shelf: Shelf,
    ) -> None:
        self.number = number
        self.kind = kind
        self.seconds = seconds
        self.received = 0
        self.kept_bytes = 0
        self.carried: Carried | None = None
        self._words: Words | None = None
        self._token = token
        self._limits = limits
        self._shelf = shelf
        self._kept: deque[_Kept] = deque()
        self._last_event = 0
        self._unsent: deque[_Kept] = deque()
        self._again_bytes = 0
        self._attachment: Attachment | None = None
        self._ending: tuple[GrpcStatus | None] | None = None
        self._is_over = False

    @property
    def has_ended(self) -> bool:
        return self._ending is not None

    @property
    def words(self) -> Words:
        assert self._words is not None
        return self._words

    def is_carried_by(self, attachment: Attachment) -> bool:
        return attachment is self._attachment

    # -- what the stream says

    def send(self, message: bytes) -> None:
        self._last_event += 1
        data = self.words.numbered(message, self._last_event, self._token)
        kept = _Kept(self._last_event, data, len(message))
        self._kept.append(kept)
        self._unsent.append(kept)
        self.kept_bytes += len(kept.data)
        if self._attachment is not None:
            self._attachment.wire.send(kept.data)

    def finish(self, failure: Failure | GrpcStatus | None, /) -> None:
        self._ending = (None if failure is None else self._meant(failure),)
        if self._attachment is not None:
            self._attachment.wire.finish(*self._ending)

    def break_off(self, failure: Failure | GrpcStatus, /) -> None:
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.wire.break_off(self._meant(failure))
        self.end("slow")

    def resume(self) -> None:
        if self._attachment is not None:
            self._attachment.wire.resume()

    # -- the calls that carry it

    def begin(self, carried: Carried, words: Words, wire: FreshWire) -> Attachment:
        """Its first call."""
        self.carried, self._words = carried, words
        wire.start(self._metadata())
        self._attachment = attachment = Attachment(self, wire)
        return attachment

    def go_on(self, wire: FreshWire, last_event: int, token: str) -> Attachment:
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
        wire.start([(RECEIVED, str(received)), *self.words.received(), *self._metadata()])
        self._attachment = attachment = Attachment(self, wire, may_repeat=True)
        # What the client has, and what leaves for another time, is none of the stream's worry.
        self._again_bytes = 0
        greeting = self.words.greeting(token, received, last_event)
        if greeting is not None:
            wire.send(greeting)
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
        """Called now and then while it is detached: nothing of it runs out for that."""
        assert self.carried is not None
        if not self.carried.is_over:
            self.carried.keep()

    def end(self, why: str) -> None:
        """Give everything up. Idempotent."""
        if self._is_over:
            return
        self._is_over = True
        if self.carried is not None:
            self.carried.on_lost()
        self._kept.clear()
        self._unsent.clear()
        # Whose end was said was waited for only in case that it had not been heard.
        self._shelf.forget(self, "ended" if why == "expired" and self.has_ended else why)

    def _metadata(self) -> Sequence[tuple[str, str]]:
        """The end of a call's initial metadata. The token is last: a connection that breaks may
        leave the client with the beginning."""
        return [(SECONDS, f"{self.seconds:g}"), (TOKEN, self._token)]

    def _meant(self, failure: Failure | GrpcStatus) -> GrpcStatus:
        """How the conversation ends: its trailing metadata say that it does, and not only the
        call."""
        status = GrpcStatus.of(failure) if isinstance(failure, Failure) else failure
        return replace(status, trailers=[*status.trailers, (LAST_EVENT, str(self._last_event))])

    def _after(self, last_event: int) -> list[_Kept]:
        if last_event > self._last_event:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"'{LAST_EVENT}' is {last_event}, but this stream has said "
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
        if left and self.carried is not None:
            self.carried.on_sent(sum(kept.size_bytes for kept in left))


@final
class Attachment:
    """A stream's side of one call: the call's `CallHandler`, for as long as it carries it."""

    def __init__(
        self, stream: ResumableStream, wire: CallWire, *, may_repeat: bool = False
    ) -> None:
        self.wire = wire
        self._stream = stream
        self._may_repeat = may_repeat
        self._is_lost = False

    @property
    def wants_message(self) -> bool:
        return self._current is not None and self._current.wants_message

    def on_message(self, data: bytes, /) -> None:
        carried = self._current
        if carried is None:
            return
        may_repeat, self._may_repeat = self._may_repeat, False
        if may_repeat and self._stream.words.repeats(data):
            return
        self._stream.received += 1
        carried.on_message(data)

    def on_half_close(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(HALF_CLOSE_SECONDS, self._half_close)

    def on_lost(self) -> None:
        self._is_lost = True
        self._stream.on_call_lost(self)

    def on_sent(self, size_bytes: int, /) -> None:
        if self._current is not None:
            self._stream.on_sent(size_bytes)

    def drain(self) -> None:
        if self._current is not None:
            self._current.drain()

    def _half_close(self) -> None:
        if self._current is not None and not self._is_lost:
            self._current.on_half_close()

    @property
    def _current(self) -> Carried | None:
        """What is carried, while this call carries it."""
        return self._stream.carried if self._stream.is_carried_by(self) else None
