"""Speechmatics' real-time protocol over WebSocket: `/v2`.

The client speaks first: `StartRecognition`, then audio, each frame of which is acknowledged. Final
transcripts are appended and hold whole words; partial ones replace each other. Times are seconds.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.line import Line, json_object
from streamgate.frontends.dialects.speechmatics.wishes import (
    STAND_INS,
    Wishes,
    partials_of,
    wishes_of,
)
from streamgate.frontends.dialects.words import WordByWord, spread
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.speech import (
    SpeechContext,
    SpeechStream,
    TextEvent,
    TranslationStream,
    Utterance,
    Word,
    bearer,
)
from streamgate.frontends.world import uuid4

START_SECONDS = 30.0
"""How long a client may take to send `StartRecognition`."""
FORMAT = "2.9"

_CLOSES = {
    "protocol_error": 1003,
    "invalid_message": 1003,
    "invalid_audio_type": 1003,
    "invalid_model": 4004,
    "quota_exceeded": 4005,
    "timelimit_exceeded": 4006,
    "idle_timeout": 1008,
    "job_error": 4013,
    "unknown_error": 1011,
}
"""The close code behind each type of error."""


@final
class Speechmatics:
    """The dialect of `/v2`. A WebSocket there is asked for before KServe's `/v2`."""

    name = "speechmatics"
    path = "/v2"
    offers_resume = False

    def __init__(self, context: SpeechContext, start_seconds: float = START_SECONDS) -> None:
        self._context = context
        self._start_seconds = start_seconds

    def matches(self, handshake: Handshake) -> bool:
        return handshake.path.rstrip("/") == self.path

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        barred = self.bar(handshake)
        if barred is not None:
            return barred
        context = self._context.of(_key(handshake))
        line = Line(context.gateway, outlet)
        _Voice(context, line, self._start_seconds)
        return Accepted(line)

    def bar(self, handshake: Handshake) -> Refusal | None:
        if self._context.access.allows(_key(handshake)):
            return None
        return _refusal(401, "Permission Denied", "wrong or missing API key")

    def refuse(self, failure: Failure) -> Refusal:
        status = 404 if failure.code is Code.NOT_FOUND else 400
        return _refusal(status, "Not Resumed", failure.message)


def _key(handshake: Handshake) -> str:
    return bearer(handshake.headers.get("authorization", "")) or handshake.value("jwt")


def _refusal(code: int, error: str, reason: str) -> Refusal:
    return Refusal.of_json(code, {"code": code, "error": error, "reason": reason})


