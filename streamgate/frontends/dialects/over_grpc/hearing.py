"""The audio of one call: heard by one model, or channel by channel; translated, if that is asked.

Whatever the number of channels, the call sees one thing that takes audio and says texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.over_grpc.statuses import NoSlotError
from streamgate.frontends.speech import (
    Declared,
    SpeechContext,
    SpeechModel,
    SpeechStream,
    TextEvent,
    TranslationModel,
    TranslationStream,
    Utterance,
)
from streamgate.model.request import ParameterValue

CHANNELS_MAX = 8
"""Channels that one call may have heard apart: each takes a slot."""


@dataclass(frozen=True, slots=True)
class Translating:
    """The translation that a client wants of what is said."""

    target: str
    source: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for before its first audio.

    `languages` are those that it would take, the likeliest first. `channels`, if not 0, are heard
    apart; else `declared` says what becomes of them. `parameters` go to the model.
    """

    declared: Declared
    model: str = ""
    languages: Sequence[str] = ()
    stand_ins: Sequence[str] = ()
    channels: int = 0
    translating: Translating | None = None
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heard:
    """An event, and the utterance that it belongs to. `channel` counts from 0; `language` is what
    the text is in, as far as that is known."""

    channel: int
    utterance: Utterance
    event: TextEvent
    language: str


class HearingSink(Protocol):
    """Who hears what was heard. Called on the event loop's thread, never from within a call of the
    hearing's methods, but for `open`."""

    def on_heard(self, heard: Heard) -> None: ...

    def on_room(self) -> None:
        """There is room again, after `has_room` was false."""

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        """All is said, or one channel failed and all are given up. The last call."""


@final
class Hearing:
    """`open` it first, then `feed`; `finish` behind the last audio. `close` whenever the client is
    gone."""

    def __init__(self, context: SpeechContext, sink: HearingSink) -> None:
        self._context = context
        self._sink = sink
        self._channels: list[_Channel] = []
        self._left = 0
        self._is_over = False

    @property
    def has_room(self) -> bool:
        """Whether more audio should be read now; if not, `on_room` follows."""
        # All are asked: each that has no room says when it has.
        return all([channel.has_room for channel in self._channels])  # noqa: C419

    @property
    def heard_seconds(self) -> float:
        """The audio that was decoded so far."""
        return max((channel.speech.heard_seconds for channel in self._channels), default=0.0)

    async def open(self, wanted: Wanted) -> None:
        """Take the slots. Raises StreamGateError: NOT_FOUND for a model or language that there
        isn't, INVALID_ARG for audio that can't be read, NoSlotError when no slot is free."""
        if wanted.channels > CHANNELS_MAX:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"{wanted.channels} channels to be recognized separately, expected 1 to "
                f"{CHANNELS_MAX}",
            )
        model, language = await self._choose(wanted)
        translator = await self._choose_translator(wanted, language)
        declared = [
            replace(wanted.declared, channel=channel, channels=wanted.channels)
            for channel in range(wanted.channels)
        ] or [wanted.declared]
        parameters = dict(wanted.parameters)
        if language:
            parameters["language"] = language
        if not language and model.languages:
            language = model.languages[0]
        for number, each in enumerate(declared):
            channel = _Channel(self, number, language)
            channel.begin(self._context, model, each, parameters)
            if translator is not None and wanted.translating is not None:
                channel.translate(self._context, translator, wanted.translating)
            self._channels.append(channel)
        self._left = len(self._channels)
        for channel in self._channels:
            await channel.open()

    def feed(self, data: bytes) -> None:
        """Audio, all channels together. Raises StreamGateError (INVALID_ARG) for what can't be
        decoded; what came before it is answered all the same."""
        self._for_each(lambda speech: speech.feed(data))

    def flush(self) -> None:
        """End the utterance behind the audio so far."""
        self._for_each(lambda speech: speech.flush())

    def finish(self) -> None:
        """No more audio comes. Raises StreamGateError (INVALID_ARG) for audio that is cut off;
        `on_end` follows all the same."""
        self._for_each(lambda speech: speech.finish())

    def close(self) -> None:
        """Give everything up. Nothing is called after this. Idempotent."""
        self._is_over = True
        for channel in self._channels:
            channel.close()

    def keep(self) -> None:
        """The client is away, and may come back."""
        for channel in self._channels:
            for stream in channel.streams:
                stream.keep()

    def pause(self) -> None:
        """The client reads more slowly than results come."""
        for channel in self._channels:
            for stream in channel.streams:
                stream.pause()

    def resume(self) -> None:
        """It has caught up."""
        for channel in self._channels:
            for stream in channel.streams:
                stream.resume()

    def tell(self, heard: Heard) -> None:
        """A channel has something to say."""
        if not self._is_over:
            self._sink.on_heard(heard)

    def make_room(self) -> None:
        """A channel has room again."""
        if not self._is_over and self.has_room:
            self._sink.on_room()

    def end(self, reason: EndReason, failure: Failure | None) -> None:
        """A channel is done, or has failed."""
        self._left -= 1
        if self._is_over or (self._left and failure is None):
            return
        self.close()
        self._sink.on_end(reason, failure)

    def _for_each(self, act: "_Act") -> None:
        error = None
        for channel in self._channels:
            try:
                act(channel.speech)
            except StreamGateError as each:
                error = error or each
        if error is not None:
            raise error

    async def _choose(self, wanted: Wanted) -> tuple[SpeechModel, str]:
        """The model for the first language that one can be had for."""
        first = None
        for language in wanted.languages or [""]:
            try:
                return await self._context.models.choose(
                    wanted.model, language, stand_ins=wanted.stand_ins
                ), language
            except StreamGateError as error:
                first = first or error
        assert first is not None
        raise first

    async def _choose_translator(self, wanted: Wanted, heard: str) -> TranslationModel | None:
        translating = wanted.translating
        if translating is None:
            return None
        return await self._context.models.choose_translation(
            translating.model, translating.source or heard, translating.target
        )


