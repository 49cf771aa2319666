"""One client's conversation, whatever connection carries it just now, or none.

    conversation --emit--> Session (keeps, numbers) --> the connection that it is attached to
    conversation <--counts-- Session <-- _Attachment <-- the same

When its connection is lost, it is detached: the conversation goes on with what it has, and what it
says is kept until its client comes back, within limits.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, final

from streamgate.frontends.sockets.contract import (
    Accepted,
    Conversation,
    Grant,
    Manners,
    Message,
    Portable,
    Received,
    Silence,
)
from streamgate.frontends.sockets.kept import KeepLimits, KeptEvents
from streamgate.frontends.sockets.record import Record, Unrecorded
from streamgate.snapshot.codec import CodecError

log = logging.getLogger(__name__)

SUPERSEDED: Final = (4409, "superseded: the session was resumed over another connection")
"""How a connection is closed whose session another one has taken over."""

_M = TypeVar("_M", str, bytes)


@dataclass(frozen=True, slots=True)
class SessionState:
    """What a session goes on from: its conversation's state, how many messages of its client's
    have come and the bytes of the binary ones, and how many events it has said."""

    conversation: bytes
    messages: int
    bytes: int
    events: int


class Carrier(Protocol):
    """A connection, as far as a session knows it."""

    def emit(self, message: Message) -> None: ...

    def close(self, code: int, reason: str) -> None: ...

    def room(self) -> None: ...

    @property
    def was_upgraded(self) -> bool:
        """Whether its client has come as far as that."""

    @property
    def is_lost(self) -> bool:
        """Asked once it is over: whether that was nobody's wish."""


class Shelf(Protocol):
    """Where sessions wait that are detached."""

    def shelve(self, session: "Session") -> bool:
        """A session has lost its connection. False if it can't wait."""

    def forget(self, session: "Session", why: str) -> None:
        """A session is over."""


