"""One client's line: its connection, the streams that hear it, and what must be tidied up.

    socket -> Line -> Voice (a dialect's words) -> Line.open/say/hang_up -> streams, socket
                      ^ Hearer: what the streams say

A dialect's state machine is its `Voice`; the line knows no dialect.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.json_text import parsed
from streamgate.frontends.sockets.contract import Message, Outlet, Patience
from streamgate.frontends.speech import (
    Declared,
    SpeechModel,
    SpeechStream,
    TextEvent,
    TranslationModel,
    TranslationStream,
)
from streamgate.model.request import ParameterValue
from streamgate.session.gateway import Gateway

CLOSE_REASON_BYTES_MAX = 123
"""RFC 6455, 5.5: a control frame holds 125 bytes, two of them the code."""

_M = TypeVar("_M", str, bytes)


class Hearer(Protocol):
    """Who is told what a stream heard: `SpeechSink` without the pressure."""

    def on_text(self, event: TextEvent) -> None: ...

    def on_flushed(self, marker: object) -> None: ...

    def on_end(self, reason: EndReason, failure: Failure | None) -> None: ...


class Reader(Protocol):
    """Who is told what a stream translated: `TranslationSink` without the pressure."""

    def on_text(self, event: TextEvent) -> None: ...

    def on_end(self, reason: EndReason, failure: Failure | None) -> None: ...


class Voice(Protocol):
    """A dialect's side of one connection.

    `on_message` and `on_audio` may return something to wait for, and may raise StreamGateError,
    before or while they are waited for.
    """

    def on_message(self, text: str) -> Awaitable[None] | None: ...

    def on_audio(self, data: bytes) -> Awaitable[None] | None: ...

    def on_trouble(self, failure: Failure) -> None:
        """What the client sent can't be served: one of the above has raised this. What came before
        it is answered; nothing is heard any more."""


@final
class Line:
    """A `Conversation` whose words are a `Voice`'s. Runs on the event loop's thread."""

    def __init__(self, gateway: Gateway, outlet: Outlet) -> None:
        self._gateway = gateway
        self._outlet = outlet
        self._voice: Voice | None = None
        self._streams: list[SpeechStream | TranslationStream] = []
        self._timers: list[Patience] = []
        self._is_over = False
        self._cut_off: Failure | None = None
        self._trouble: Failure | None = None

    def attach(self, voice: Voice) -> None:
        """Who talks to the client. Once, before anything is read."""
        self._voice = voice

    @property
    def is_over(self) -> bool:
        """Whether the client is gone or was told goodbye."""
        return self._is_over

    async def open(
        self,
        model: SpeechModel,
        declared: Declared,
        hearer: Hearer,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> SpeechStream:
        """Take a slot. The stream ends with the line.

        Raises StreamGateError: UNAVAILABLE without a free slot, INVALID_ARG for audio that can't be
        served.
        """
        sink = _Sink(self, hearer, self._outlet)
        stream = SpeechStream(self._gateway, model, declared, sink, parameters)
        await self._open(stream)
        return stream

    async def open_translation(
        self, model: TranslationModel, target: str, reader: Reader
    ) -> TranslationStream:
        """Take a slot of a translator's. The stream ends with the line.

        Raises StreamGateError: UNAVAILABLE without a free slot.
        """
        sink = _TranslationSink(reader, self._outlet)
        stream = TranslationStream(self._gateway, model, target, sink)
        await self._open(stream)
        return stream

    async def _open(self, stream: SpeechStream | TranslationStream) -> None:
        try:
            await stream.open()
        except BaseException:
            stream.close()
            raise
        if self._is_over:
            stream.close()
        self._streams = [*(each for each in self._streams if not each.is_over), stream]

    def finish(self, stream: SpeechStream) -> None:
        """No more audio comes to a stream. Audio that is cut off is `cut_off`, and costs nothing of
        what came before."""
        try:
            stream.finish()
        except StreamGateError as error:
            self._cut_off = error.failure

    @property
    def cut_off(self) -> Failure | None:
        """What was wrong with the end of the audio: to be told with the last results."""
        return self._cut_off

    def watch(self, seconds: float, on_due: Callable[[], None]) -> Patience:
        """A countdown that ends with the line."""
        timer = Patience(seconds, on_due)
        self._timers.append(timer)
        return timer

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a JSON object in a text frame."""
        self.send(json.dumps(message, ensure_ascii=False, separators=(",", ":")))

    def send(self, message: Message) -> None:
        """Send a frame, text or binary."""
        self._outlet.emit(message)

    def room(self) -> None:
        """More may be read from the client, for reasons of the dialect's."""
        self._outlet.room()

    def hang_up(self, code: int = 1000, reason: str = "") -> None:
        """Hear nothing more, and end the connection behind what was said. The first call counts."""
        self.on_gone()
        self._outlet.close(code, _shortened(reason))

    @property
    def has_room(self) -> bool:
        return self._trouble is not None or all([stream.has_room for stream in self._streams])  # noqa: C419 - ask each

    def on_text(self, text: str) -> Awaitable[None] | None:
        assert self._voice is not None
        return self._listen(self._voice.on_message, text)

    def on_binary(self, data: bytes) -> Awaitable[None] | None:
        assert self._voice is not None
        return self._listen(self._voice.on_audio, data)

    def pause(self) -> None:
        for stream in self._streams:
            stream.pause()

    def resume(self) -> None:
        for stream in self._streams:
            stream.resume()

    def keep(self) -> None:
        for stream in self._streams:
            stream.keep()
        for timer in self._timers:
            timer.renew()

    def on_gone(self) -> None:
        self._is_over = True
        for stream in self._streams:
            stream.close()
        for timer in self._timers:
            timer.stop()

    def _listen(
        self, take: Callable[[_M], Awaitable[None] | None], message: _M
    ) -> Awaitable[None] | None:
        if self._is_over or self._trouble is not None:
            return None
        try:
            wait = take(message)
        except StreamGateError as error:
            self._tell(error.failure)
            return None
        return self._wait(wait) if wait is not None else None

    async def _wait(self, wait: Awaitable[None]) -> None:
        try:
            await wait
        except StreamGateError as error:
            self._tell(error.failure)

    def _tell(self, failure: Failure) -> None:
        """What the client sent can't be served, and nothing that follows it is heard: tell it,
        behind the results of what came before."""
        self._trouble = failure
        for stream in self._streams:
            if isinstance(stream, SpeechStream):
                with suppress(StreamGateError):
                    stream.finish()
        self._tell_if_done(failure)

    def on_stream_end(self, hearer: Hearer, reason: EndReason, failure: Failure | None) -> None:
        """One of the streams is over."""
        if self._trouble is None or failure is not None:
            hearer.on_end(reason, failure)
        else:
            self._tell_if_done(self._trouble)

    def _tell_if_done(self, trouble: Failure) -> None:
        assert self._voice is not None
        heard = (each for each in self._streams if isinstance(each, SpeechStream))
        if not self._is_over and all(stream.is_over for stream in heard):
            self._voice.on_trouble(trouble)


