"""A session without sockets: what it counts, what it keeps, and what goes on without a client."""

import asyncio
import weakref
from collections.abc import Awaitable

import pytest

from streamgate.errors import StreamGateError
from streamgate.frontends.sockets.contract import Accepted, Grant, Received
from streamgate.frontends.sockets.kept import KeepLimits
from streamgate.frontends.sockets.numbered import PlainManners
from streamgate.frontends.sockets.session import Attachment, Session

GRANT = Grant("token", 30.0)


class Carrier:
    """A connection that keeps what goes over it."""

    was_upgraded = True
    is_lost = True

    def __init__(self) -> None:
        self.emitted: list[str | bytes] = []
        self.closed: tuple[int, str] | None = None
        self.rooms = 0

    def emit(self, message: str | bytes) -> None:
        self.emitted.append(message)

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def room(self) -> None:
        self.rooms += 1


class Shelf:
    """Keeps every session."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def shelve(self, session: Session) -> bool:
        return True

    def forget(self, session: Session, why: str) -> None:
        self.ends.append(why)


class Slow:
    """A conversation that takes its time over each text, until the test lets it."""

    has_room = True

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.taken: list[str | bytes] = []
        self.is_gone = False
        self.is_wrong = False

    def on_text(self, text: str) -> Awaitable[None]:
        return self._take(text)

    async def _take(self, text: str) -> None:
        await self.let_go.wait()
        if self.is_wrong:
            raise RuntimeError("a mistake of ours")
        self.taken.append(text)

    def on_binary(self, data: bytes) -> None:
        if self.is_wrong:
            raise RuntimeError("a mistake of ours")
        self.taken.append(data)

    def pause(self) -> None:
        """Nothing to hold up."""

    def resume(self) -> None:
        """Nothing was held up."""

    def keep(self) -> None:
        """Nothing runs out."""

    def on_gone(self) -> None:
        self.is_gone = True


def session_of(shelf: Shelf, **limits: int) -> Session:
    return Session(b"1", "slow", GRANT, KeepLimits(**limits), shelf)


async def test_what_was_heard_is_counted_by_the_numbers_of_its_own_connection() -> None:
    session = session_of(Shelf(), heard_events=0)
    first = session.begin(Accepted(Slow(), manners=PlainManners()), Carrier())
    for number in range(1, 101):
        session.emit(f"message {number}")
    first.on_heard(10)
    second = Carrier()
    attachment = session.resume(second, 10)
    assert second.emitted[1:] == [f"message {number}" for number in range(11, 101)]
    # The greeting is the first message over this connection, and none of the session's.
    attachment.on_heard(1)
    assert session.resume(Carrier(), 10).is_current
    session.resume(Carrier(), 10).on_heard(6)
    session.resume(Carrier(), 15)
    with pytest.raises(StreamGateError, match="is 14, but the oldest event that is still kept"):
        session.resume(Carrier(), 14)
    # Who was superseded has no say any more.
    first.on_heard(100)
    attachment.on_heard(100)
    session.resume(Carrier(), 15)


async def test_what_is_being_done_is_done_though_the_connection_is_lost() -> None:
    conversation = Slow()
    session = session_of(Shelf())
    attachment = session.begin(Accepted(conversation), Carrier())
    wait = attachment.on_text("open")
    assert wait is not None
    waiting = asyncio.ensure_future(wait)
    await asyncio.sleep(0)
    waiting.cancel()
    attachment.on_gone()
    carrier = Carrier()
    again = session.resume(carrier, 0)
    assert session.received == Received(1, 0)
    rooms = [again.has_room]
    conversation.let_go.set()
    await asyncio.sleep(0.01)
    assert conversation.taken == ["open"]
    rooms.append(again.has_room)
    assert rooms == [False, True], "what comes must wait for what came before"
    assert carrier.rooms == 1
    again.on_binary(b"123")
    assert session.received == Received(2, 3)


async def said(attachment: Attachment, message: str | bytes) -> None:
    """As a connection's reader does."""
    if isinstance(message, str):
        wait = attachment.on_text(message)
    else:
        wait = attachment.on_binary(message)
    if wait is not None:
        await wait


@pytest.mark.parametrize("message", ["text", b"data"])
async def test_a_conversation_that_fails_is_not_kept(message: str | bytes) -> None:
    conversation, shelf = Slow(), Shelf()
    conversation.is_wrong = True
    conversation.let_go.set()
    session = session_of(shelf)
    attachment = session.begin(Accepted(conversation), Carrier())
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        await said(attachment, message)
    attachment.on_gone()
    assert shelf.ends == ["failed"]
    assert conversation.is_gone


async def test_what_comes_over_a_connection_that_was_superseded_is_dropped() -> None:
    conversation = Slow()
    session = session_of(Shelf())
    old = Carrier()
    first = session.begin(Accepted(conversation, manners=PlainManners()), old)
    first.on_binary(b"a")
    second = session.resume(Carrier(), 0)
    assert old.closed is not None
    assert old.closed[0] == 4409
    assert first.has_room, "its goodbye is still to be read"
    first.on_binary(b"x")
    first.on_text("x")
    first.on_gone()
    second.on_binary(b"b")
    assert conversation.taken == [b"a", b"b"]
    assert session.received == Received(2, 2)
    assert not conversation.is_gone


async def test_a_session_that_is_over_leaves_nothing_behind() -> None:
    """A server that is busy seldom looks for garbage: there must be no circle."""
    shelf = Shelf()
    conversation = Slow()
    session = session_of(shelf)
    carrier = Carrier()
    carrier.is_lost = False
    attachment = session.begin(Accepted(conversation), carrier)
    session.emit("x" * 1000)
    attachment.on_gone()
    assert shelf.ends == ["ended"]
    gone = weakref.ref(conversation)
    del conversation
    assert gone() is None
    assert session.kept_bytes == 0
    session.emit("too late")
    session.close(1000, "too late")
    session.room()


async def test_a_client_that_never_came_in_is_not_waited_for() -> None:
    conversation, shelf, carrier = Slow(), Shelf(), Carrier()
    carrier.was_upgraded = False
    session = session_of(shelf)
    session.begin(Accepted(conversation), carrier).on_gone()
    assert shelf.ends == ["refused"]
    assert conversation.is_gone
