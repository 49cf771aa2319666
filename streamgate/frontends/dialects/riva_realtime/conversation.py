"""One session: what its client says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
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
from streamgate.frontends.dialects.riva_realtime.results import Results
from streamgate.frontends.dialects.riva_realtime.session import Session, changed
from streamgate.frontends.dialects.seat import Seat, Wish
from streamgate.frontends.sockets.contract import Outlet
from streamgate.frontends.speech import SpeechContext

_Request = Callable[[dict[str, Any]], Awaitable[None] | None]


@final
class RivaConversation:
    """A `Conversation` for each connection. What is wrong with a message is told, and the session
    stays open; NVIDIA's own client gives up at any error."""

    def __init__(self, context: SpeechContext, outlet: Outlet) -> None:
        self._context = context
        self._outlet = outlet
        self._session = Session()
        self._session_id = new_id("sess")
        self._seat = Seat(context, Results(outlet, lambda: self._session))
        self._has_audio = False
        self._is_done = False
        self._requests: Mapping[str, _Request] = {
            "transcription_session.update": self._on_update,
            "input_audio_buffer.append": self._on_append,
            "input_audio_buffer.commit": self._on_commit,
            "input_audio_buffer.done": self._on_done,
        }

    async def open(self) -> None:
        """Take a slot of the usual model, then greet. Raises StreamGateError."""
        await self._seat.take(await self._wish(self._session))
        conversation = {"id": new_id("conv"), "object": "realtime.conversation"}
        self._outlet.emit(server_event("conversation.created", conversation=conversation))

    @property
    def has_room(self) -> bool:
        return self._seat.stream.has_room

    def on_text(self, text: str) -> Awaitable[None] | None:
        event: dict[str, Any] = {}
        try:
            event = read_event(text)
            request = self._requests.get(event["type"])
            if request is None:
                raise invalid("type", event["type"], f"one of {', '.join(self._requests)}")
            return request(event)
        except StreamGateError as error:
            self._outlet.emit(error_event(error, event_id_of(event), "audio"))
        return None

    def on_binary(self, data: bytes) -> Awaitable[None] | None:
        error = OpenAiError(
            "A binary frame came, expected JSON in text frames.", None, "invalid_json"
        )
        self._outlet.emit(error_event(error))
        return None

    def pause(self) -> None:
        self._seat.stream.pause()

    def resume(self) -> None:
        self._seat.stream.resume()

    def keep(self) -> None:
        self._seat.keep()

    def on_gone(self) -> None:
        self._seat.leave()

    def _on_update(self, event: dict[str, Any]) -> Awaitable[None]:
        session = changed(self._session, event.get("session"))
        if self._has_audio:
            raise OpenAiError(
                "The session can only be changed before audio is appended.",
                "session",
                "session_update_not_allowed",
            )
        return self._change(session, event_id_of(event))

    async def _change(self, session: Session, event_id: str | None) -> None:
        try:
            await self._seat.take(await self._wish(session))
        except StreamGateError as error:
            place = "session.input_audio_transcription.model"
            self._outlet.emit(error_event(error, event_id, place))
            return
        self._session = session
        shown = session.as_object(self._session_id, self._seat.stream.model.name)
        self._outlet.emit(server_event("transcription_session.updated", session=shown))

    def _on_append(self, event: dict[str, Any]) -> None:
        if self._is_done:
            raise OpenAiError("Audio came after input_audio_buffer.done.", "type")
        audio = read_audio(event)
        self._has_audio = True
        self._seat.stream.feed(audio)
        told = event.get("runtime_config")
        if isinstance(told, dict) and str(told.get("force_eou", "")).lower() == "true":
            self._seat.stream.flush()

    def _on_commit(self, event: dict[str, Any]) -> None:
        """Each chunk is heard as it is appended, and clients commit each: no news."""

    def _on_done(self, event: dict[str, Any]) -> None:
        self._is_done = True
        self._seat.stream.finish()

    async def _wish(self, session: Session) -> Wish:
        model = await self._context.models.choose(session.model, session.language)
        return Wish(model, session.declared, session.parameters)
