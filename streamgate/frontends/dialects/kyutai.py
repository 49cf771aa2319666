"""Kyutai's moshi-server: `/api/asr-streaming`, MessagePack maps in binary frames.

The server speaks first: `Ready`, or `Error` when there is no slot. Words are only ever appended.
`docs/dialects/kyutai.md` says what is served.
"""

from collections.abc import Awaitable, Mapping
from typing import Any, final

import msgpack
import numpy as np

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.line import Line
from streamgate.frontends.dialects.plain import refusal_of
from streamgate.frontends.dialects.words import WordByWord
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.speech import (
    Declared,
    SpeechContext,
    SpeechModel,
    SpeechStream,
    TextEvent,
)

SAMPLE_RATE_HZ = 24_000
STEP_SECONDS = 0.08
"""A `Step` of Kyutai's; our models' chunks may be longer."""
MESSAGE_BYTES_MAX = 2**21
"""17 s of samples, of which clients send 80 ms at once. In memory, a message may take seventy times
its bytes."""
NO_SLOT = "no free channels"
"""What moshi-server says, and its clients know."""


@final
class Kyutai:
    """The dialect of `/api/asr-streaming`."""

    name = "kyutai"
    path = "/api/asr-streaming"
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
            model = await context.models.choose()
            voice = _Voice(line, model)
            await voice.open()
        except StreamGateError as error:
            # The protocol has its refusal behind the upgrade, where its clients look for it.
            _refuse(line, NO_SLOT if error.code is Code.UNAVAILABLE else error.message)
        return Accepted(line)

    def bar(self, handshake: Handshake) -> Refusal | None:
        if self._context.access.allows(_key(handshake)):
            return None
        return Refusal(401, "wrong or missing kyutai-api-key\n")

    def refuse(self, failure: Failure) -> Refusal:
        return refusal_of(failure)


def _key(handshake: Handshake) -> str:
    return handshake.headers.get("kyutai-api-key") or handshake.value("auth_id")


@final
class _Voice:
    """One connection."""

    def __init__(self, line: Line, model: SpeechModel) -> None:
        self._line = line
        self._model = model
        self._stream: SpeechStream
        self._words = WordByWord(model)
        self._kind = ""
        self._pause_probability = 1.0
        line.attach(self)

    async def open(self) -> None:
        """Raises StreamGateError."""
        declared = Declared("f32le", SAMPLE_RATE_HZ)
        self._stream = await self._line.open(self._model, declared, self)
        _say(self._line, {"type": "Ready"})

    def on_message(self, text: str) -> Awaitable[None] | None:
        raise StreamGateError(
            Code.INVALID_ARG, f"text frame {text[:40]!r}, expected MessagePack in a binary frame"
        )

    def on_audio(self, data: bytes) -> Awaitable[None] | None:
        message = _unpacked(data)
        kind = message.get("type")
        if kind == "Audio":
            self._check_kind("Audio")
            self._stream.feed(_samples(message.get("pcm")))
        elif kind == "OggOpus":
            if not self._kind:
                self._stream.declare(Declared("auto"))
            self._check_kind("OggOpus")
            self._stream.feed(_bytes(message.get("data")))
        elif kind == "Marker":
            self._stream.flush(_marker(message.get("id")))
        elif kind == "Ping":
            self._stream.keep()
        elif kind != "Init":
            raise StreamGateError(
                Code.INVALID_ARG, f"message type {kind!r}, expected Audio, OggOpus or Marker"
            )
        return None

    def on_trouble(self, failure: Failure) -> None:
        _refuse(self._line, failure.message)

    def on_text(self, event: TextEvent) -> None:
        self._hear_pause(event)
        for word in self._words.take(event):
            start, stop = round(word.start_seconds, 3), round(word.end_seconds, 3)
            _say(self._line, {"type": "Word", "text": word.text, "start_time": start})
            _say(self._line, {"type": "EndWord", "stop_time": stop})
        _say(
            self._line,
            {
                "type": "Step",
                "step_idx": round(event.audio_seconds / STEP_SECONDS),
                "prs": [self._pause_probability] * 4,
                "buffered_pcm": round(self._stream.backlog_seconds * SAMPLE_RATE_HZ),
            },
        )

    def on_flushed(self, marker: object) -> None:
        _say(self._line, {"type": "Marker", "id": marker})

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        _refuse(self._line, failure.message if failure is not None else reason.value)

    def _hear_pause(self, event: TextEvent) -> None:
        """How surely nobody speaks: as the model says, else by where speech begins and ends."""
        if event.speech_probability is not None:
            self._pause_probability = round(1.0 - event.speech_probability, 4)
        elif event.speech is not None:
            self._pause_probability = 0.0 if event.speech.began else 1.0
        elif event.final:
            self._pause_probability = 1.0
        elif event.stable or event.tail:
            self._pause_probability = 0.0

    def _check_kind(self, kind: str) -> None:
        if self._kind not in ("", kind):
            raise StreamGateError(
                Code.INVALID_ARG, f"{kind} came behind {self._kind}, expected one of them"
            )
        self._kind = kind


def _say(line: Line, message: Mapping[str, Any]) -> None:
    packed: bytes = msgpack.packb(message)
    line.send(packed)


def _refuse(line: Line, why: str) -> None:
    _say(line, {"type": "Error", "message": why})
    line.hang_up(1000, why)


def _unpacked(data: bytes) -> Mapping[str, Any]:
    if len(data) > MESSAGE_BYTES_MAX:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"the message has {len(data)} bytes, expected at most {MESSAGE_BYTES_MAX}",
        )
    try:
        message = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise StreamGateError(
            Code.INVALID_ARG, f"the message is no MessagePack ({error or 'cut off'})"
        ) from None
    if not isinstance(message, dict):
        raise StreamGateError(
            Code.INVALID_ARG, f"the message is a {type(message).__name__}, expected a map"
        )
    return message


def _samples(pcm: object) -> bytes:
    """A list of numbers as FP32 bytes, little-endian."""
    try:
        samples = np.asarray(pcm, "<f4")
    except (TypeError, ValueError):
        samples = np.zeros((), "<f4")
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise StreamGateError(Code.INVALID_ARG, "pcm is no list of finite numbers, expected one")
    return samples.tobytes()


def _bytes(data: object) -> bytes:
    if not isinstance(data, bytes):
        raise StreamGateError(Code.INVALID_ARG, "data is no binary, expected an Ogg stream's bytes")
    return data


def _marker(marker: object) -> int:
    if not isinstance(marker, int) or isinstance(marker, bool):
        raise StreamGateError(Code.INVALID_ARG, f"marker id {marker!r}, expected a whole number")
    return marker