@final
class Session:
    """A conversation that outlives its connections. An `Outlet` to it.

    What has come is counted as soon as the conversation has taken it, what goes out is numbered:
    both sides know at any time what the other one has.
    """

    def __init__(
        self,
        number: bytes,
        dialect: str,
        grant: Grant,
        limits: KeepLimits,
        shelf: Shelf,
        record: Record | None = None,
    ) -> None:
        """`number` is what its token says; `dialect` the name of its dialect. With a `record`, the
        client is told what is stored there."""
        self.number = number
        self.dialect = dialect
        self._grant = grant
        self._shelf = shelf
        self._kept = KeptEvents(limits)
        self._record: Record = Unrecorded() if record is None else record
        # What was said and not told yet: the first `_unstored` of them wait to be stored.
        self._untold: deque[Message] = deque()
        self._unstored = 0
        self._passed_over = 0
        self.subprotocol: str | None = None
        self._conversation: Conversation | None = None
        self._manners: Manners = Silence()
        self._attachment: Attachment | None = None
        self._first: Attachment | None = None
        self._messages = 0
        self._bytes = 0
        self._pending: asyncio.Future[None] | None = None
        self._closing: tuple[int, str] | None = None
        self._is_over = False

    @property
    def grant(self) -> Grant:
        return self._grant

    @property
    def seconds(self) -> float:
        """For how long it waits for its client."""
        return self._grant.seconds

    @property
    def has_ended(self) -> bool:
        return self._closing is not None

    @property
    def next_event(self) -> int:
        return self._kept.last + 1

    @property
    def kept_bytes(self) -> int:
        """The bytes of the messages that are kept."""
        return self._kept.size_bytes

    @property
    def received(self) -> Received:
        """What has come of the client's, over all connections."""
        return Received(self._messages, self._bytes)

    @property
    def is_attached(self) -> bool:
        return self._attachment is not None

    def begin(self, answer: Accepted, carrier: Carrier) -> "Attachment":
        """The handshake led to this conversation, over this connection."""
        self.settle_in(answer)
        self._attachment = attachment = Attachment(self, carrier, 0, 0)
        self._first = attachment
        self._say_again(carrier, 0)
        return attachment

    def within(self) -> AbstractContextManager[None]:
        """Where its conversation is made, and is called."""
        return self._record.within()

    def settle_in(self, answer: Accepted) -> None:
        """The handshake led to this conversation."""
        self._conversation = answer.conversation
        self._manners = answer.manners
        self.subprotocol = answer.subprotocol
        self._record.admitted()

    async def stored(self) -> None:
        """Wait until what was received by now can't be lost with this process any more. Another
        process may turn out to have taken the session: it is over then."""
        await self._record.stored()

    def pass_over(self, count: int) -> None:
        """What is said again of the first so many messages is not kept."""
        self._passed_over = count

    def state(self) -> SessionState | None:
        """What `restore` goes on from; None where that can't be had now."""
        conversation = _portable(self._conversation)
        if self._pending is not None or self._closing is not None or conversation is None:
            return None
        state = conversation.state()
        if state is None:
            return None
        return SessionState(state, self._messages, self._bytes, self._kept.last)

    def restore(self, state: SessionState, events: Sequence[Message], dropped: int) -> None:
        """Its conversation has just been made again: go on from there. `events` are those that are
        kept of what it had said by then, behind the first `dropped`. Raises CodecError and
        StreamGateError."""
        conversation = _portable(self._conversation)
        if conversation is None:
            raise CodecError("a conversation that has no states has one")
        conversation.restore(state.conversation)
        self._messages, self._bytes = state.messages, state.bytes
        self._kept.restart(min(dropped, state.events))
        for event in events:
            self._kept.add(event)
        if self._kept.last != state.events:
            raise CodecError(f"{self._kept.last} events are kept, expected {state.events}")

    @property
    def pending(self) -> "asyncio.Future[None] | None":
        """What the last message of the client's has to wait for."""
        return self._pending

    @property
    def has_conversation(self) -> bool:
        """Whether the handshake has led to one, which is not over."""
        return self._conversation is not None

    def go_on(self, grant: Grant) -> None:
        """It was begun in another process, and goes on in this one."""
        self._grant = grant

    def resume(self, carrier: Carrier, last_event: int) -> "Attachment":
        """Go on over this connection, behind the event that the client had last. One that still
        carries it is told, and closed.

        Raises StreamGateError (INVALID_ARG) for an event that can't be gone on from; nothing has
        changed then.
        """
        self._told_after(last_event)
        old, self._attachment = self._attachment, None
        if old is not None:
            old.is_current = False
            farewell = self._manners.superseded()
            if farewell is not None:
                old.carrier.emit(farewell)
            old.carrier.close(*SUPERSEDED)
        greeting = self._manners.resumed(self._grant, self.received, last_event)
        if greeting is not None:
            carrier.emit(greeting)
        attachment = Attachment(self, carrier, last_event, 0 if greeting is None else 1)
        self._attachment = attachment
        self._say_again(carrier, last_event)
        if self._conversation is not None and self._closing is None:
            self._conversation.resume()
        return attachment

    def keep(self) -> None:
        """Called now and then while it is detached."""
        if self._conversation is not None and self._closing is None:
            self._conversation.keep()

    def end(self, why: str) -> None:
        """Give everything up. Idempotent."""
        if self._is_over:
            return
        self._is_over = True
        if self._attachment is not None:
            self._attachment.is_current = False
        # Nothing of it is left to be found by the collector of garbage.
        conversation, self._conversation = self._conversation, None
        self._attachment = self._first = None
        self._kept.clear()
        self._untold.clear()
        if self._pending is not None:
            self._pending.cancel()
        if conversation is not None:
            conversation.on_gone()
        self._record.end(why)
        self._shelf.forget(self, why)

    def supersede(self) -> None:
        """It goes on in another process: whoever is here is told, and nothing more is."""
        attachment = self._attachment
        if attachment is not None:
            farewell = self._manners.superseded()
            if farewell is not None:
                attachment.carrier.emit(farewell)
            attachment.carrier.close(*SUPERSEDED)
        self.end("taken")

    def emit(self, message: Message) -> None:
        if self._is_over:
            return
        number = self._kept.last + 1
        if number <= self._passed_over:
            self._kept.pass_over()
        else:
            self._kept.add(message)
        if self._record.said(number, message, self._on_stored):
            self._unstored += 1
            self._untold.append(message)
        elif self._untold:
            # Behind those that still wait.
            self._untold.append(message)
        else:
            self._tell(message)
        if self._attachment is not None:
            if self._kept.is_overfull:
                self._record.dropped(self._kept.drop_excess())
        elif self._conversation is not None and not self._record.is_past:
            self._bear()

    def _on_stored(self) -> None:
        """The oldest message that waits is stored."""
        if not self._untold:
            return
        self._unstored -= 1
        self._tell(self._untold.popleft())
        while self._untold and not self._unstored:
            self._tell(self._untold.popleft())
        self._close_if_told()

    def _tell(self, message: Message) -> None:
        if self._attachment is not None:
            self._attachment.carrier.emit(message)

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._closing = (code, reason)
            self._close_if_told()

    def _close_if_told(self) -> None:
        if self._closing is not None and self._attachment is not None and not self._untold:
            self._attachment.carrier.close(*self._closing)

    def room(self) -> None:
        if self._attachment is not None:
            self._attachment.carrier.room()

    @property
    def has_room(self) -> bool:
        if self._pending is not None or self._conversation is None:
            return False
        return self._conversation.has_room

    def on_text(self, text: str) -> Awaitable[None] | None:
        assert self._conversation is not None
        self._messages += 1
        self._record.heard(text)
        return self._take(self._conversation.on_text, text)

    def on_binary(self, data: bytes) -> Awaitable[None] | None:
        assert self._conversation is not None
        self._messages += 1
        self._bytes += len(data)
        self._record.heard(data)
        return self._take(self._conversation.on_binary, data)

    def pause(self) -> None:
        if self._conversation is not None:
            self._conversation.pause()

    def unpause(self) -> None:
        if self._conversation is not None:
            self._conversation.resume()

    def heard(self, number: int) -> None:
        """The client has got every event up to this one."""
        dropped = self._kept.heard(number)
        if dropped:
            self._record.dropped(dropped)

    def on_carrier_gone(self, attachment: "Attachment") -> None:
        """A connection is over."""
        if attachment is not self._attachment or self._is_over:
            return
        self._attachment = None
        attachment.is_current = False
        carrier = attachment.carrier
        if attachment is self._first and not carrier.was_upgraded:
            self.end("refused")
        elif not carrier.is_lost:
            self.end("ended")
        elif not self._shelf.shelve(self):
            self.end("not kept")
        elif self._closing is None:
            assert self._conversation is not None
            # It may have been paused for a client that read slowly.
            self._conversation.resume()
            self._bear()

    def _say_again(self, carrier: Carrier, last_event: int) -> None:
        for message in self._told_after(last_event):
            carrier.emit(message)
        if self._closing is not None and not self._untold:
            carrier.close(*self._closing)

    def _told_after(self, number: int) -> Sequence[Message]:
        """What was told behind this event. Raises StreamGateError (INVALID_ARG)."""
        return self._kept.after(number, self._kept.last - len(self._untold))

    def _bear(self) -> None:
        """What nobody hears piles up: hold its source up, and give up when that is not enough."""
        assert self._conversation is not None
        if self._kept.is_overfull:
            # Not from within the conversation, which is just saying something.
            asyncio.get_running_loop().call_soon(self._outgrow)
        elif self._kept.is_half_full and self._closing is None:
            self._conversation.pause()

    def _outgrow(self) -> None:
        if self._attachment is None:
            log.info("a session's messages outgrew their limit while its client was away: given up")
            self.end("outgrown")

    def _take(
        self, take: Callable[[_M], Awaitable[None] | None], message: _M
    ) -> Awaitable[None] | None:
        """What is to be waited for is waited for, though the connection be lost meanwhile."""
        with self._record.within():
            try:
                wait = take(message)
            except BaseException:
                self.end("failed")
                raise
            if wait is None:
                return None
            self._pending = pending = asyncio.ensure_future(wait)
        pending.add_done_callback(self._settle)
        return asyncio.shield(pending)

    def _settle(self, pending: "asyncio.Future[None]") -> None:
        self._pending = None
        if not pending.cancelled() and pending.exception() is not None:
            self.end("failed")
        self._record.settled()
        self.room()


