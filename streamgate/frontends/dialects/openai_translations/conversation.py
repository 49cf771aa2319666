"""One translation session: what its client says."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, final

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
from streamgate.frontends.dialects.openai_translations.duet import Duet
from streamgate.frontends.dialects.openai_translations.session import Session, changed
from streamgate.frontends.sockets.contract import Grant, Outlet, Received
from streamgate.frontends.speech import SpeechContext, SpeechModel, TranslationModel
from streamgate.frontends.world import world

_Request = Callable[[dict[str, Any]], Awaitable[None] | None]

EXPIRY_SECONDS: Final = 24 * 3600
"""What a client is told where its model knows no limit: it must be told something."""


@final
class TranslationConversation:
    """A `Conversation` for each connection. What is wrong with a message is told, and the session
    stays open as it was."""

    def __init__(self, context: SpeechContext, outlet: Outlet) -> None:
        self._context = context
        self._outlet = outlet
        self._session = Session()
        self._session_id = new_id("sess")
        self._expires_at = 0
        self._duet = Duet(context, outlet, lambda: self._session)
        self._has_audio = False
        self._is_closing = False
        self._requests: Mapping[str, _Request] = {
            "session.update": self._on_update,
            "session.input_audio_buffer.append": self._on_append,
            "session.close": self._on_close,
        }

    async def open(self, session: Session) -> None:
        """Take the slots, then greet. Raises StreamGateError."""
        hearer, translator = await self._models(session.model)
        await self._duet.open(hearer, translator, session.language)
        self._session = session
        self._expires_at = world().chosen(lambda: int(time.time() + _lifetime_seconds(hearer)))
        self._tell_session("session.created")

    @property
    def has_room(self) -> bool:
        return self._duet.has_room

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
        self._duet.pause()

    def resume(self) -> None:
        self._duet.resume()

    def resumed(self, grant: Grant, received: Received, last_event: int) -> str:
        shown = {**self._shown(), **resumed_field(grant, received, last_event)}
        return server_event("session.updated", session=shown)

    def superseded(self) -> str:
        return superseded_event()

    def keep(self) -> None:
        self._duet.keep()

    def on_gone(self) -> None:
        self._duet.leave()

    def _on_update(self, event: dict[str, Any]) -> Awaitable[None] | None:
        if "session" not in event:
            raise OpenAiError(
                "The event has no 'session'.", "session", "missing_required_parameter"
            )
        session = changed(self._session, event["session"])
        if session.language != self._session.language:
            return self._turn(session, event_id_of(event))
        self._session = session
        self._tell_session("session.updated")
        return None

    async def _turn(self, session: Session, event_id: str | None) -> None:
        """Another language: perhaps by the same model, else only before there is audio."""
        try:
            await self._translate_into(session.language)
        except StreamGateError as error:
            told = error_event(error, event_id, "session.audio.output.language")
            self._outlet.emit(told)
            return
        self._session = session
        self._tell_session("session.updated")

    async def _translate_into(self, language: str) -> None:
        now = self._duet.translation
        models = self._context.models
        source = _source(self._duet.speech.model)
        try:
            await models.choose_translation(now.model.name, source, language)
        except StreamGateError:
            other = await models.choose_translation("", source, language)
        else:
            now.turn_to(language)
            return
        if self._has_audio:
            raise OpenAiError(
                f"Only another model translates into '{language}', and models can only be changed "
                "before audio is appended.",
                "session.audio.output.language",
                "session_update_not_allowed",
            )
        await self._duet.translate(other, language)

    def _on_append(self, event: dict[str, Any]) -> None:
        if self._is_closing:
            raise OpenAiError("Audio came after session.close.", "type")
        audio = read_audio(event)
        self._has_audio = True
        self._duet.speech.feed(audio)

    def _on_close(self, event: dict[str, Any]) -> None:
        """Everything that was heard is translated before the session is closed."""
        self._is_closing = True
        self._duet.speech.finish()

    async def _models(self, name: str) -> tuple[SpeechModel, TranslationModel]:
        """Who hears and who translates. A client names either of them, or none.

        Raises StreamGateError (NOT_FOUND).
        """
        models = self._context.models
        if name:
            try:
                translator = await models.choose_translation(name)
            except StreamGateError:
                pass
            else:
                sources = translator.source_languages
                return await models.choose("", sources[0] if sources else ""), translator
        hearer = await models.choose(name, stand_ins=STAND_INS)
        return hearer, await models.choose_translation("", _source(hearer))

    def _tell_session(self, kind: str) -> None:
        shown = {**self._shown(), **resume_field(self._outlet)}
        self._outlet.emit(server_event(kind, session=shown))

    def _shown(self) -> dict[str, Any]:
        duet = self._duet
        return self._session.as_object(
            self._session_id,
            duet.translation.model.name,
            duet.speech.model.name,
            duet.translation.target,
            self._expires_at,
        )


def _source(model: SpeechModel) -> str:
    """The language that it hears."""
    return model.languages[0] if model.languages else ""


def _lifetime_seconds(model: SpeechModel) -> float:
    sequences = model.config.sequences
    lifetime_ns = sequences.max_lifetime_ns if sequences is not None else 0
    return lifetime_ns / 1e9 if lifetime_ns else EXPIRY_SECONDS
