"""AssemblyAI's streaming dialect v3: `/v3/ws`.

The server greets with `Begin`; a `Turn` is an utterance and is sent again until `end_of_turn`.
Times are whole milliseconds. `docs/dialects/assemblyai.md` says what is served.
"""

import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.line import Line, json_object
from streamgate.frontends.dialects.plain import retry_headers
from streamgate.frontends.dialects.query import Query
from streamgate.frontends.dialects.words import all_words, stable_words
from streamgate.frontends.sockets.contract import (
    Accepted,
    Handshake,
    Outlet,
    Patience,
    Refusal,
)
from streamgate.frontends.speech import (
    Declared,
    SpeechContext,
    SpeechStream,
    TextEvent,
    Utterance,
    bearer,
)
from streamgate.frontends.world import uuid4, world

STAND_INS = ("universal", "u3-", "whisper-rt")
RAW = {"pcm_s16le": "s16le", "pcm_mulaw": "mulaw"}
CONTAINED = {"opus", "ogg_opus"}
SESSION_SECONDS = 3 * 3600
"""What `expires_at` promises, as AssemblyAI's. Here only the model's own limits end a session."""
INACTIVITY_SECONDS_MIN = 5
INACTIVITY_SECONDS_MAX = 3600

SERVER_ERROR = 3005
INVALID_INPUT = 3006
EXPIRED = 3008

_STATUSES = {
    Code.INVALID_ARG: 400,
    Code.UNSUPPORTED: 400,
    Code.NOT_FOUND: 400,
    Code.UNAVAILABLE: 429,
}


@final
class AssemblyAi:
    """The dialect of `/v3/ws`."""

    name = "assemblyai"
    path = "/v3/ws"
    offers_resume = False

    def __init__(self, context: SpeechContext) -> None:
        self._context = context

    def matches(self, handshake: Handshake) -> bool:
        return handshake.path == self.path

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        barred = self.bar(handshake)
        if barred is not None:
            return barred
        context = self._context.of(_key(handshake))
        line = Line(context.gateway, outlet)
        try:
            options = _options(handshake)
            model = await context.models.choose(
                options.model, options.language, stand_ins=STAND_INS
            )
            voice = _Voice(line, options)
            parameters = {"language": options.language} if options.language else {}
            stream = await line.open(model, options.declared, voice, parameters)
        except StreamGateError as error:
            return self.refuse(error.failure)
        voice.begin(stream)
        return Accepted(line)

    def bar(self, handshake: Handshake) -> Refusal | None:
        if self._context.access.allows(_key(handshake)):
            return None
        return _refusal(401, "Not Authorized: the Authorization header holds the bare API key")

    def refuse(self, failure: Failure) -> Refusal:
        return _refusal(_STATUSES.get(failure.code, 500), failure.message)


def _key(handshake: Handshake) -> str:
    authorization = handshake.headers.get("authorization", "")
    return bearer(authorization) or authorization or handshake.value("token")


@dataclass(frozen=True, slots=True)
class _Options:
    """The query, as far as it matters here; what is not known is ignored."""

    model: str
    language: str
    declared: Declared
    format_turns: bool
    include_partial_turns: bool
    inactivity_seconds: int


def _options(handshake: Handshake) -> _Options:
    query = Query(handshake)
    encoding = query.choice("encoding", "pcm_s16le", {*RAW, *CONTAINED})
    rate_hz = query.number("sample_rate", 0, 8_000, 192_000)
    if encoding in RAW and not rate_hz:
        raise StreamGateError(
            Code.INVALID_ARG, f"parameter 'sample_rate' is missing; '{encoding}' needs it"
        )
    declared = Declared(RAW[encoding], rate_hz) if encoding in RAW else Declared("auto")
    return _Options(
        query.text("speech_model"),
        query.text("language_code"),
        declared,
        query.flag("format_turns"),
        query.flag("include_partial_turns", default=True),
        query.number("inactivity_timeout", 0, INACTIVITY_SECONDS_MIN, INACTIVITY_SECONDS_MAX),
    )


def _refusal(status: int, error: str) -> Refusal:
    return Refusal.of_json(status, {"error": error}, **retry_headers(status))