@final
class Attachment:
    """A session over one connection: the connection's `Conversation`.

    `is_current` until the session has lost it or gone on elsewhere. It goes on behind event
    `first`; `unnumbered` messages that are none of the session's go before what follows it.
    """

    def __init__(self, session: Session, carrier: Carrier, first: int, unnumbered: int) -> None:
        self.carrier = carrier
        self.is_current = True
        self._session = session
        self._offset = first - unnumbered

    @property
    def has_room(self) -> bool:
        # What comes over a connection that was superseded is dropped.
        return self._session.has_room if self.is_current else True

    def on_text(self, text: str) -> Awaitable[None] | None:
        return self._session.on_text(text) if self.is_current else None

    def on_binary(self, data: bytes) -> Awaitable[None] | None:
        return self._session.on_binary(data) if self.is_current else None

    def pause(self) -> None:
        if self.is_current:
            self._session.pause()

    def resume(self) -> None:
        if self.is_current:
            self._session.unpause()

    def keep(self) -> None:
        """The client is here."""

    def on_heard(self, count: int) -> None:
        """The client has got so many messages over this connection."""
        if self.is_current:
            self._session.heard(self._offset + count)

    def on_gone(self) -> None:
        self._session.on_carrier_gone(self)


def _portable(conversation: object) -> Portable | None:
    return conversation if isinstance(conversation, Portable) else None
