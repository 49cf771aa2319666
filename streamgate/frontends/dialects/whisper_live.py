"""WhisperLive's server: a port of its own, segments that are sent again until completed.

The client speaks first and says what it wants; then `SERVER_READY`, or `WAIT` without a free slot.
`docs/dialects/whisper-live.md` says what is served.
"""

from collections import deque
from collections.abc import Awaitable, Mapping
from typing import Any, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.line import Line, json_object
from streamgate.frontends.dialects.plain import brought_key, refusal_of, unauthorized
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.speech import (
    Declared,
    SpeechContext,
    SpeechModel,
    SpeechStream,
    TextEvent,
    TranslationStream,
    Utterance,
)

STAND_INS = ("tiny", "base", "small", "medium", "large", "distil", "turbo")
"""Whisper's own sizes, one of which its client always names."""
SAMPLE_RATE_HZ = 16_000
ENCODINGS = {"float32": "f32le", "int16": "s16le"}
WAIT_MINUTES = 1.0
"""What a client is told that finds no slot. Nobody knows when one will be free."""
GREETING_SECONDS = 30.0
"""How long a client may take to say what it wants."""
SEGMENTS = 10
SEGMENTS_MAX = 100
OVERTIME = {EndReason.LIFETIME, EndReason.IDLE, EndReason.DRAINED}
"""Ends that are nobody's fault: the client takes a DISCONNECT for its time being up."""


@final
class WhisperLive:
    """The dialect, on any path of its port."""

    name = "whisper-live"
    path = "/"
    offers_resume = False

    def __init__(self, context: SpeechContext, greeting_seconds: float = GREETING_SECONDS) -> None:
        self._context = context
        self._greeting_seconds = greeting_seconds

    def matches(self, handshake: Handshake) -> bool:
        return True

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        barred = self.bar(handshake)
        if barred is not None:
            return barred
        context = self._context.of(brought_key(handshake))
        line = Line(context.gateway, outlet)
        _Voice(context, line, self._greeting_seconds)
        return Accepted(line)

    def bar(self, handshake: Handshake) -> Refusal | None:
        return unauthorized(self._context.access, handshake)

    def refuse(self, failure: Failure) -> Refusal:
        return refusal_of(failure)


@final
class _Voice:
    """One connection. Until the client's first message there is no stream."""

    def __init__(self, context: SpeechContext, line: Line, greeting_seconds: float) -> None:
        self._context = context
        self._line = line
        self._uid: object = None
        self._stream: SpeechStream | None = None
        self._segments = _Segments()
        self._translation: _Translation | None = None
        self._greeting = line.watch(greeting_seconds, self._on_no_greeting)
        line.attach(self)

    def on_message(self, text: str) -> Awaitable[None] | None:
        if self._stream is not None:
            raise StreamGateError(
                Code.INVALID_ARG, "a second text message, expected audio in binary frames"
            )
        return self._begin(json_object(text))

    def on_audio(self, data: bytes) -> Awaitable[None] | None:
        if self._stream is None:
            raise StreamGateError(
                Code.INVALID_ARG, "audio came first, expected a JSON object with uid and model"
            )
        if data == b"END_OF_AUDIO":
            self._line.finish(self._stream)
        else:
            self._stream.feed(data)
        return None

    def on_trouble(self, failure: Failure) -> None:
        if failure.code is Code.UNAVAILABLE and self._stream is None:
            self._say(status="WAIT", message=WAIT_MINUTES)
            self._line.hang_up()
        else:
            self._say(status="ERROR", message=failure.message)
            self._line.hang_up(1000 if self._stream is None else 1008, failure.message)

    def on_text(self, event: TextEvent) -> None:
        if self._translation is not None:
            self._translation.stream.take(event)
        if self._segments.take(event):
            self._say(segments=self._segments.shown)

    def on_flushed(self, marker: object) -> None:
        """Nothing in this protocol ends a segment but the end of the audio."""

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        if failure is None and self._translation is not None:
            self._translation.stream.finish()
        else:
            self._end(reason, failure)

    def on_translation(self, segments: list[Mapping[str, Any]]) -> None:
        self._say(translated_segments=segments)

    def on_translation_end(self, reason: EndReason, failure: Failure | None) -> None:
        self._end(reason, failure)

    async def _begin(self, options: Mapping[str, Any]) -> None:
        """Raises StreamGateError."""
        self._greeting.stop()
        self._uid = options.get("uid")
        declared = _declared(options)
        self._segments = _Segments(_count(options))
        language = _text(options, "language")
        model = await self._context.models.choose(
            _text(options, "model"), language, stand_ins=STAND_INS
        )
        parameters = {"language": language} if language else {}
        stream = await self._line.open(model, declared, self, parameters)
        warnings = await self._open_translation(options, model, language)
        self._stream = stream
        self._say(message="SERVER_READY", backend="faster_whisper")
        for warning in warnings:
            self._say(status="WARNING", message=warning)
        if not language and len(model.languages) == 1:
            self._say(language=model.languages[0], language_prob=1.0)

    async def _open_translation(
        self, options: Mapping[str, Any], model: SpeechModel, language: str
    ) -> list[str]:
        """The second stream of a client that wants translated segments, too; what it must be warned
        of. Raises StreamGateError."""
        warnings = []
        if options.get("task") == "translate":
            warnings.append("task 'translate' is not served, the text stays in its language")
        if options.get("enable_translation"):
            target = _text(options, "target_language")
            source = language or (model.languages[0] if model.languages else "")
            translator = await self._context.models.choose_translation("", source, target)
            reader = _Translation(self, _count(options))
            reader.stream = await self._line.open_translation(translator, target, reader)
            self._translation = reader
        return warnings

    def _end(self, reason: EndReason, failure: Failure | None) -> None:
        if failure is None:
            if self._line.cut_off is not None:
                self._say(status="WARNING", message=self._line.cut_off.message)
            self._line.hang_up()
        elif reason in OVERTIME:
            self._say(message="DISCONNECT")
            self._line.hang_up(1000, failure.message)
        else:
            self._say(status="ERROR", message=failure.message)
            self._line.hang_up(1011, failure.message)

    def _on_no_greeting(self) -> None:
        self._line.hang_up(1008, "no JSON object with uid and model came, expected one first")

    def _say(self, **message: Any) -> None:
        self._line.say({"uid": self._uid, **message})