class _Act(Protocol):
    def __call__(self, speech: SpeechStream, /) -> None: ...


@final
class _Channel:
    """One channel's stream of speech, and the stream of its translation if there is one."""

    def __init__(self, hearing: Hearing, number: int, language: str) -> None:
        self._hearing = hearing
        self._number = number
        self._language = language
        self._utterance = Utterance()
        self._speech: SpeechStream | None = None
        self._translation: TranslationStream | None = None

    @property
    def speech(self) -> SpeechStream:
        assert self._speech is not None
        return self._speech

    @property
    def streams(self) -> Sequence[SpeechStream | TranslationStream]:
        return [each for each in (self._speech, self._translation) if each is not None]

    @property
    def has_room(self) -> bool:
        return all([stream.has_room for stream in self.streams])  # noqa: C419 - each is asked

    def begin(
        self,
        context: SpeechContext,
        model: SpeechModel,
        declared: Declared,
        parameters: Mapping[str, ParameterValue],
    ) -> None:
        """Raises StreamGateError (INVALID_ARG) for audio that can't be read."""
        self._speech = SpeechStream(context.gateway, model, declared, self, parameters)

    def translate(
        self, context: SpeechContext, model: TranslationModel, translating: Translating
    ) -> None:
        """Say what is heard in another language, and only so."""
        sink = _Translated(self)
        self._translation = TranslationStream(context.gateway, model, translating.target, sink)
        self._language = translating.target

    async def open(self) -> None:
        for stream in self.streams:
            try:
                await stream.open()
            except StreamGateError as error:
                if error.code is Code.UNAVAILABLE:
                    raise NoSlotError(error) from None
                raise

    def close(self) -> None:
        for stream in self.streams:
            stream.close()

    def on_text(self, event: TextEvent) -> None:
        if self._translation is None:
            self.say(event)
        else:
            self._translation.take(event)

    def on_flushed(self, marker: object) -> None:
        """The final event that a flush leads to says it all."""

    def on_room(self) -> None:
        self._hearing.make_room()

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        if self._translation is None or failure is not None:
            self.end(reason, failure)
        else:
            self._translation.finish()

    def say(self, event: TextEvent) -> None:
        self._utterance.take(event)
        self._hearing.tell(Heard(self._number, self._utterance, event, self._language))

    def end(self, reason: EndReason, failure: Failure | None) -> None:
        self._hearing.end(reason, failure)


@final
class _Translated:
    """The sink of a channel's translation."""

    def __init__(self, channel: _Channel) -> None:
        self.on_text = channel.say
        self.on_room = channel.on_room
        self.on_end = channel.end