@final
class _Sink:
    """A stream's `SpeechSink`: pressure goes to the socket, the rest to the hearer, the end by way
    of the line."""

    def __init__(self, line: Line, hearer: Hearer, outlet: Outlet) -> None:
        self.on_text = hearer.on_text
        self.on_flushed = hearer.on_flushed
        self.on_end = partial(line.on_stream_end, hearer)
        self.on_room = outlet.room


@final
class _TranslationSink:
    """A translation's `TranslationSink`, as above."""

    def __init__(self, reader: Reader, outlet: Outlet) -> None:
        self.on_text = reader.on_text
        self.on_end = reader.on_end
        self.on_room = outlet.room


def json_object(text: str) -> dict[str, Any]:
    """A message as a JSON object. Raises StreamGateError (INVALID_ARG)."""
    try:
        message = parsed(text)
    except ValueError as error:
        raise StreamGateError(
            Code.INVALID_ARG, f"the message is no JSON ({error}), expected an object"
        ) from None
    if not isinstance(message, dict):
        raise StreamGateError(
            Code.INVALID_ARG, f"the message is a JSON {type(message).__name__}, expected an object"
        )
    return message


def _shortened(reason: str) -> str:
    return reason.encode()[:CLOSE_REASON_BYTES_MAX].decode(errors="ignore")
