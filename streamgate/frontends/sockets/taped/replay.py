"""A conversation is made again: told what it was told, in order, it must say what it said."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.sockets.contract import Accepted, Dialect, Handshake, Outlet, Refusal
from streamgate.frontends.sockets.taped.entries import (
    Admitted,
    Answered,
    Came,
    Chosen,
    Entry,
    Heard,
    Raised,
    Reserved,
    SequenceEnded,
    Settled,
    Taken,
    Warned,
)
from streamgate.frontends.sockets.taped.tape import Tape
from streamgate.frontends.world import within

PATIENCE_SECONDS: Final = 10.0
"""How long a conversation may take to do again what it had done when it was told more."""
AT_ONCE: Final = 256
"""Entries that are played without letting others have their turn."""


class Retold(Outlet, Protocol):
    """The session whose conversation is made again."""

    @property
    def pending(self) -> "asyncio.Future[None] | None": ...

    @property
    def has_conversation(self) -> bool: ...

    def settle_in(self, answer: Accepted) -> None: ...

    def on_text(self, text: str) -> object: ...

    def on_binary(self, data: bytes) -> object: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """What is missing between the `beginning`, up to where the handshake was accepted, and what is
    on the tape: `restore` makes up for it."""

    beginning: Sequence[Entry]
    restore: Callable[[], None]


async def replayed(
    tape: Tape,
    session: Retold,
    dialect: Dialect,
    handshake: Handshake,
    entries: Sequence[Entry],
    on_taken: Callable[[str], None],
    cut: Cut | None = None,
) -> bool:
    """Make the session's conversation again, up to where its tape ends. `on_taken` is called where
    it went on in another process, with its name.

    Returns whether what its last message had to wait for was done only now. Raises StreamGateError
    (NOT_FOUND) where it does not do what it did.
    """
    with within(tape):
        admission = asyncio.create_task(_admit(dialect, handshake, session))
    player = _Player(tape, session, admission, on_taken)
    try:
        async with asyncio.timeout(None) as limit:
            if cut is not None:
                for entry in cut.beginning:
                    limit.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
                    await player.play(entry)
                await player.begin()
                cut.restore()
            for number, entry in enumerate(entries):
                limit.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
                await player.play(entry)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)
            limit.reschedule(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
            await player.end()
    except TimeoutError:
        raise lost("what it waited for did not come again") from None
    finally:
        if not admission.done():
            admission.cancel()
    if tape.differs:
        raise lost(tape.differs)
    if session.next_event <= tape.said_last:
        raise lost(
            f"it has said {session.next_event - 1} events again, and there were {tape.said_last}"
        )
    return player.is_unsettled and session.pending is None


def lost(why: str) -> StreamGateError:
    """What a client is told whose session can't be had any more."""
    return StreamGateError(Code.NOT_FOUND, f"state lost: {why}; begin a new session")


async def _admit(dialect: Dialect, handshake: Handshake, session: Outlet) -> Accepted:
    answer = await dialect.admit(handshake, session)
    if isinstance(answer, Refusal):
        raise lost(f"its handshake is refused here: {answer.body[:300].strip()}")
    return answer


class _Player:
    """Tells a conversation one entry after the other."""

    def __init__(
        self,
        tape: Tape,
        session: Retold,
        admission: "asyncio.Task[Accepted]",
        on_taken: Callable[[str], None],
    ) -> None:
        self._on_taken = on_taken
        self._tape = tape
        self._session = session
        self._admission = admission
        self.is_unsettled = False

    async def play(self, entry: Entry) -> None:
        tape, session = self._tape, self._session
        match entry:
            case Heard(message):
                await self.begin()
                if isinstance(message, str):
                    session.on_text(message)
                else:
                    session.on_binary(message)
                self.is_unsettled = session.pending is not None
            case Answered() | Reserved():
                await self._until(lambda: self._has_asked(entry))
                connection = tape.connections[entry.connection]
                if isinstance(entry, Answered):
                    connection.answer(entry)
                else:
                    connection.answer_reservation(entry)
            case SequenceEnded(number, model, sequence, reason):
                await self._until(lambda: number < len(tape.connections))
                tape.connections[number].tell_end(model, sequence, reason)
            case Warned(number, model, sequence, warning):
                await self._until(lambda: number < len(tape.connections))
                tape.connections[number].tell_warning(model, sequence, warning)
            case Came(moment):
                await self._until(lambda: tape.knows(moment))
                tape.come(moment)
            case Settled():
                await self._until(lambda: session.pending is None)
                self.is_unsettled = False
            case Admitted():
                await self.begin()
            case Taken(owner):
                self._on_taken(owner)
            case Chosen() | Raised():
                """They are looked for when the conversation comes to them."""

    async def end(self) -> None:
        """All was told. What can be done without being told more is done."""
        if not self._session.has_conversation:
            await self.begin()
        for _ in range(8):
            await asyncio.sleep(0)

    async def begin(self) -> None:
        """The handshake leads to its conversation, if it has not yet."""
        if not self._session.has_conversation:
            with within(self._tape):
                answer = await self._admission
            self._session.settle_in(answer)

    def _has_asked(self, entry: Answered | Reserved) -> bool:
        connections = self._tape.connections
        return entry.connection < len(connections) and connections[entry.connection].has_asked(
            entry
        )

    async def _until(self, is_so: Callable[[], bool]) -> None:
        turns = 0
        while not is_so():
            turns += 1
            await asyncio.sleep(0 if turns < AT_ONCE else 0.001)
