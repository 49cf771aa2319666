"""Deepgram's Flux over WebSocket: `/v2/listen`, made for conversations: turns, not results.

The server greets with `Connected`, and numbers all that it says from 0.
"""

import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.deepgram.options import STAND_INS, declared_audio
from streamgate.frontends.dialects.deepgram.refusals import (
    brought_key,
    refusal_of,
    subprotocol,
    unauthorized,
)
from streamgate.frontends.dialects.line import Line, json_object
from streamgate.frontends.dialects.query import Query
from streamgate.frontends.dialects.words import all_words
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.speech import (
    SpeechContext,
    SpeechStream,
    TextEvent,
    Utterance,
)
from streamgate.frontends.world import uuid4

SECONDS_DIGITS = 3


@final
class DeepgramFlux:
    """The dialect of `/v2/listen`. A WebSocket there is asked for before KServe's `/v2`."""

    name = "deepgram-flux"
    path = "/v2/listen"
    offers_resume = False

    def __init__(self, context: SpeechContext) -> None:
        self._context = context

    def matches(self, handshake: Handshake) -> bool:
        return handshake.path == self.path

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        barred = self.bar(handshake)
        if barred is not None:
            return barred
        context = self._context.of(brought_key(handshake))
        request_id = uuid4()
        line = Line(context.gateway, outlet)
        try:
            query = Query(handshake)
            thresholds = _thresholds(query)
            declared = declared_audio(query)
            language = query.text("language_hint")
            model = await context.models.choose(query.text("model"), language, stand_ins=STAND_INS)
            voice = _Voice(line, request_id, thresholds)
            parameters = {"language": language} if language else {}
            stream = await line.open(model, declared, voice, parameters)
        except StreamGateError as error:
            return refusal_of(error.failure, request_id)
        voice.begin(stream)
        return Accepted(line, subprotocol(handshake))

    def bar(self, handshake: Handshake) -> Refusal | None:
        if self._context.access.allows(brought_key(handshake)):
            return None
        return unauthorized(uuid4())

    def refuse(self, failure: Failure) -> Refusal:
        return refusal_of(failure, uuid4())


@dataclass(frozen=True, slots=True)
class _Thresholds:
    """What the client wants of the ends of turns: kept and told back. The model has rules of its
    own."""

    eager_eot_threshold: float | None
    eot_threshold: float
    eot_timeout_ms: int

    @property
    def as_json(self) -> Mapping[str, Any]:
        return {
            "eager_eot_threshold": self.eager_eot_threshold,
            "eot_threshold": self.eot_threshold,
            "eot_timeout_ms": self.eot_timeout_ms,
        }


def _thresholds(query: Query) -> _Thresholds:
    """Within Deepgram's own bounds. Raises StreamGateError (INVALID_ARG)."""
    return _Thresholds(
        query.fraction("eager_eot_threshold", 0.0, 0.3, 0.9) or None,
        query.fraction("eot_threshold", 0.7, 0.5, 0.9),
        query.number("eot_timeout_ms", 5000, 500, 10_000),
    )