@final
class _Voice:
    """One connection. Until `StartRecognition` there is no stream."""

    def __init__(self, context: SpeechContext, line: Line, start_seconds: float) -> None:
        self._context = context
        self._line = line
        self._wishes: Wishes
        self._stream: SpeechStream | None = None
        self._words: WordByWord
        self._translations: list[_Translation] = []
        self._partials = False
        self._frames = 0
        self._forced = 0
        self._said_end = 0.0
        self._last_partial = ""
        self._start = line.watch(start_seconds, self._on_no_start)
        line.attach(self)

    def on_audio(self, data: bytes) -> Awaitable[None] | None:
        stream = self._listening()
        stream.feed(data)
        self._frames += 1
        self._say("AudioAdded", seq_no=self._frames)
        return None

    def on_message(self, text: str) -> Awaitable[None] | None:
        message = json_object(text)
        kind = message.get("message")
        if kind == "StartRecognition":
            return self._begin(message)
        stream = self._listening()
        if kind == "EndOfStream":
            self._line.finish(stream)
        elif kind == "ForceEndOfUtterance":
            self._forced += 1
            stream.flush()
        elif kind == "SetRecognitionConfig":
            config = message.get("transcription_config")
            if isinstance(config, dict):
                self._partials = partials_of(config, default=self._partials)
        else:
            expected = "EndOfStream, ForceEndOfUtterance or SetRecognitionConfig"
            raise StreamGateError(Code.INVALID_ARG, f"message {kind!r}, expected {expected}")
        return None

    def on_trouble(self, failure: Failure) -> None:
        self._fail(self._kind_of(failure.code), failure.message)

    def on_text(self, event: TextEvent) -> None:
        for translation in self._translations:
            translation.stream.take(event)
        words = self._words.take(event)
        if words:
            self._say_transcript("AddTranscript", words)
            self._said_end = max(self._said_end, words[-1].end_seconds)
        partial = "" if event.final else self._words.rest + event.tail
        if self._partials and (partial != self._last_partial or words) and partial.strip():
            guesses = spread(partial, self._said_end, event.audio_seconds, 0.0)
            self._say_transcript("AddPartialTranscript", guesses)
        self._last_partial = partial
        if event.final and (self._wishes.tells_utterance_ends or self._forced):
            now = round(event.audio_seconds, 3)
            self._say("EndOfUtterance", metadata={"start_time": now, "end_time": now})

    def on_flushed(self, marker: object) -> None:
        self._forced -= 1

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        if failure is not None:
            self._end_badly(reason, failure)
        elif self._translations:
            for translation in self._translations:
                translation.stream.finish()
        else:
            self._end()

    def on_translation(self, kind: str, language: str, results: Sequence[Any]) -> None:
        self._say(kind, format=FORMAT, language=language, results=results)

    def on_translation_end(self, reason: EndReason, failure: Failure | None) -> None:
        if failure is not None:
            self._end_badly(reason, failure)
        elif all(each.stream.is_over for each in self._translations):
            self._end()

    async def _begin(self, message: Mapping[str, Any]) -> None:
        """Raises StreamGateError."""
        if self._stream is not None:
            raise StreamGateError(Code.INVALID_ARG, "a second StartRecognition, expected audio")
        self._start.stop()
        wishes = self._wishes = wishes_of(message)
        self._partials = wishes.partials
        language = wishes.language
        model = await self._context.models.choose(wishes.model, language, stand_ins=STAND_INS)
        parameters = {"language": language} if language else {}
        stream = await self._line.open(model, wishes.declared, self, parameters)
        warnings = await self._open_translations(wishes)
        self._words = WordByWord(model)
        self._stream = stream
        info = {"language_description": language, "word_delimiter": " ", "writing_direction": "ltr"}
        self._say("RecognitionStarted", id=uuid4(), language_pack_info=info)
        for warning in warnings:
            self._say("Warning", type="unsupported_translation_pair", reason=warning)

    async def _open_translations(self, wishes: Wishes) -> list[str]:
        """Each in a slot of its own; why there is none for some languages. Raises StreamGateError
        when a slot is missing."""
        warnings = []
        for target in wishes.targets:
            try:
                translator = await self._context.models.choose_translation(
                    "", wishes.language, target
                )
            except StreamGateError as error:
                warnings.append(error.message)
                continue
            reader = _Translation(self, target, partials=wishes.translation_partials)
            reader.stream = await self._line.open_translation(translator, target, reader)
            self._translations.append(reader)
        return warnings

    def _listening(self) -> SpeechStream:
        if self._stream is None:
            raise StreamGateError(
                Code.INVALID_ARG, "expected StartRecognition before audio and other messages"
            )
        return self._stream

    def _kind_of(self, code: Code) -> str:
        """What Speechmatics calls such trouble."""
        if code is Code.UNAVAILABLE:
            return "quota_exceeded"
        if code is Code.NOT_FOUND:
            return "invalid_model"
        if code is Code.UNSUPPORTED:
            return "invalid_audio_type"
        return "invalid_message" if code is Code.INVALID_ARG else "unknown_error"

    def _say_transcript(self, kind: str, words: Sequence[Word]) -> None:
        """The transcript brings the space behind it: clients put them together as they are."""
        start, end = round(words[0].start_seconds, 3), round(words[-1].end_seconds, 3)
        transcript = " ".join(word.text for word in words) + " "
        self._say(
            kind,
            format=FORMAT,
            metadata={"start_time": start, "end_time": end, "transcript": transcript},
            results=[self._result(word) for word in words],
        )

    def _result(self, word: Word) -> Mapping[str, Any]:
        alternative = {"content": word.text, "confidence": round(word.confidence, 4)}
        return {
            "type": "word",
            "start_time": round(word.start_seconds, 3),
            "end_time": round(word.end_seconds, 3),
            "alternatives": [{**alternative, "language": self._wishes.language}],
        }

    def _end(self) -> None:
        if self._line.cut_off is not None:
            self._say("Warning", type="data_error", reason=self._line.cut_off.message)
        self._say("EndOfTranscript")
        self._line.hang_up()

    def _end_badly(self, reason: EndReason, failure: Failure) -> None:
        if reason is EndReason.IDLE:
            self._fail("idle_timeout", failure.message)
        elif reason is EndReason.LIFETIME:
            self._fail("timelimit_exceeded", failure.message)
        elif reason is EndReason.DRAINED:
            self._fail("unknown_error", failure.message, 1001)
        else:
            self._fail("job_error", failure.message)

    def _on_no_start(self) -> None:
        self._fail("protocol_error", "no StartRecognition came, expected one first")

    def _fail(self, kind: str, reason: str, close: int | None = None) -> None:
        self._say("Error", type=kind, reason=reason)
        self._line.hang_up(close or _CLOSES[kind], f"{kind}: {reason}")

    def _say(self, kind: str, **message: Any) -> None:
        self._line.say({"message": kind, **message})


@final
class _Translation:
    """What one translation of a connection's text says: an utterance at a time."""

    def __init__(self, voice: _Voice, language: str, *, partials: bool) -> None:
        self.stream: TranslationStream
        self._voice = voice
        self._language = language
        self._partials = partials
        self._utterance = Utterance()

    def on_text(self, event: TextEvent) -> None:
        before = self._utterance.text
        self._utterance.take(event)
        text = self._utterance.text
        if event.final:
            if text:
                self._say("AddTranslation", text)
            self._utterance = Utterance(start_seconds=event.audio_seconds)
        elif self._partials and text and text != before:
            self._say("AddPartialTranslation", text)

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        self._voice.on_translation_end(reason, failure)

    def _say(self, kind: str, text: str) -> None:
        start = round(self._utterance.start_seconds, 3)
        end = round(max(self._utterance.end_seconds, self._utterance.start_seconds), 3)
        result = {"start_time": start, "end_time": end, "content": text}
        self._voice.on_translation(kind, self._language, [result])
