"""Sessions in the session store: those that begin here, and those that are taken from a process
that is gone."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.sockets.contract import Dialect, Grant, Handshake
from streamgate.frontends.sockets.session import Session, SessionState
from streamgate.frontends.sockets.taped.checkpoints import Checkpoint
from streamgate.frontends.sockets.taped.entries import Admitted, Entry, decode_entry
from streamgate.frontends.sockets.taped.replay import Cut, lost, replayed
from streamgate.frontends.sockets.taped.tape import KEPT_NO_MORE, Tape, message_of
from streamgate.snapshot.codec import CodecError, decode_value
from streamgate.snapshot.contract import (
    KeptKey,
    KeptSequence,
    NotTakenError,
    SequenceWriter,
    SessionStore,
    WhyNot,
)

log = logging.getLogger(__name__)

SESSIONS: Final = "/websocket"
"""The name under which sessions are kept among models. No model can have it."""

_LOST: Final = "state lost: "
"""How it is told that a model's sequence can't be gone on with."""

_SECRETS: Final = frozenset({"key", "api_key", "auth_id", "jwt", "token", "resume", "last_event"})
"""What of a query is the client's alone, or was meant for one connection."""

GrantOf = Callable[[str], Grant]
"""What the session's client is granted by the process of this name."""
OpenSession = Callable[[Grant, Tape], Session]
"""Makes a session that is not begun yet."""


@dataclass(frozen=True, slots=True)
class _Note:
    """What a session was opened with."""

    dialect: str
    path: str
    query: Mapping[str, Sequence[str]]
    owner: str

    @classmethod
    def of(cls, dialect: str, handshake: Handshake, owner: str) -> "_Note":
        query = {
            name: tuple(values) for name, values in handshake.query.items() if name not in _SECRETS
        }
        return cls(dialect, handshake.path, query, owner)

    @classmethod
    def read(cls, text: str) -> "_Note":
        """Raises CodecError."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise CodecError(f"the note of a session can't be read: {error}") from None

    def text(self) -> str:
        return json.dumps(
            {
                "dialect": self.dialect,
                "path": self.path,
                "query": {name: list(values) for name, values in self.query.items()},
                "owner": self.owner,
            }
        )

    def handshake(self, now: Handshake) -> Handshake:
        """The handshake that the session began with, and who brings it now: keys are not kept."""
        own = {name: now.query[name] for name in _SECRETS if name in now.query}
        own.pop("resume", None)
        own.pop("last_event", None)
        return Handshake(self.path, {**self.query, **own}, now.headers, now.subprotocols)


@final
class TapedSessions:
    """Every session of this process that is on a tape."""

    def __init__(self, store: SessionStore, owner: str) -> None:
        """`owner` is this process's name in tokens."""
        self._store = store
        self._owner = owner
        self.taken = 0

    def begin(self, session: Session, handshake: Handshake, tape: Tape) -> None:
        """Write what a new session is told onto its tape."""
        tape.attach(session)
        note = _Note.of(session.dialect, handshake, self._owner)
        tape.begin(self._store.open(_key(session.number), "", note.text(), tape), self._owner)

    async def take(
        self,
        number: bytes,
        dialect: Dialect,
        handshake: Handshake,
        grant_of: GrantOf,
        open_session: OpenSession,
    ) -> Session | None:
        """A session whose process is gone, as it was there and with what it has not said yet; None
        for one that was never kept. Raises StreamGateError: NOT_FOUND for one that is over or can't
        be had any more, UNAVAILABLE where it may be had later."""
        session: Session | None = None
        tape = Tape(number)
        try:
            kept, writer = await self._store.take(_key(number), tape, only_from_dead=True)
        except NotTakenError as error:
            if error.why is WhyNot.UNKNOWN:
                return None
            raise _told(error) from None
        try:
            note = _Note.read(kept.note)
            if note.dialect != dialect.name:
                raise StreamGateError(
                    Code.INVALID_ARG,
                    f"the resume token is for a session of '{note.dialect}', not of "
                    f"'{dialect.name}'",
                )
            session = open_session(grant_of(note.owner), tape)
            tape.attach(session)
            retelling = _Retelling(session, tape, grant_of, self._owner)
            await retelling.run(dialect, note.handshake(handshake), kept, writer)
        except BaseException as error:
            tape.let_go()
            if isinstance(error, CodecError):
                error = lost(str(error))
            if isinstance(error, StreamGateError) and error.code is Code.NOT_FOUND:
                writer.end(f"{KEPT_NO_MORE}: {error.message}")
            else:
                writer.leave()
            if session is not None:
                session.end("not taken")
            raise error from None
        self.taken += 1
        log.info("a session of '%s' goes on here", dialect.name)
        return session


