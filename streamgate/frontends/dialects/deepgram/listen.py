"""Deepgram v1 over WebSocket: `/v1/listen`.

The client speaks first. A slot is taken for each channel before the upgrade is answered.
"""

import hashlib
import uuid
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime
from typing import Any, final

from streamgate.errors import EndReason, Failure, StreamGateError
from streamgate.frontends.dialects.deepgram.options import (
    STAND_INS,
    ListenOptions,
    listen_options,
)
from streamgate.frontends.dialects.deepgram.refusals import (
    brought_key,
    refusal_of,
    subprotocol,
    unauthorized,
)
from streamgate.frontends.dialects.deepgram.results import ChannelResults
from streamgate.frontends.dialects.line import Line, json_object
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.speech import SpeechContext, SpeechModel, SpeechStream, TextEvent
from streamgate.frontends.world import uuid4, world

SILENCE_SECONDS = 10.0
"""Deepgram's own limit: without audio or a KeepAlive for so long, the connection is closed."""


@final
class DeepgramListen:
    """The dialect of `/v1/listen`."""

    name = "deepgram"
    path = "/v1/listen"
    offers_resume = False

    def __init__(self, context: SpeechContext, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._context = context
        self._silence_seconds = silence_seconds

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
            options = listen_options(handshake)
            model = await context.models.choose(
                options.model, options.language, stand_ins=STAND_INS
            )
            voice = _Voice(line, options, model, request_id)
            await voice.open(self._silence_seconds)
        except StreamGateError as error:
            line.on_gone()
            return refusal_of(error.failure, request_id)
        except BaseException:
            line.on_gone()
            raise
        return Accepted(line, subprotocol(handshake))

    def bar(self, handshake: Handshake) -> Refusal | None:
        if self._context.access.allows(brought_key(handshake)):
            return None
        return unauthorized(uuid4())

    def refuse(self, failure: Failure) -> Refusal:
        return refusal_of(failure, uuid4())


@final
class _Voice:
    """One connection: Deepgram's words for what its channels hear."""

    def __init__(
        self, line: Line, options: ListenOptions, model: SpeechModel, request_id: str
    ) -> None:
        self._line = line
        self._options = options
        self._model = model
        self._request_id = request_id
        self._channels: list[_Channel] = []
        self._digest = hashlib.sha256()
        self._is_closing = False
        line.attach(self)

    async def open(self, silence_seconds: float) -> None:
        """Raises StreamGateError."""
        options = self._options
        parameters = {"language": options.language} if options.language else {}
        for place, declared in enumerate(options.channels):
            index = (place, len(options.channels))
            results = ChannelResults(options, index, self._metadata())
            channel = _Channel(self, results)
            channel.stream = await self._line.open(self._model, declared, channel, parameters)
            self._channels.append(channel)
        self._patience = self._line.watch(silence_seconds, self._on_silence)

    def on_audio(self, data: bytes) -> Awaitable[None] | None:
        self._patience.renew()
        if self._is_closing:
            return None
        if not data:
            # What clients sent before there was a CloseStream.
            self._finish()
            return None
        self._digest.update(data)
        for channel in self._channels:
            channel.stream.feed(data)
        return None

    def on_message(self, text: str) -> Awaitable[None] | None:
        try:
            kind = json_object(text).get("type")
        except StreamGateError as error:
            self._schema_error(text, error.message)
            return None
        if kind == "KeepAlive":
            self._patience.renew()
            for channel in self._channels:
                channel.stream.keep()
        elif kind == "Finalize":
            for channel in self._channels:
                channel.finalize()
        elif kind == "CloseStream":
            self._finish()
        elif kind == "Configure":
            self._refuse_configure()
        else:
            expected = "KeepAlive, Finalize, CloseStream or Configure"
            self._schema_error(text, f"unknown type {kind!r}, expected {expected}")
        return None

    def on_trouble(self, failure: Failure) -> None:
        """The audio can't be decoded: Deepgram's DATA-0000."""
        self._say_error("DATA-0000", failure.message)
        self._line.hang_up(1008, f"DATA-0000: {failure.message}")

    def say(self, message: Mapping[str, Any]) -> None:
        self._line.say(message)

    def on_channel_end(self, reason: EndReason, failure: Failure | None) -> None:
        if failure is not None:
            self._say_error("NET-0000", failure.message)
            code = 1001 if reason is EndReason.DRAINED else 1011
            self._line.hang_up(code, f"NET-0000: {failure.message}")
        elif all(channel.is_over for channel in self._channels):
            self.say(self._summary())
            self._line.hang_up()

    def _finish(self) -> None:
        """No more audio: the rest of the results, the summary, goodbye."""
        if self._is_closing:
            return
        self._is_closing = True
        self._patience.stop()
        for channel in self._channels:
            self._line.finish(channel.stream)
        if self._line.cut_off is not None:
            self._say_error("DATA-0000", self._line.cut_off.message)

    def _on_silence(self) -> None:
        text = (
            "NET-0001: did not receive audio data or a text message within the timeout window, "
            "expected KeepAlive messages while there is no audio"
        )
        self._say_error("NET-0001", text)
        self._line.hang_up(1011, text)

    def _schema_error(self, text: str, why: str) -> None:
        """A text message that is not understood does no harm to the stream."""
        self.say(
            {"type": "Error", "variant": "SchemaError", "description": why, "message": text[:1000]}
        )

    def _say_error(self, variant: str, description: str) -> None:
        self.say({"type": "Error", "variant": variant, "description": description})

    def _refuse_configure(self) -> None:
        self.say(
            {
                "type": "ConfigureFailure",
                "request_id": self._request_id,
                "code": "CONFIGURE_KEYTERMS_NOT_SUPPORTED",
                "description": f"model '{self._model.name}' takes nothing new while it listens",
            }
        )

    def _metadata(self) -> Mapping[str, Any]:
        return {
            "request_id": self._request_id,
            "model_info": model_info(self._model),
            "model_uuid": model_uuid(self._model),
        }

    def _summary(self) -> Mapping[str, Any]:
        return {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self._request_id,
            "sha256": self._digest.hexdigest(),
            "created": world().chosen(_now),
            "duration": round(max(each.stream.heard_seconds for each in self._channels), 4),
            "channels": self._options.declared.channels,
            "models": [model_uuid(self._model)],
            "model_info": {model_uuid(self._model): model_info(self._model)},
        }


@final
class _Channel:
    """What one stream hears, and the `Finalize` messages that it has not answered yet."""

    def __init__(self, voice: _Voice, results: ChannelResults) -> None:
        self.stream: SpeechStream
        self.is_over = False
        self._voice = voice
        self._results = results
        self._finalizing = 0
        self._held: dict[str, Any] | None = None

    def finalize(self) -> None:
        self._finalizing += 1
        self.stream.flush()

    def on_text(self, event: TextEvent) -> None:
        for message in self._results.of(event):
            self._release()
            if self._finalizing and message.get("is_final"):
                # It may be the answer, which must say so: the next event or mark will tell.
                self._held = message
            else:
                self._voice.say(message)

    def on_flushed(self, marker: object) -> None:
        self._finalizing -= 1
        answer, self._held = self._held or self._results.so_far(), None
        self._voice.say({**answer, "from_finalize": True})

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        self._release()
        for message in self._results.rest():
            self._voice.say(message)
        self.is_over = True
        self._voice.on_channel_end(reason, failure)

    def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._voice.say(held)


def model_info(model: SpeechModel) -> Mapping[str, str]:
    """What Deepgram says of a model."""
    return {"name": model.name, "version": model.version, "arch": "streamgate"}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def model_uuid(model: SpeechModel) -> str:
    """The same for the same model and version, everywhere."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{model.name}/{model.version}"))
