"""Sessions that may be resumed: their tokens, those that wait, and for how long."""

import asyncio
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.shelf import Shelf
from streamgate.frontends.sockets.contract import Dialect, Grant, Handshake
from streamgate.frontends.sockets.kept import KeepLimits
from streamgate.frontends.sockets.relay import socket_path
from streamgate.frontends.sockets.session import Session
from streamgate.frontends.sockets.taped.sessions import TapedSessions
from streamgate.frontends.sockets.taped.tape import Tape
from streamgate.observe.resumption import ResumeCounts
from streamgate.session.tokens import SESSION_BYTES, Claim, TokenError, TokenSigner
from streamgate.snapshot.contract import SessionStore

PURPOSE: Final = "websocket session"


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """`seconds` is how long a detached session waits, at most `sessions` of them at once, with at
    most `bytes` of messages kept for all together. `signer` signs their tokens. `owner` is this
    process's name, under which others that share the secret find it in `directory`; without one,
    they do not. In `store`, sessions are kept so that another process can go on with them."""

    signer: TokenSigner
    seconds: float = 30.0
    owner: str = "server"
    directory: Path | None = None
    sessions: int = 1000
    bytes: int = 256 * 2**20
    keep: KeepLimits = field(default_factory=KeepLimits)
    store: SessionStore | None = None


@final
class Resumption:
    """Every session of this process that can be resumed, attached or not."""

    def __init__(self, options: ResumeOptions) -> None:
        self._options = options
        self._shelf = Shelf[Session](options.sessions, options.bytes)
        self._relayed = 0
        self._taking: dict[bytes, asyncio.Future[None]] = {}
        self._taped = None if options.store is None else TapedSessions(options.store, options.owner)

    @property
    def is_taped(self) -> bool:
        """Whether sessions can go on in another process."""
        return self._taped is not None

    @property
    def counts(self) -> ResumeCounts:
        taken = 0 if self._taped is None else self._taped.taken
        return replace(self._shelf.counts, relayed=self._relayed, from_elsewhere=taken)

    def open(self, dialect: str, handshake: Handshake) -> Session:
        """A new session of this dialect. Its conversation is to be made within `Session.within`."""
        number = secrets.token_bytes(SESSION_BYTES)
        grant = self._grant(number, self._options.owner)
        if self._taped is None:
            session = self._session(number, dialect, grant)
        else:
            tape = Tape(number)
            session = self._session(number, dialect, grant, tape)
            self._taped.begin(session, handshake, tape)
        self._shelf.add(session)
        return session

    async def bring(self, claim: Claim, dialect: Dialect, handshake: Handshake) -> Session:
        """The session that a token names, to be gone on with here: what has come of it is stored,
        so that its client may be told so. Raises StreamGateError as `find` and `take` do."""
        while True:
            await self.take(claim, dialect, handshake)
            session = self.find(claim, dialect.name)
            await session.stored()
            if self.has(claim):
                return session
            # It has turned out to be another's, or has ended: `take` or `find` say so.

    async def take(self, claim: Claim, dialect: Dialect, handshake: Handshake) -> None:
        """Look for a session in the store that is not here, and let it wait here for its client.
        Raises StreamGateError as `TapedSessions.take` does."""
        if self._taped is None or self._shelf.find(claim.session) is not None:
            return
        taking = self._taking.get(claim.session)
        if taking is None:
            taking = asyncio.ensure_future(self._take(self._taped, claim, dialect, handshake))
            self._taking[claim.session] = taking
            taking.add_done_callback(lambda _: self._taking.pop(claim.session))
        await asyncio.shield(taking)

    async def _take(
        self, taped: TapedSessions, claim: Claim, dialect: Dialect, handshake: Handshake
    ) -> None:
        number = claim.session
        session = await taped.take(
            number,
            dialect,
            handshake,
            lambda owner: self._grant(number, owner),
            lambda grant, tape: self._session(number, dialect.name, grant, tape),
        )
        if session is not None:
            self._shelf.add(session)
            self._shelf.shelve(session)

    def _grant(self, number: bytes, owner: str) -> Grant:
        options = self._options
        return Grant(options.signer.sign(PURPOSE, Claim(number, owner)), options.seconds)

    def _session(
        self, number: bytes, dialect: str, grant: Grant, tape: Tape | None = None
    ) -> Session:
        return Session(number, dialect, grant, self._options.keep, self._shelf, tape)

    def read(self, token: str) -> Claim:
        """What a token says. Raises StreamGateError (INVALID_ARG) for one that is forged."""
        try:
            return self._options.signer.verify(PURPOSE, token)
        except TokenError as error:
            self._shelf.refuse(error.fault.value)
            raise StreamGateError(
                Code.INVALID_ARG, "the resume token is not valid, expected one that was given here"
            ) from None

    def path_to(self, claim: Claim) -> Path | None:
        """The socket of the process that has the session; None where that is this one, or where
        nobody else can be asked."""
        options = self._options
        if claim.owner == options.owner or options.directory is None:
            return None
        return socket_path(options.directory, claim.owner)

    def has(self, claim: Claim) -> bool:
        """Whether the session is here, though it may have begun elsewhere."""
        return self._shelf.find(claim.session) is not None

    def count_relayed(self) -> None:
        """A client of another process's session was led there."""
        self._relayed += 1

    def find(self, claim: Claim, dialect: str) -> Session:
        """The session that a token names. Raises StreamGateError: NOT_FOUND for one that is over,
        INVALID_ARG for one of another dialect."""
        session = self._shelf.find(claim.session)
        if session is None:
            self._shelf.refuse("expired")
            why = self._shelf.why_over(claim.session) or "it is not known any more"
            raise StreamGateError(
                Code.NOT_FOUND, f"the session of the resume token is over: {why}; begin a new one"
            )
        if session.dialect != dialect:
            self._shelf.refuse("foreign")
            raise StreamGateError(
                Code.INVALID_ARG,
                f"the resume token is for a session of '{session.dialect}', not of '{dialect}'",
            )
        return session

    def refuse(self, why: str) -> None:
        """Somebody with a good token is not let in, for this reason."""
        self._shelf.refuse(why)

    def take_down(self, session: Session) -> None:
        """A session is being resumed: nothing runs out any more."""
        self._shelf.take_down(session)

    def stop(self) -> None:
        """Give up all that are detached; from now on, none is kept."""
        self._shelf.stop()