@final
class _Voice:
    """One connection."""

    def __init__(self, line: Line, request_id: str, thresholds: _Thresholds) -> None:
        self._line = line
        self._request_id = request_id
        self._thresholds = thresholds
        self._stream: SpeechStream
        self._sequence_id = 0
        self._turn = 0
        self._turn_start_seconds = 0.0
        self._utterance = Utterance()
        self._shown = ""
        self._has_started = False
        self._forcing = 0
        line.attach(self)

    def begin(self, stream: SpeechStream) -> None:
        """The slot is taken: greet."""
        self._stream = stream
        self._say(type="Connected")

    def on_audio(self, data: bytes) -> Awaitable[None] | None:
        self._stream.feed(data)
        return None

    def on_message(self, text: str) -> Awaitable[None] | None:
        message = json_object(text)
        kind = message.get("type")
        if kind == "CloseStream":
            self._line.finish(self._stream)
        elif kind == "ForceEndTurn":
            self._forcing += 1
            self._stream.flush()
        elif kind == "Configure":
            self._configure(message)
        elif kind == "KeepAlive":
            self._stream.keep()
        else:
            expected = "CloseStream, ForceEndTurn, Configure or KeepAlive"
            raise StreamGateError(Code.INVALID_ARG, f"message type {kind!r}, expected {expected}")
        return None

    def on_trouble(self, failure: Failure) -> None:
        self._fail("INVALID_INPUT", failure.message, 1008)

    def on_text(self, event: TextEvent) -> None:
        self._utterance.take(event)
        text = self._utterance.text
        if text and not self._has_started:
            self._has_started = True
            self._say_turn("StartOfTurn")
        elif text != self._shown and not event.final:
            self._say_turn("Update")
        self._shown = text
        if event.final:
            self._end_turn(event.audio_seconds)

    def on_flushed(self, marker: object) -> None:
        self._forcing -= 1

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        if failure is None:
            if self._line.cut_off is not None:
                self._say(
                    type="Warning", code="AUDIO_CUT_OFF", description=self._line.cut_off.message
                )
            self._line.hang_up()
        elif reason is EndReason.DRAINED:
            self._fail("SERVICE_UNAVAILABLE", failure.message, 1001)
        elif reason is EndReason.IDLE:
            self._fail("NET-0001", failure.message, 1011)
        else:
            self._fail("INTERNAL_SERVER_ERROR", failure.message, 1011)

    def _end_turn(self, now_seconds: float) -> None:
        if self._has_started:
            self._say_turn("EndOfTurn", trigger="manual" if self._forcing else "model")
            self._turn += 1
        self._utterance = Utterance(start_seconds=now_seconds, end_seconds=now_seconds)
        self._turn_start_seconds = now_seconds
        self._shown = ""
        self._has_started = False

    def _say_turn(self, event: str, **more: Any) -> None:
        utterance = self._utterance
        end = max(utterance.end_seconds, self._turn_start_seconds)
        self._say(
            type="TurnInfo",
            event=event,
            turn_index=self._turn,
            audio_window_start=round(self._turn_start_seconds, SECONDS_DIGITS),
            audio_window_end=round(end, SECONDS_DIGITS),
            transcript=utterance.text,
            words=[
                {
                    "word": word.text,
                    "confidence": round(word.confidence, 4),
                    "start": round(word.start_seconds, SECONDS_DIGITS),
                    "end": round(word.end_seconds, SECONDS_DIGITS),
                }
                for word in all_words(utterance)
            ],
            end_of_turn_confidence=1.0 if event == "EndOfTurn" else 0.0,
            **more,
        )

    def _configure(self, message: Mapping[str, Any]) -> None:
        """Thresholds are kept; terms and hints can't be given to a model that listens already."""
        given = message.get("thresholds") or {}
        known = self._thresholds.as_json
        unknown = [name for name in ("language_hints", "numerals") if message.get(name)]
        if message.get("keyterms"):
            unknown.append("keyterms")
        if not isinstance(given, dict) or not all(_is_number(each) for each in given.values()):
            unknown.append("thresholds")
        elif not given.keys() <= known.keys():
            unknown.extend(sorted(given.keys() - known.keys()))
        if unknown:
            self._say(
                type="ConfigureFailure",
                code="CONFIGURE_NOT_SUPPORTED",
                description=f"not taken while the model listens: {', '.join(unknown)}",
            )
            return
        self._thresholds = replace(self._thresholds, **given)
        self._say(
            type="ConfigureSuccess",
            thresholds=self._thresholds.as_json,
            keyterms=[],
            language_hints=[],
        )

    def _fail(self, code: str, description: str, close: int) -> None:
        self._say(type="Error", code=code, description=description)
        self._line.hang_up(close, f"{code}: {description}")

    def _say(self, **message: Any) -> None:
        """Each message has the next number: a client sees at once whether one is missing."""
        numbers = {"request_id": self._request_id, "sequence_id": self._sequence_id}
        self._sequence_id += 1
        self._line.say({**message, **numbers})


def _is_number(value: object) -> bool:
    """One that can be told back: 1e999 is read as infinite, which JSON has no word for."""
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))
