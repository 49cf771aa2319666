"""One client of the dialect: audio in binary frames, results in text frames."""

from collections.abc import Awaitable
from typing import Final, final

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.frontends.dialects.native import messages
from streamgate.frontends.dialects.native.session import Session
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Refusal
from streamgate.frontends.sockets.numbered import Numbered, PlainManners
from streamgate.frontends.speech import SpeechContext, bearer

PATH: Final = "/v1/speech"

_STATUS: Final = {
    Code.INVALID_ARG: 400,
    Code.UNSUPPORTED: 400,
    Code.NOT_FOUND: 404,
    Code.UNAVAILABLE: 503,
}
RETRY_SECONDS: Final = 1


@final
class NativeDialect:
    """StreamGate's own: everything that a speech model says."""

    name = "streamgate"
    path = PATH
    offers_resume = True

    def __init__(self, context: SpeechContext) -> None:
        self._context = context

    def matches(self, handshake: Handshake) -> bool:
        return handshake.path == PATH

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        """Take a slot, or say why not: 400, 401, 404, or 503 with Retry-After."""
        barred = self.bar(handshake)
        if barred is not None:
            return barred
        context = self._context.of(_key(handshake))
        outlet = Numbered.unless_cut(outlet)
        session = Session(outlet)
        try:
            wish = messages.read_wish(handshake)
            model = await context.models.choose(wish.model, wish.language)
            translators = {
                target: await context.models.choose_translation(
                    "", wish.language or ",".join(model.languages[:1]), target
                )
                for target in wish.targets
            }
            parameters = {"language": wish.language} if wish.language else {}
            await session.hear(context.gateway, model, wish.declared, parameters)
            for target, translator in translators.items():
                await session.translate(context.gateway, translator, target)
        except StreamGateError as error:
            session.close()
            return self.refuse(error.failure)
        except BaseException:
            session.close()
            raise
        names = {target: translator.name for target, translator in translators.items()}
        outlet.emit(messages.ready(model, session.speech.key, names, outlet.grant))
        return Accepted(_Conversation(session, outlet), manners=PlainManners())

    def bar(self, handshake: Handshake) -> Refusal | None:
        if self._context.access.allows(_key(handshake)):
            return None
        return _refusal(401, "UNAUTHENTICATED", "wrong API key, or none")

    def refuse(self, failure: Failure) -> Refusal:
        status = _STATUS.get(failure.code, 500)
        return _refusal(status, failure.code.value, failure.message)


def _key(handshake: Handshake) -> str:
    # A browser can't send headers with a WebSocket.
    return bearer(handshake.headers.get("authorization", "")) or handshake.value("key")


def _refusal(status: int, code: str, message: str) -> Refusal:
    body = {"type": "error", "code": code, "message": message}
    if status == 503:
        return Refusal.of_json(status, body, Retry_After=str(RETRY_SECONDS))
    return Refusal.of_json(status, body)


@final
class _Conversation:
    """Reads what a client says."""

    def __init__(self, session: Session, outlet: Outlet) -> None:
        self._session = session
        self._stream = session.speech
        self._outlet = outlet

    @property
    def has_room(self) -> bool:
        return self._session.has_room

    def on_text(self, text: str) -> Awaitable[None] | None:
        """What is wrong with a message is answered with `error`; nothing else changes."""
        try:
            kind, marker = messages.read_message(text)
            if kind == "flush":
                self._stream.flush(marker)
            else:
                self._finish()
        except StreamGateError as error:
            self._outlet.emit(messages.error(error.code, error.message))
        return None

    def on_binary(self, data: bytes) -> Awaitable[None] | None:
        """Audio that can't be decoded ends the stream: what came before it is answered."""
        try:
            self._stream.feed(data)
        except StreamGateError as error:
            self._outlet.emit(messages.error(error.code, error.message))
            self._finish()
        return None

    def state(self) -> bytes | None:
        return self._session.state()

    def restore(self, state: bytes) -> None:
        self._session.restore(state)

    def pause(self) -> None:
        self._session.pause()

    def resume(self) -> None:
        self._session.resume()

    def keep(self) -> None:
        self._session.keep()

    def on_gone(self) -> None:
        self._session.close()

    def _finish(self) -> None:
        try:
            self._stream.finish()
        except StreamGateError as error:
            self._outlet.emit(messages.error(error.code, error.message))
