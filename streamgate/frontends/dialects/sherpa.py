"""sherpa-onnx's online WebSocket server: a port of its own, float samples in, JSON out.

Neither side greets. Results are those of a segment and replace each other until one `is_final`;
`docs/dialects/sherpa-onnx.md` says what is served.
"""

from collections.abc import Awaitable, Mapping
from typing import Any, final

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.line import Line
from streamgate.frontends.dialects.plain import brought_key, refusal_of, unauthorized
from streamgate.frontends.dialects.words import all_words
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.speech import (
    Declared,
    SpeechContext,
    SpeechStream,
    TextEvent,
    Utterance,
)

DECLARED = Declared("f32le", 16_000)


@final
class SherpaOnnx:
    """The dialect, on any path of its port."""

    name = "sherpa-onnx"
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
        voice = _Voice(line)
        try:
            model = await context.models.choose()
            voice.stream = await line.open(model, DECLARED, voice)
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

    def __init__(self, line: Line) -> None:
        self.stream: SpeechStream
        self._line = line
        self._segment = 0
        self._utterance = Utterance()
        self._said = self._result(is_final=True)
        line.attach(self)

    def on_audio(self, data: bytes) -> Awaitable[None] | None:
        self.stream.feed(data)
        return None

    def on_message(self, text: str) -> Awaitable[None] | None:
        if text.strip() != "Done":
            raise StreamGateError(
                Code.INVALID_ARG, f"text {text[:40]!r}, expected binary samples or 'Done'"
            )
        self._line.finish(self.stream)
        return None

    def on_trouble(self, failure: Failure) -> None:
        """There is no error message in this protocol."""
        self._line.hang_up(1008, failure.message)

    def on_text(self, event: TextEvent) -> None:
        before = self._utterance.text
        self._utterance.take(event)
        text = self._utterance.text
        if event.final and text:
            self._said = self._result(is_final=True)
            self._line.say(self._said)
            self._segment += 1
            self._utterance = Utterance(start_seconds=event.audio_seconds)
        elif text != before:
            self._line.say(self._result(is_final=False))

    def on_flushed(self, marker: object) -> None:
        """Nothing in this protocol ends an utterance but the end of the audio."""

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        if failure is not None:
            self._line.hang_up(1001 if reason is EndReason.DRAINED else 1011, failure.message)
            return
        # Clients take the last result for that of the file, so it is said again, marked as such.
        self._line.say({**self._said, "is_eof": True})
        self._line.send("Done!")
        cut_off = self._line.cut_off
        if cut_off is None:
            self._line.hang_up()
        else:
            self._line.hang_up(1008, cut_off.message)

    def _result(self, *, is_final: bool) -> Mapping[str, Any]:
        """Times are seconds; `timestamps` count from the segment's `start_time`."""
        utterance = self._utterance
        words = all_words(utterance)
        start = utterance.start_seconds
        return {
            "text": utterance.text,
            "tokens": [word.text for word in words],
            "timestamps": [round(word.start_seconds - start, 3) for word in words],
            "ys_probs": [],
            "lm_probs": [],
            "context_scores": [],
            "segment": self._segment,
            "words": [],
            "start_time": round(start, 3),
            "is_final": is_final,
            "is_eof": False,
        }
