"""The dialect at the handshake, and how it is told from OpenAI's."""

from typing import final

from streamgate.errors import Failure, StreamGateError
from streamgate.frontends.dialects.openai.errors import RETRY_SECONDS, status_of
from streamgate.frontends.dialects.openai.handshake import subprotocol
from streamgate.frontends.dialects.openai.names import KEY_PROTOCOL
from streamgate.frontends.dialects.riva_realtime.conversation import RivaConversation
from streamgate.frontends.dialects.riva_realtime.secret import is_good
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.speech import SpeechContext, bearer

PATH = "/v1/realtime"
TOKEN_PROTOCOL = "realtime-token."  # noqa: S105 - the beginning of a subprotocol's name
OPENAI_AGENTS = ("OpenAI/", "AsyncOpenAI/")


@final
class RivaRealtimeDialect:
    """Shares its path with OpenAI's, and must be asked first: it knows which clients are its own.

    Those are the ones that bring a client secret, which only our `POST` has given them; those that
    bring nothing which tells them apart, if the server was told so (`--realtime-dialect riva`).
    """

    name = "riva-realtime"
    path = PATH
    offers_resume = False

    def __init__(self, context: SpeechContext) -> None:
        self._context = context

    def matches(self, handshake: Handshake) -> bool:
        if handshake.path != PATH:
            return False
        if _token(handshake):
            return True
        if handshake.headers.get("user-agent", "").startswith(OPENAI_AGENTS):
            return False
        if any(each.startswith(KEY_PROTOCOL) for each in handshake.subprotocols):
            return False
        return self._context.realtime_dialect == "riva"

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        """Take a slot, or say why not: 401, 404, or 429 with Retry-After."""
        barred = self.bar(handshake)
        if barred is not None:
            return barred
        context = self._context.of(bearer(handshake.headers.get("authorization", "")))
        conversation = RivaConversation(context, outlet)
        try:
            await conversation.open()
        except StreamGateError as error:
            return self.refuse(error.failure)
        return Accepted(conversation, subprotocol(handshake))

    def bar(self, handshake: Handshake) -> Refusal | None:
        token = _token(handshake)
        if token:
            is_welcome = is_good(token)
        else:
            key = bearer(handshake.headers.get("authorization", ""))
            is_welcome = self._context.access.allows(key)
        if is_welcome:
            return None
        return Refusal.of_json(401, {"detail": "wrong or expired client secret, or none"})

    def refuse(self, failure: Failure) -> Refusal:
        status = status_of(StreamGateError(failure.code, failure.message))
        headers = {"Retry_After": str(RETRY_SECONDS)} if status == 429 else {}
        return Refusal.of_json(status, {"detail": failure.message}, **headers)


def _token(handshake: Handshake) -> str:
    found = (
        each[len(TOKEN_PROTOCOL) :]
        for each in handshake.subprotocols
        if each.startswith(TOKEN_PROTOCOL)
    )
    return next(found, "")
