"""A file on its way through a model, and what was heard in it, or its translation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.openai.errors import OpenAiError, going_away
from streamgate.frontends.dialects.openai.passage import Passage
from streamgate.frontends.speech import (
    Declared,
    SpeechModel,
    SpeechStream,
    TextEvent,
    TranslationModel,
    TranslationStream,
    Utterance,
)
from streamgate.model.request import ParameterValue
from streamgate.session.gateway import Gateway

RESULT_SECONDS: Final = 60.0
"""How long a model may say nothing while it is waited for."""
FEED_BYTES: Final = 16 * 1024
"""A piece of a file that is given to the decoder at once."""


@final
class Gathering:
    """Collects what a stream says: the sink of a speech stream and of a translation. `news` is set
    with each word of it."""

    def __init__(self, news: asyncio.Event) -> None:
        self.utterances: list[Utterance] = []
        self.passage = Passage()
        self.fragments: list[str] = []
        self.over: EndReason | None = None
        self._failure: Failure | None = None
        self.next: TranslationStream | None = None
        self._news = news

    def on_text(self, event: TextEvent) -> None:
        if not self.utterances or self.utterances[-1].is_final:
            utterance = Utterance(len(self.utterances))
            if self.utterances:
                utterance.start_seconds = self.utterances[-1].end_seconds
            self.utterances.append(utterance)
        self.utterances[-1].take(event)
        fragment = self.passage.add(event)
        if fragment:
            self.fragments.append(fragment)
        if self.next is not None:
            self.next.take(event)
        self._news.set()

    def on_flushed(self, marker: object) -> None:
        """Nothing is flushed before the end."""

    def on_room(self) -> None:
        self._news.set()

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        self.over = reason
        self._failure = failure
        if self.next is not None:
            self.next.finish()
        self._news.set()

    def taken_fragments(self) -> str:
        """The text that has come since the last call."""
        text = "".join(self.fragments)
        self.fragments.clear()
        return text

    def check(self) -> None:
        """Raises StreamGateError when the stream has ended otherwise than wanted."""
        if self.over is None or self._failure is None:
            return
        text = self._failure.message
        if self.over is EndReason.IDLE:
            raise OpenAiError(f"The upload has paused: {text}.", "file", "upload_idle", 408)
        if self.over is EndReason.LIFETIME:
            raise OpenAiError(f"The file is too long: {text}.", "file", "audio_too_long")
        if self.over is EndReason.DRAINED:
            raise going_away()
        code = self._failure.code
        raise StreamGateError(Code.INTERNAL if code is Code.UNAVAILABLE else code, text)

    async def wait_news(self) -> None:
        """Raises StreamGateError when none come."""
        try:
            async with asyncio.timeout(RESULT_SECONDS):
                await self._news.wait()
        except TimeoutError:
            raise StreamGateError(
                Code.INTERNAL, f"the model has said nothing for {RESULT_SECONDS:g} s"
            ) from None
        self._news.clear()


@final
class Hearing:
    """One file, heard by one model and perhaps translated by another. `open` it first; `close` it
    in any case."""

    def __init__(
        self, gateway: Gateway, model: SpeechModel, parameters: Mapping[str, ParameterValue]
    ) -> None:
        self.model = model
        self._gateway = gateway
        self._news = asyncio.Event()
        self._heard = Gathering(self._news)
        self._translated: Gathering | None = None
        self._translation: TranslationStream | None = None
        self._stream = SpeechStream(gateway, model, Declared(), self._heard, parameters)

    async def open(self) -> None:
        """Take a slot. Raises StreamGateError."""
        await self._stream.open()

    async def open_translation(self, model: TranslationModel, target: str) -> None:
        """Take another one, for the translation. Raises StreamGateError."""
        self._translated = Gathering(self._news)
        self._translation = TranslationStream(self._gateway, model, target, self._translated)
        await self._translation.open()
        self._heard.next = self._translation

    @property
    def seconds(self) -> float:
        """The length of the audio so far."""
        return self._stream.heard_seconds

    @property
    def result(self) -> Gathering:
        """What the client wants: the translation, if there is to be one."""
        return self._translated or self._heard

    async def feed(self, data: bytes) -> None:
        """Hand on a piece of the file once there is room for it.

        Raises OpenAiError for what is no audio, StreamGateError for a stream that is over.
        """
        for at in range(0, len(data), FEED_BYTES):
            while not self._has_room():
                await self._heard.wait_news()
                self._heard.check()
            self._heard.check()
            with _About("file"):
                self._stream.feed(data[at : at + FEED_BYTES])

    def finish(self) -> None:
        """That was all. Raises OpenAiError for a file that is cut off, and for one of no length."""
        with _About("file"):
            self._stream.finish()
        if not self.seconds:
            raise OpenAiError("The file holds no audio.", "file", "invalid_audio")

    async def fragments(self) -> AsyncIterator[str]:
        """The text, in pieces, as it becomes stable. Raises StreamGateError."""
        result = self.result
        while True:
            fragment = result.taken_fragments()
            if fragment:
                yield fragment
            elif result.over is not None:
                break
            else:
                await result.wait_news()
                self._heard.check()
                result.check()
        self._heard.check()
        result.check()

    def close(self) -> None:
        self._stream.close()
        if self._translation is not None:
            self._translation.close()

    def _has_room(self) -> bool:
        translation = self._translation
        return self._stream.has_room and (translation is None or translation.has_room)


_UNHEARABLE: Final = (Code.INVALID_ARG, Code.UNSUPPORTED)


@final
class _About:
    """Errors within are about this field."""

    def __init__(self, param: str) -> None:
        self._param = param

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, StreamGateError) and error.code in _UNHEARABLE:
            raise OpenAiError(error.message, self._param, "invalid_audio") from None
