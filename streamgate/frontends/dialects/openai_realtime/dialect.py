"""The dialect at the handshake."""

from typing import final

from streamgate.errors import Failure, StreamGateError
from streamgate.frontends.dialects.openai.errors import OpenAiError, refusal, wrong_key
from streamgate.frontends.dialects.openai.handshake import api_key, subprotocol
from streamgate.frontends.dialects.openai.resuming import resume_error
from streamgate.frontends.dialects.openai_realtime.conversation import TranscriptionConversation
from streamgate.frontends.dialects.openai_realtime.session import Session
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.speech import SpeechContext

PATH = "/v1/realtime"


@final
class OpenAiRealtimeDialect:
    """Transcription sessions. Mounted behind the Riva realtime dialect, which shares its path."""

    name = "openai-realtime"
    path = PATH
    offers_resume = True

    def __init__(self, context: SpeechContext) -> None:
        self._context = context

    def matches(self, handshake: Handshake) -> bool:
        return handshake.path == PATH

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        """Take a slot, or say why not: 400, 401, 404, or 429 with Retry-After."""
        barred = self.bar(handshake)
        if barred is not None:
            return barred
        context = self._context.of(api_key(handshake))
        intent = handshake.value("intent", "transcription")
        if intent != "transcription":
            return refusal(
                OpenAiError(
                    f"Invalid value for 'intent': '{intent[:100]}', expected 'transcription'.",
                    "intent",
                )
            )
        conversation = TranscriptionConversation(context, outlet)
        try:
            await conversation.open(Session(model=handshake.value("model")))
        except StreamGateError as error:
            return refusal(error)
        return Accepted(conversation, subprotocol(handshake), manners=conversation)

    def bar(self, handshake: Handshake) -> Refusal | None:
        if self._context.access.allows(api_key(handshake)):
            return None
        return refusal(wrong_key())

    def refuse(self, failure: Failure) -> Refusal:
        return refusal(resume_error(failure))
