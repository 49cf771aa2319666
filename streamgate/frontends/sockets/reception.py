"""Who is let in: a new conversation, or one that is resumed, or a refusal in the client's words.

The same for a port of its own and for the HTTP front end's.
"""

from collections.abc import Callable
from typing import Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.sockets.connection import SocketConnection
from streamgate.frontends.sockets.contract import Accepted, Dialect, Handshake, Refusal
from streamgate.frontends.sockets.relay import relayed
from streamgate.frontends.sockets.resumption import Resumption
from streamgate.frontends.sockets.session import Session

TOKEN_HEADER: Final = "StreamGate-Resume"  # noqa: S105 - a header's name
RECEIVED_HEADER: Final = "StreamGate-Received"
EVENT_HEADER: Final = "StreamGate-Last-Event"

_LAST_EVENT_DIGITS_MAX: Final = 18


@final
class Reception:
    """Answers handshakes, and attaches what comes of them to their connections."""

    def __init__(
        self, is_accepting: Callable[[], bool], resumption: Resumption | None = None
    ) -> None:
        """Without `resumption`, no session can be resumed."""
        self._is_accepting = is_accepting
        self._resumption = resumption

    async def receive(
        self, dialect: Dialect, handshake: Handshake, connection: SocketConnection
    ) -> Accepted | Refusal:
        """Decide. A server that accepts nothing new still lets sessions be resumed."""
        wish = _wish(handshake)
        if wish not in ("", "on", "off"):
            return await self._resume(dialect, handshake, connection, wish)
        if not self._is_accepting():
            return Refusal(503, "the server is not accepting connections\n")
        wants = wish == "on" or (dialect.offers_resume and wish != "off")
        if self._resumption is not None and wants:
            return await self._begin(self._resumption, dialect, handshake, connection)
        answer = await dialect.admit(handshake, connection)
        if isinstance(answer, Accepted):
            connection.attach(answer.conversation)
        return answer

    async def _begin(
        self,
        resumption: Resumption,
        dialect: Dialect,
        handshake: Handshake,
        connection: SocketConnection,
    ) -> Accepted | Refusal:
        session = resumption.open(dialect.name, handshake)
        try:
            with session.within():
                answer = await dialect.admit(handshake, session)
        except BaseException:
            session.end("failed")
            raise
        if isinstance(answer, Refusal):
            session.end("refused")
            return answer
        attachment = session.begin(answer, connection)
        connection.attach(attachment, attachment.on_heard)
        headers = {**answer.headers, TOKEN_HEADER: session.grant.token}
        return Accepted(attachment, answer.subprotocol, headers)

    async def resume_here(
        self, dialect: Dialect, handshake: Handshake, connection: SocketConnection
    ) -> Accepted | Refusal:
        """As `receive`, for a client that another process relays: it resumes a session of this one,
        or nothing."""
        barred = dialect.bar(handshake)
        if barred is not None:
            return barred
        try:
            resumption = self._kept()
            claim = resumption.read(_wish(handshake))
            session = await resumption.bring(claim, dialect, handshake)
            return self._go_on(resumption, session, handshake, connection)
        except StreamGateError as error:
            return dialect.refuse(error.failure)

    async def _resume(
        self, dialect: Dialect, handshake: Handshake, connection: SocketConnection, token: str
    ) -> Accepted | Refusal:
        barred = dialect.bar(handshake)
        if barred is not None:
            return barred
        try:
            resumption = self._kept()
            claim = resumption.read(token)
            path = resumption.path_to(claim)
            if path is not None and not resumption.has(claim):
                try:
                    answer = await relayed(path, dialect, handshake, connection)
                except StreamGateError:
                    # The process is gone, or frozen: what it had may be in the store.
                    if not resumption.is_taped:
                        raise
                else:
                    resumption.count_relayed()
                    return answer
            session = await resumption.bring(claim, dialect, handshake)
            return self._go_on(resumption, session, handshake, connection)
        except StreamGateError as error:
            return dialect.refuse(error.failure)

    def _kept(self) -> Resumption:
        if self._resumption is None:
            raise StreamGateError(
                Code.UNSUPPORTED, "this server keeps no sessions that could be resumed"
            )
        return self._resumption

    def _go_on(
        self,
        resumption: Resumption,
        session: Session,
        handshake: Handshake,
        connection: SocketConnection,
    ) -> Accepted:
        """Raises StreamGateError for a session that can't be gone on with from there."""
        received = session.received
        try:
            attachment = session.resume(connection, _last_event(handshake))
        except StreamGateError:
            resumption.refuse("gap")
            raise
        resumption.take_down(session)
        connection.attach(attachment, attachment.on_heard)
        headers = {
            TOKEN_HEADER: session.grant.token,
            RECEIVED_HEADER: f"messages={received.messages}, bytes={received.bytes}",
        }
        offered = session.subprotocol in handshake.subprotocols
        return Accepted(attachment, session.subprotocol if offered else None, headers)


def _wish(handshake: Handshake) -> str:
    """What the client wants: a token, `on`, `off`, or "" for what is usual."""
    return handshake.headers.get(TOKEN_HEADER.lower()) or handshake.value("resume")


def _last_event(handshake: Handshake) -> int:
    """The event that the client had last; 0 for none. Raises StreamGateError (INVALID_ARG)."""
    text = handshake.headers.get(EVENT_HEADER.lower()) or handshake.value("last_event") or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= _LAST_EVENT_DIGITS_MAX):
        raise StreamGateError(
            Code.INVALID_ARG, f"'last_event' is '{text[:100]}', expected a number of events"
        )
    return int(text)
