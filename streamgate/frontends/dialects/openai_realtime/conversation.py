"""One transcription session: what its client says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from streamgate.errors import StreamGateError
from streamgate.frontends.dialects.openai.errors import OpenAiError, invalid
from streamgate.frontends.dialects.openai.messages import (
    error_event,
    event_id_of,
    new_id,
    read_audio,
    read_event,
    server_event,
)
from streamgate.frontends.dialects.openai.names import STAND_INS
from streamgate.frontends.dialects.openai.resuming import (
    resume_field,
    resumed_field,
    superseded_event,
)
from streamgate.frontends.dialects.openai_realtime.session import (
    FORMATS,
    ServerVad,
    Session,
    changed,
)
from streamgate.frontends.dialects.openai_realtime.turns import Turns, TurnsState
from streamgate.frontends.dialects.seat import Seat, Wish
from streamgate.frontends.sockets.contract import Grant, Outlet, Received
from streamgate.frontends.speech import SpeechContext
from streamgate.frontends.speech.stream import SpeechState
from streamgate.snapshot.codec import CodecError, decode_value, encode_value

_Request = Callable[[dict[str, Any]], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class _State:
    """A session when nothing is under way: model, language and prompt of its settings, and the
    rest of them; how much was appended; its stream; its turns."""

    texts: tuple[str, str, str]
    format: str
    turn_detection: ServerVad | None
    include: Sequence[str]
    appended_seconds: float
    speech: SpeechState
    turns: TurnsState


@final
class TranscriptionConversation:
    """A `Conversation` for each connection. What is wrong with a message is told, and the session
    stays open as it was."""

    def __init__(self, context: SpeechContext, outlet: Outlet) -> None:
        self._context = context
        self._outlet = outlet
        self._session = Session()
        self._session_id = new_id("sess")
        self._turns = Turns(outlet, lambda: self._session)
        self._seat = Seat(context, self._turns)
        self._appended_seconds = 0.0
        self._requests: Mapping[str, _Request] = {
            "session.update": self._on_update,
            "input_audio_buffer.append": self._on_append,
            "input_audio_buffer.commit": self._on_commit,
            "input_audio_buffer.clear": self._on_clear,
        }

    async def open(self, session: Session) -> None:
        """Take a slot, then greet. Raises StreamGateError."""
        await self._seat.take(await self._wish(session))
        self._session = session
        self._tell_session("session.created")

    @property
    def has_room(self) -> bool:
        return self._seat.stream.has_room and self._turns.has_room

    def on_text(self, text: str) -> Awaitable[None] | None:
        event: dict[str, Any] = {}
        try:
            event = read_event(text)
            request = self._requests.get(event["type"])
            if request is None:
                raise invalid("type", event["type"], f"one of {', '.join(self._requests)}")
            return request(event)
        except StreamGateError as error:
            self._outlet.emit(error_event(error, event_id_of(event)))
        return None

    def on_binary(self, data: bytes) -> Awaitable[None] | None:
        error = OpenAiError(
            "A binary frame came, expected JSON in text frames, with audio in "
            "input_audio_buffer.append.",
            None,
            "invalid_json",
        )
        self._outlet.emit(error_event(error))
        return None

    def state(self) -> bytes | None:
        speech, turns = self._seat.stream.state(), self._turns.state()
        if speech is None or turns is None:
            return None
        settings = self._session
        return encode_value(
            _State(
                (settings.model, settings.language, settings.prompt),
                settings.format.kind,
                settings.turn_detection,
                settings.include,
                self._appended_seconds,
                speech,
                turns,
            )
        )

    def restore(self, state: bytes) -> None:
        known = decode_value(state, _State)
        kind = FORMATS.get(known.format)
        if kind is None:
            raise CodecError(f"audio of format '{known.format:.40}'")
        self._session = Session(*known.texts, kind, known.turn_detection, known.include)
        self._appended_seconds = known.appended_seconds
        self._seat.stream.declare(self._session.declared, self._session.parameters)
        self._seat.stream.restore(known.speech)
        self._turns.restore(known.turns)

    def pause(self) -> None:
        self._seat.stream.pause()

    def resume(self) -> None:
        self._seat.stream.resume()

    def resumed(self, grant: Grant, received: Received, last_event: int) -> str:
        shown = {**self._shown(), **resumed_field(grant, received, last_event)}
        return server_event("session.updated", session=shown)

    def superseded(self) -> str:
        return superseded_event()

    def keep(self) -> None:
        self._seat.keep()

    def on_gone(self) -> None:
        self._seat.leave()

    def _on_update(self, event: dict[str, Any]) -> Awaitable[None] | None:
        if "session" not in event:
            raise OpenAiError(
                "The event has no 'session'.", "session", "missing_required_parameter"
            )
        old = self._session
        session = changed(old, event["session"])
        is_heard_alike = session.declared == old.declared and session.parameters == old.parameters
        if is_heard_alike and session.model in (old.model, self._seat.stream.model.name):
            self._session = session
            self._tell_session("session.updated")
            return None
        if self._appended_seconds:
            raise OpenAiError(
                "The model, the language, the prompt and the format can only be changed before "
                "audio is appended; begin another session.",
                "session.audio.input",
                "session_update_not_allowed",
            )
        return self._change(session, event_id_of(event))

    async def _change(self, session: Session, event_id: str | None) -> None:
        try:
            await self._seat.take(await self._wish(session))
        except StreamGateError as error:
            self._outlet.emit(
                error_event(error, event_id, "session.audio.input.transcription.model")
            )
            return
        self._session = session
        self._tell_session("session.updated")

    def _on_append(self, event: dict[str, Any]) -> None:
        audio = read_audio(event)
        self._seat.stream.feed(audio)
        self._appended_seconds += self._session.format.seconds(len(audio))

    def _on_commit(self, event: dict[str, Any]) -> None:
        if self._appended_seconds <= self._turns.open_since_seconds:
            raise OpenAiError(
                "Error committing input audio buffer: it is empty, expected audio to be appended "
                "before.",
                None,
                "input_audio_buffer_commit_empty",
            )
        self._seat.stream.flush(self._turns.commit(self._appended_seconds))

    def _on_clear(self, event: dict[str, Any]) -> None:
        if self._appended_seconds > self._turns.open_since_seconds:
            self._seat.stream.flush(self._turns.clear(self._appended_seconds))
        self._outlet.emit(server_event("input_audio_buffer.cleared"))

    async def _wish(self, session: Session) -> Wish:
        model = await self._context.models.choose(
            session.model, session.language, stand_ins=STAND_INS
        )
        return Wish(model, session.declared, session.parameters)

    def _tell_session(self, kind: str) -> None:
        shown = {**self._shown(), **resume_field(self._outlet)}
        self._outlet.emit(server_event(kind, session=shown))

    def _shown(self) -> dict[str, Any]:
        return self._session.as_object(self._session_id, self._seat.stream.model.name)
