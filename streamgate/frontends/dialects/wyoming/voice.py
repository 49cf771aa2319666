"""One Wyoming connection's state: who asks, and one utterance of audio after another.

    transcribe -> audio-start -> audio-chunk ... -> audio-stop
                  (slot)                            -> transcript

Stable text is told as it comes, in `transcript-chunk`s, and whole at the end.
"""

from collections.abc import Awaitable, Mapping
from typing import Any, final

import streamgate
from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.line import Line
from streamgate.frontends.dialects.wyoming.events import Event, packed
from streamgate.frontends.speech import (
    Declared,
    SpeechContext,
    SpeechModel,
    SpeechStream,
    TextEvent,
)

WIDTHS = {2: "s16le", 3: "s24le", 4: "s32le"}
CHANNELS_MAX = 8
_ATTRIBUTION = {"name": "StreamGate", "url": ""}


@final
class WyomingVoice:
    """What is said to each event. `on_event` may return something to wait for, and may raise
    StreamGateError, which `on_trouble` tells the client."""

    def __init__(self, context: SpeechContext, line: Line) -> None:
        self._context = context
        self._line = line
        self._stream: SpeechStream | None = None
        self._declared = Declared()
        self._name = ""
        self._language = ""
        self._text = ""
        self._is_between = False
        self._is_finishing = False

    @property
    def has_room(self) -> bool:
        """Whether the next event may be read. Not while an utterance's transcript is due."""
        return not self._is_finishing and self._line.has_room

    @property
    def is_listening(self) -> bool:
        """Whether there is a stream, which has a slot and an idle time of its own."""
        return self._stream is not None

    def on_event(self, event: Event) -> Awaitable[None] | None:
        if event.kind == "describe":
            return self._describe()
        if event.kind == "ping":
            self._say("pong", text=event.data.get("text"))
        elif event.kind == "transcribe":
            self._name, self._language = event.text("name"), event.text("language")
        elif event.kind == "audio-start":
            return self._begin(event)
        elif event.kind == "audio-chunk":
            return self._hear(event)
        elif event.kind == "audio-stop":
            self._finish()
        # Events of other services are no error in this protocol.
        return None

    def on_trouble(self, failure: Failure) -> None:
        """The client may only come again."""
        self._say("error", text=failure.message, code=failure.code.value.lower())
        self._line.hang_up()

    def on_text(self, event: TextEvent) -> None:
        """Utterances of the model's are told apart by a space, as words are."""
        said = event.stable
        if said and self._text and not said.startswith(" ") and self._is_between:
            said = f" {said}"
        if event.stable:
            self._is_between = False
        if event.final:
            self._is_between = True
        if not said:
            return
        if not self._text:
            said = said.lstrip()
            self._say("transcript-start", **self._told_language)
        self._text += said
        self._say("transcript-chunk", text=said)

    def on_flushed(self, marker: object) -> None:
        """Nothing in this protocol ends an utterance but the end of the audio."""

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        self._stream = None
        if failure is not None:
            self.on_trouble(failure)
            return
        if not self._text:
            self._say("transcript-start", **self._told_language)
        self._say("transcript", text=self._text, **self._told_language)
        self._say("transcript-stop")
        self._is_finishing = False
        if self._line.cut_off is not None:
            self.on_trouble(self._line.cut_off)
        self._line.room()

    async def _begin(self, event: Event) -> None:
        """Raises StreamGateError."""
        if self._stream is not None:
            raise StreamGateError(
                Code.INVALID_ARG, f"{event.kind} within an utterance, expected audio-stop first"
            )
        declared = _declared(event)
        model = await self._context.models.choose(self._name, self._language)
        parameters = {"language": self._language} if self._language else {}
        self._text = ""
        self._is_between = False
        self._declared = declared
        self._stream = await self._line.open(model, declared, self, parameters)

    def _hear(self, event: Event) -> Awaitable[None] | None:
        """Some clients leave `audio-start` out: each chunk says what it is."""
        if self._stream is None:
            return self._begin_and_hear(event)
        if _declared(event) != self._declared:
            raise StreamGateError(
                Code.INVALID_ARG, f"audio-chunk is {_declared(event)}, expected {self._declared}"
            )
        self._stream.feed(event.payload)
        return None

    async def _begin_and_hear(self, event: Event) -> None:
        await self._begin(event)
        assert self._stream is not None
        self._stream.feed(event.payload)

    def _finish(self) -> None:
        if self._stream is not None:
            self._is_finishing = True
            self._line.finish(self._stream)

    async def _describe(self) -> None:
        models = [_model_info(model) for model in await self._context.models.all()]
        program = {
            "name": "streamgate",
            "attribution": _ATTRIBUTION,
            "installed": True,
            "description": "StreamGate",
            "version": streamgate.__version__,
            "models": models,
            "supports_transcript_streaming": True,
            "requires_external_vad": True,
        }
        nobody: list[object] = []
        others = dict.fromkeys(("tts", "handle", "intent", "wake", "mic", "snd"), nobody)
        self._say("info", asr=[program], **others)

    @property
    def _told_language(self) -> Mapping[str, str]:
        return {"language": self._language} if self._language else {}

    def _say(self, kind: str, **data: Any) -> None:
        self._line.send(packed(Event(kind, data)))


def _declared(event: Event) -> Declared:
    """What `rate`, `width` (bytes) and `channels` say. Raises StreamGateError (INVALID_ARG)."""
    width, channels = event.number("width"), event.number("channels")
    if width not in WIDTHS:
        known = ", ".join(map(str, WIDTHS))
        raise StreamGateError(
            Code.INVALID_ARG, f"{event.kind}: width is {width} bytes, expected one of {known}"
        )
    if not 1 <= channels <= CHANNELS_MAX:
        raise StreamGateError(
            Code.INVALID_ARG, f"{event.kind}: {channels} channels, expected 1 to {CHANNELS_MAX}"
        )
    return Declared(WIDTHS[width], event.number("rate"), channels)


def _model_info(model: SpeechModel) -> Mapping[str, Any]:
    return {
        "name": model.name,
        "attribution": _ATTRIBUTION,
        "installed": True,
        "description": model.name,
        "version": model.version,
        "languages": list(model.languages),
    }
