"""Two streams of one session: one hears, the other translates what was heard.

audio --> SpeechStream --> source's events --> TranslationStream --> target's events
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.openai.errors import END_CODES, SERVER
from streamgate.frontends.dialects.openai.messages import server_event
from streamgate.frontends.dialects.openai.passage import Passage
from streamgate.frontends.dialects.openai_translations.session import PCM, Session
from streamgate.frontends.sockets.contract import Outlet
from streamgate.frontends.speech import (
    SpeechContext,
    SpeechModel,
    SpeechStream,
    TextEvent,
    TranslationModel,
    TranslationStream,
)


@final
class Duet:
    """The sink of the speech; `_Target` is that of its translation. Both texts only grow."""

    def __init__(
        self, context: SpeechContext, outlet: Outlet, session: Callable[[], Session]
    ) -> None:
        self._context = context
        self._outlet = outlet
        self._session = session
        self._source = Passage()
        self._speech: SpeechStream | None = None
        self._translation: TranslationStream | None = None
        self._is_left = False

    @property
    def speech(self) -> SpeechStream:
        assert self._speech is not None
        return self._speech

    @property
    def translation(self) -> TranslationStream:
        assert self._translation is not None
        return self._translation

    @property
    def has_room(self) -> bool:
        # Each is asked: the one that has none says so when it has again.
        return all([self.speech.has_room, self.translation.has_room])

    async def open(self, hearer: SpeechModel, translator: TranslationModel, target: str) -> None:
        """Take both slots, or none. Raises StreamGateError."""
        self._speech = SpeechStream(self._context.gateway, hearer, PCM, self)
        try:
            await self._speech.open()
            await self.translate(translator, target)
            if self._is_left:
                raise StreamGateError(Code.UNAVAILABLE, "the slot was lost before it was used")
        except BaseException:
            self.leave()
            raise

    async def translate(self, translator: TranslationModel, target: str) -> None:
        """Take the slot of another translator, and give the old one back. Raises
        StreamGateError; the old one stays then."""
        stream = TranslationStream(
            self._context.gateway, translator, target, _Target(self, self._outlet)
        )
        try:
            await stream.open()
        except BaseException:
            stream.close()
            raise
        if self._is_left:
            stream.close()
        if self._translation is not None:
            self._translation.close()
        self._translation = stream

    def keep(self) -> None:
        """The client is away, and may come back."""
        self.speech.keep()
        self.translation.keep()

    def leave(self) -> None:
        """Give everything up."""
        self._is_left = True
        for stream in (self._speech, self._translation):
            if stream is not None:
                stream.close()

    def pause(self) -> None:
        self.speech.pause()
        self.translation.pause()

    def resume(self) -> None:
        self.speech.resume()
        self.translation.resume()

    def on_text(self, event: TextEvent) -> None:
        fragment = self._source.add(event)
        if fragment and self._session().transcribes:
            self._outlet.emit(_delta("input", fragment, event.audio_seconds))
        self.translation.take(event)

    def on_flushed(self, marker: object) -> None:
        """Nothing is flushed before the end."""

    def on_room(self) -> None:
        self._outlet.room()

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        """The translation ends with what it translates, unless that was cut off."""
        if reason is EndReason.CLIENT_END and failure is None:
            self.translation.finish()
        else:
            self.end(reason, failure)

    def end(self, reason: EndReason, failure: Failure | None) -> None:
        """Say goodbye, and why."""
        self.leave()
        if reason is EndReason.CLIENT_END and failure is None:
            self._outlet.emit(server_event("session.closed"))
            self._outlet.close(1000, "the session is closed")
            return
        text = failure.message if failure is not None else f"the session is over: {reason.value}"
        kind, word, close_code = END_CODES.get(reason, (SERVER, reason.value, 1011))
        error = {"message": text, "type": kind, "param": None, "code": word, "event_id": None}
        self._outlet.emit(server_event("error", error=error))
        self._outlet.close(close_code, word)


@final
class _Target:
    """The sink of a translation."""

    def __init__(self, duet: Duet, outlet: Outlet) -> None:
        self._outlet = outlet
        self._passage = Passage()
        self.on_end = duet.end
        self.on_room = duet.on_room

    def on_text(self, event: TextEvent) -> None:
        fragment = self._passage.add(event)
        if fragment:
            self._outlet.emit(_delta("output", fragment, event.audio_seconds))


def _delta(side: str, fragment: str, audio_seconds: float) -> str:
    """`elapsed_ms` is how much of the source's audio was heard for it."""
    return server_event(
        f"session.{side}_transcript.delta",
        delta=fragment,
        elapsed_ms=round(audio_seconds * 1000),
    )
