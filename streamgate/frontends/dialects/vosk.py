"""Vosk's server: a port of its own, one reply for each frame of audio.

The client waits for the reply before it sends more (lock-step), so a frame is answered at once,
whether or not the model has anything new: with an utterance that has ended since the last reply,
else with the text so far. `docs/dialects/vosk.md` says what is served.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.line import Line, json_object
from streamgate.frontends.dialects.plain import brought_key, refusal_of, unauthorized
from streamgate.frontends.dialects.words import stable_words
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.speech import (
    Declared,
    SpeechContext,
    SpeechModel,
    SpeechStream,
    TextEvent,
    Utterance,
    Word,
)

SAMPLE_RATE_HZ = 8000
"""The server's own default, for clients that send no `config`."""


@final
class Vosk:
    """The dialect, on any path of its port."""

    name = "vosk"
    path = "/"
    offers_resume = False

    def __init__(self, context: SpeechContext) -> None:
        self._context = context

    def matches(self, handshake: Handshake) -> bool:
        return True

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        barred = self.bar(handshake)
        if barred is not None:
            return barred
        context = self._context.of(brought_key(handshake))
        line = Line(context.gateway, outlet)
        voice = _Voice(context, line)
        try:
            await voice.open(await context.models.choose())
        except StreamGateError as error:
            return refusal_of(error.failure)
        return Accepted(line)

    def bar(self, handshake: Handshake) -> Refusal | None:
        return unauthorized(self._context.access, handshake)

    def refuse(self, failure: Failure) -> Refusal:
        return refusal_of(failure)


@final
class _Voice:
    """One connection."""

    def __init__(self, context: SpeechContext, line: Line) -> None:
        self._context = context
        self._line = line
        self._declared = Declared("s16le", SAMPLE_RATE_HZ)
        self._stream: SpeechStream
        self._utterance = Utterance()
        self._ended: list[str] = []
        self._ended_words: list[Word] = []
        self._shows_words = True
        self._max_alternatives = 0
        self._has_ended = False
        self._was_fed = False
        line.attach(self)

    async def open(self, model: SpeechModel) -> None:
        """Raises StreamGateError."""
        self._stream = await self._line.open(model, self._declared, self)

    def on_audio(self, data: bytes) -> Awaitable[None] | None:
        self._was_fed = True
        self._stream.feed(data)
        self._line.say(self._result() if self._has_ended else {"partial": self._utterance.text})
        return None

    def on_message(self, text: str) -> Awaitable[None] | None:
        message = json_object(text)
        if "config" in message:
            return self._configure(message["config"])
        if message.get("eof"):
            self._line.finish(self._stream)
        elif message.get("reset"):
            self._stream.flush()
        else:
            raise StreamGateError(
                Code.INVALID_ARG, f"message {text[:60]!r}, expected config, eof or reset"
            )
        return None

    def on_trouble(self, failure: Failure) -> None:
        """There is no error message in this protocol. The frame's reply is what is left of the
        text."""
        if self._has_ended:
            self._line.say(self._result())
        self._line.hang_up(1008, failure.message)

    def on_text(self, event: TextEvent) -> None:
        self._utterance.take(event)
        if event.final and self._utterance.stable_text:
            self._end_utterance()

    def on_flushed(self, marker: object) -> None:
        """The reply to a `reset`: what was said up to it; what comes then starts over."""
        self._end_utterance()
        self._utterance = Utterance()
        self._line.say(self._result())

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        if failure is not None:
            self._line.hang_up(1001 if reason is EndReason.DRAINED else 1011, failure.message)
            return
        self._end_utterance()
        self._line.say(self._result())
        cut_off = self._line.cut_off
        if cut_off is None:
            self._line.hang_up()
        else:
            self._line.hang_up(1008, cut_off.message)

    async def _configure(self, config: object) -> None:
        """No reply. Vosk's clients wait for none."""
        if not isinstance(config, dict):
            raise StreamGateError(Code.INVALID_ARG, "config is no object, expected one")
        if "words" in config:
            self._shows_words = bool(config["words"])
        if "max_alternatives" in config:
            self._max_alternatives = int(_number(config, "max_alternatives"))
        if "model" in config:
            await self._change_model(str(config["model"]))
        if "sample_rate" in config:
            # The C clients write 16000.000000.
            self._check_no_audio("sample_rate")
            self._declared = Declared("s16le", round(_number(config, "sample_rate")))
            self._stream.declare(self._declared)

    async def _change_model(self, name: str) -> None:
        model = await self._context.models.choose(name)
        if model.name == self._stream.model.name:
            return
        self._check_no_audio("model")
        before = self._stream
        await self.open(model)
        before.close()

    def _check_no_audio(self, what: str) -> None:
        if self._was_fed:
            raise StreamGateError(
                Code.INVALID_ARG, f"config.{what} came behind audio, expected it before any"
            )

    def _end_utterance(self) -> None:
        """Keep it for the next reply. A client that is faster than the model gets several at
        once."""
        if not self._utterance.is_final and not self._utterance.stable_text:
            return
        self._ended.append(self._utterance.stable_text)
        self._ended_words.extend(stable_words(self._utterance))
        self._utterance = Utterance(start_seconds=self._utterance.end_seconds)
        self._has_ended = True

    def _result(self) -> Mapping[str, Any]:
        text = " ".join(each for each in self._ended if each)
        words = self._ended_words
        self._ended, self._ended_words, self._has_ended = [], [], False
        if self._max_alternatives:
            confidence = sum(word.confidence for word in words) / max(1, len(words))
            alternative = {"confidence": confidence, "text": text}
            shown = self._shown(words, with_confidence=False)
            return {"alternatives": [{**alternative, **shown}]}
        return {**self._shown(words, with_confidence=True), "text": text}

    def _shown(self, words: Sequence[Word], *, with_confidence: bool) -> Mapping[str, Any]:
        if not self._shows_words or not words:
            return {}
        return {
            "result": [
                {
                    **({"conf": round(word.confidence, 6)} if with_confidence else {}),
                    "end": round(word.end_seconds, 6),
                    "start": round(word.start_seconds, 6),
                    "word": word.text,
                }
                for word in words
            ]
        }


def _number(config: Mapping[str, Any], name: str) -> float:
    """A number, or the text of one, as Vosk's own server takes both."""
    value = config[name]
    try:
        number = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < 1e9:
        raise StreamGateError(Code.INVALID_ARG, f"config.{name} is {value!r}, expected a number")
    return number