@final
class _Translation:
    """What the translation of a connection's text says."""

    def __init__(self, voice: _Voice, count: int) -> None:
        self.stream: TranslationStream
        self._voice = voice
        self._segments = _Segments(count)

    def on_text(self, event: TextEvent) -> None:
        if self._segments.take(event):
            self._voice.on_translation(self._segments.shown)

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        self._voice.on_translation_end(reason, failure)


@final
class _Segments:
    """The last segments, and the one that is being spoken. Times are seconds, written as text; they
    never overlap, for clients drop a segment that starts before the last one's end."""

    def __init__(self, count: int = SEGMENTS) -> None:
        self._completed: deque[Mapping[str, Any]] = deque(maxlen=count)
        self._utterance = Utterance()
        self._end_seconds = 0.0

    def take(self, event: TextEvent) -> bool:
        """Whether there is anything new to show."""
        before = self._utterance.text
        self._utterance.take(event)
        text = self._utterance.text
        if not event.final:
            return bool(text) and text != before
        if text:
            self._completed.append(self._segment(completed=True))
            self._end_seconds = max(self._end_seconds, round(self._utterance.end_seconds, 3))
        self._utterance = Utterance(start_seconds=self._utterance.end_seconds)
        return bool(text)

    @property
    def shown(self) -> list[Mapping[str, Any]]:
        current = [self._segment(completed=False)] if self._utterance.text else []
        return [*self._completed, *current]

    def _segment(self, *, completed: bool) -> Mapping[str, Any]:
        start = max(self._end_seconds, self._utterance.start_seconds)
        end = max(start, self._utterance.end_seconds)
        return {
            "start": f"{start:.3f}",
            "end": f"{end:.3f}",
            "text": self._utterance.text,
            "completed": completed,
        }


def _declared(options: Mapping[str, Any]) -> Declared:
    name = _text(options, "audio_format") or "float32"
    if name not in ENCODINGS:
        raise StreamGateError(
            Code.INVALID_ARG, f"audio_format is '{name}', expected {' or '.join(ENCODINGS)}"
        )
    return Declared(ENCODINGS[name], SAMPLE_RATE_HZ)


def _count(options: Mapping[str, Any]) -> int:
    count = options.get("send_last_n_segments")
    if count is None:
        return SEGMENTS
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise StreamGateError(
            Code.INVALID_ARG, f"send_last_n_segments is {count!r}, expected a whole number above 0"
        )
    return min(count, SEGMENTS_MAX)


def _text(options: Mapping[str, Any], name: str) -> str:
    """An option that is a text or null."""
    value = options.get(name) or ""
    if not isinstance(value, str):
        raise StreamGateError(Code.INVALID_ARG, f"{name} is {value!r}, expected a text")
    return value
