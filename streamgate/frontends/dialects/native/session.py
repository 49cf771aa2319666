"""One client's streams: its speech, and a translation of it for each language asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from streamgate.errors import EndReason, EndWarning, Failure
from streamgate.frontends.dialects.native import messages
from streamgate.frontends.sockets.contract import Outlet
from streamgate.frontends.speech import (
    Declared,
    SpeechModel,
    SpeechStream,
    TextEvent,
    TranslationModel,
)
from streamgate.frontends.speech.stream import SpeechState
from streamgate.frontends.speech.translation import TranslationState, TranslationStream
from streamgate.model.request import ParameterValue, SequenceKey
from streamgate.session.gateway import Gateway
from streamgate.snapshot.codec import decode_value, encode_value

_CLOSE_CODES: Final[Mapping[EndReason, int]] = {
    EndReason.CLIENT_END: 1000,
    EndReason.IDLE: 4001,
    EndReason.LIFETIME: 4002,
    EndReason.DRAINED: 1012,
    EndReason.PREEMPTED: 1013,
}


@dataclass(frozen=True, slots=True)
class _State:
    speech: SpeechState
    translations: Sequence[TranslationState]


@final
class Session:
    """The streams of one connection, and the sink of its speech.

    The client is told of the end when the speech and all translations of it have ended. One that
    fails takes the others with it: half of what was asked for is not what was asked for.
    """

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._translations: dict[str, TranslationStream] = {}
        self._speech: SpeechStream | None = None
        self._open = 0
        self._is_over = False

    @property
    def speech(self) -> SpeechStream:
        assert self._speech is not None
        return self._speech

    @property
    def has_room(self) -> bool:
        return self.speech.has_room and all(each.has_room for each in self._translations.values())

    async def hear(
        self,
        gateway: Gateway,
        model: SpeechModel,
        declared: Declared,
        parameters: Mapping[str, ParameterValue],
    ) -> None:
        """Take a slot. Raises StreamGateError."""
        self._speech = SpeechStream(gateway, model, declared, self, parameters, self._on_warning)
        await self._speech.open()
        self._open += 1

    async def translate(self, gateway: Gateway, model: TranslationModel, target: str) -> None:
        """Take a slot of the translator's. Raises StreamGateError."""
        stream = TranslationStream(gateway, model, target, _Translation(self, target))
        self._translations[target] = stream
        await stream.open()
        self._open += 1

    def state(self) -> bytes | None:
        """What `restore` goes on from; None while anything is under way."""
        speech = self.speech.state()
        translations = [each.state() for each in self._translations.values()]
        known = [each for each in translations if each is not None]
        if speech is None or len(known) < len(translations):
            return None
        return encode_value(_State(speech, known))

    def restore(self, state: bytes) -> None:
        """Go on from there. Raises CodecError and StreamGateError."""
        known = decode_value(state, _State)
        self.speech.restore(known.speech)
        for stream, each in zip(self._translations.values(), known.translations, strict=True):
            stream.restore(each)

    def pause(self) -> None:
        self.speech.pause()
        for each in self._translations.values():
            each.pause()

    def resume(self) -> None:
        self.speech.resume()
        for each in self._translations.values():
            each.resume()

    def keep(self) -> None:
        """The client is away, and may come back."""
        self.speech.keep()
        for each in self._translations.values():
            each.keep()

    def close(self) -> None:
        """Give everything up. Idempotent."""
        self._is_over = True
        if self._speech is not None:
            self._speech.close()
        for each in self._translations.values():
            each.close()

    def on_text(self, event: TextEvent) -> None:
        lag_seconds = self.speech.heard_seconds - event.audio_seconds
        self._outlet.emit(messages.text(event, lag_seconds))
        for each in self._translations.values():
            each.take(event)

    def on_translated(self, target: str, event: TextEvent) -> None:
        self._outlet.emit(messages.translation(target, event))

    def on_flushed(self, marker: object) -> None:
        self._outlet.emit(messages.flushed(str(marker)))

    def on_room(self) -> None:
        self._outlet.room()

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        """The speech has ended, and its translations end with it."""
        for each in self._translations.values():
            each.finish()
        self.on_one_ended(reason, failure)

    def _on_warning(self, model: str, sequence: SequenceKey, warning: EndWarning) -> None:
        if not self._is_over:
            self._outlet.emit(messages.warning(warning))

    def on_one_ended(self, reason: EndReason, failure: Failure | None) -> None:
        if self._is_over:
            return
        self._open -= 1
        if self._open and failure is None:
            return
        self.close()
        if failure is not None:
            self._outlet.emit(messages.error(failure.code, failure.message))
        self._outlet.emit(messages.ended(reason.value))
        self._outlet.close(_CLOSE_CODES.get(reason, 1011), reason.value)


@final
class _Translation:
    """One translation's sink."""

    def __init__(self, session: Session, target: str) -> None:
        self._session = session
        self._target = target

    def on_text(self, event: TextEvent) -> None:
        self._session.on_translated(self._target, event)

    def on_room(self) -> None:
        self._session.on_room()

    def on_end(self, reason: EndReason, failure: Failure | None) -> None:
        self._session.on_one_ended(reason, failure)
