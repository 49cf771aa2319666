"""The dialect at the handshake."""

from typing import final

from streamgate.errors import Failure, StreamGateError
from streamgate.frontends.dialects.openai.errors import refusal, wrong_key
from streamgate.frontends.dialects.openai.handshake import api_key, subprotocol
from streamgate.frontends.dialects.openai.resuming import resume_error
from streamgate.frontends.dialects.openai_translations.conversation import TranslationConversation
from streamgate.frontends.dialects.openai_translations.session import Session
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.speech import SpeechContext

PATH = "/v1/realtime/translations"


@final
class OpenAiTranslationsDialect:
    """Translation sessions: text only, there is no voice for it."""

    name = "openai-translations"
    path = PATH
    offers_resume = True

    def __init__(self, context: SpeechContext) -> None:
        self._context = context

    def matches(self, handshake: Handshake) -> bool:
        return handshake.path == PATH

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        """Take a slot of the model that hears and one of that which translates, or say why not:
        401, 404, or 429 with Retry-After."""
        barred = self.bar(handshake)
        if barred is not None:
            return barred
        context = self._context.of(api_key(handshake))
        conversation = TranslationConversation(context, outlet)
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