@dataclass(frozen=True, slots=True)
class _Retelling:
    """A session that is brought to life again."""

    session: Session
    tape: Tape
    grant_of: GrantOf
    owner: str

    async def run(
        self, dialect: Dialect, handshake: Handshake, kept: KeptSequence, writer: SequenceWriter
    ) -> None:
        """Raises StreamGateError and CodecError."""
        entries = [decode_entry(step.data) for step in kept.steps]
        cut = None
        if kept.snapshot is None:
            self.tape.take(writer, kept, _beginning_of(entries, kept), entries)
        else:
            checkpoint = decode_value(kept.snapshot.data, Checkpoint)
            beginning = [decode_entry(each) for each in checkpoint.beginning]
            self.tape.take(writer, kept, checkpoint.beginning, [*beginning, *entries])
            cut = Cut(beginning, partial(self._restore, checkpoint, kept))
        self.session.pass_over(kept.results_dropped)
        was_settled = await replayed(
            self.tape, self.session, dialect, handshake, entries, self._taken_to, cut
        )
        self.tape.catch_up()
        try:
            for connection in self.tape.connections:
                await connection.connect()
        except TimeoutError:
            raise StreamGateError(
                Code.UNAVAILABLE, "the session's sequences could not be had in time; try again"
            ) from None
        except StreamGateError as error:
            if error.message.startswith(_LOST) or error.code is Code.NOT_FOUND:
                raise lost(error.message.removeprefix(_LOST)) from None
            raise
        self._taken_to(self.owner)
        self.tape.live(self.owner, is_settled=was_settled)
        for connection in self.tape.connections:
            connection.go_on()

    def _restore(self, checkpoint: Checkpoint, kept: KeptSequence) -> None:
        """What the tape does not hold any more."""
        state = SessionState(
            checkpoint.conversation, checkpoint.messages, checkpoint.size_bytes, checkpoint.events
        )
        events = [
            message_of(result) for result in kept.results if result.position <= checkpoint.events
        ]
        self.session.restore(state, events, kept.results_dropped)
        self.tape.restore(checkpoint)
        self._taken_to(checkpoint.owner)

    def _taken_to(self, owner: str) -> None:
        self.session.go_on(self.grant_of(owner))


def _beginning_of(entries: Sequence[Entry], kept: KeptSequence) -> list[bytes]:
    """The entries up to where the handshake was accepted."""
    beginning = []
    for entry, step in zip(entries, kept.steps, strict=True):
        beginning.append(step.data)
        if isinstance(entry, Admitted):
            break
    return beginning


def _key(number: bytes) -> KeptKey:
    return KeptKey(SESSIONS, number.hex(), is_session=True)


def _told(error: NotTakenError) -> StreamGateError:
    """Why a session can't be taken."""
    match error.why:
        case WhyNot.ENDED:
            if error.detail.startswith(KEPT_NO_MORE):
                return lost(f"the session was {error.detail}")
            return StreamGateError(
                Code.NOT_FOUND,
                f"the session of the resume token is over ({error.detail}); begin a new one",
            )
        case WhyNot.OWNED:
            return StreamGateError(
                Code.UNAVAILABLE,
                f"the session lives at another server ({error.detail}), which answers: try again, "
                "or go there",
            )
        case WhyNot.BROKEN:
            return lost(error.detail)
        case _:
            return StreamGateError(
                Code.UNAVAILABLE, f"the session store can't be reached: {error.detail}"
            )