@final
class _Voice:
    """One connection."""

    def __init__(self, line: Line, options: _Options) -> None:
        self._line = line
        self._options = options
        self._formats_turns = options.format_turns
        self._stream: SpeechStream
        self._utterance = Utterance()
        self._turns = 0
        self._shown: tuple[str, str] = ("", "")
        self._began_at = world().chosen(_now)
        self._patience: Patience | None = None
        line.attach(self)

    def begin(self, stream: SpeechStream) -> None:
        """The slot is taken: greet."""
        self._stream = stream
        if self._options.inactivity_seconds:
            self._patience = self._line.watch(self._options.inactivity_seconds, self._on_silence)
        expires_at = world().chosen(_now) + SESSION_SECONDS
        self._line.say({"type": "Begin", "id": uuid4(), "expires_at": expires_at})

    def on_audio(self, data: bytes) -> Awaitable[None] | None:
        self._renew()
        self._stream.feed(data)
        return None

    def on_message(self, text: str) -> Awaitable[None] | None:
        message = json_object(text)
        kind = message.get("type")
        self._renew()
        self._stream.keep()
        if kind == "ForceEndpoint":
            self._stream.flush()
        elif kind == "Terminate":
            self._line.finish(self._stream)
        elif kind == "UpdateConfiguration":
            self._formats_turns = bool(message.get("format_turns", self._formats_turns))
        elif kind != "KeepAlive":
            expected = "ForceEndpoint, KeepAlive, UpdateConfiguration or Terminate"
            raise StreamGateError(Code.INVALID_ARG, f"message type {kind!r}, expected {expected}")
        return None

    def on_trouble(self, failure: Failure) -> None:
        self._fail(INVALID_INPUT, failure.message)

    def on_text(self, event: TextEvent) -> None:
        if event.speech is not None and event.speech.began:
            self._line.say({"type": "SpeechStarted", "timestamp": _ms(event.speech.at_seconds)})
        self._utterance.take(event)
        utterance = self._utterance
        if event.final:
            if utterance.stable_text:
                self._say_turn(ends=True)
                self._turns += 1
            self._utterance = Utterance(start_seconds=event.audio_seconds)
            self._shown = ("", "")
        elif utterance.text and self._shown != (utterance.stable, utterance.tail):
            self._shown = (utterance.stable, utterance.tail)
            if self._options.include_partial_turns:
                self._say_turn(ends=False)

    def on_flushed(self, marker: object) -> None:
        """The turn that was ended by force has been sent."""

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        if failure is None:
            cut_off = self._line.cut_off
            if cut_off is not None:
                warning = {"warning_code": INVALID_INPUT, "warning": cut_off.message}
                self._line.say({"type": "Warning", **warning})
            self._line.say(
                {
                    "type": "Termination",
                    "audio_duration_seconds": round(self._stream.heard_seconds),
                    "session_duration_seconds": world().chosen(_now) - self._began_at,
                }
            )
            self._line.hang_up()
        elif reason in (EndReason.LIFETIME, EndReason.IDLE):
            self._fail(EXPIRED, failure.message)
        else:
            close = 1001 if reason is EndReason.DRAINED else SERVER_ERROR
            self._fail(SERVER_ERROR, failure.message, close)

    def _say_turn(self, *, ends: bool) -> None:
        """`transcript` holds stable words only; `words` those, too, that may still change."""
        utterance = self._utterance
        stable = 0 if utterance.tail and not utterance.words else len(stable_words(utterance))
        self._line.say(
            {
                "type": "Turn",
                "turn_order": self._turns,
                "turn_is_formatted": ends and self._formats_turns,
                "end_of_turn": ends,
                "transcript": utterance.stable_text,
                "end_of_turn_confidence": 1.0 if ends else 0.0,
                "words": [
                    {
                        "start": _ms(word.start_seconds),
                        "end": _ms(word.end_seconds),
                        "confidence": round(word.confidence, 4),
                        "text": word.text,
                        "word_is_final": place < stable,
                    }
                    for place, word in enumerate(all_words(utterance))
                ],
            }
        )

    def _renew(self) -> None:
        if self._patience is not None:
            self._patience.renew()

    def _on_silence(self) -> None:
        seconds = self._options.inactivity_seconds
        self._fail(EXPIRED, f"neither audio nor a message came for {seconds} s")

    def _fail(self, code: int, error: str, close: int | None = None) -> None:
        message: Mapping[str, Any] = {"type": "Error", "error_code": code, "error": error}
        self._line.say(message)
        self._line.hang_up(close or code, error)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _now() -> int:
    """Seconds since 1970."""
    return int(time.time())
