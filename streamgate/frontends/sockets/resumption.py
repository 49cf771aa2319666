"""Sessions that may be resumed: their tokens, those that wait, and for how long."""

import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.shelf import Shelf
from streamgate.frontends.sockets.contract import Grant
from streamgate.frontends.sockets.kept import KeepLimits
from streamgate.frontends.sockets.relay import socket_path
from streamgate.frontends.sockets.session import Session
from streamgate.observe.resumption import ResumeCounts
from streamgate.session.tokens import SESSION_BYTES, Claim, TokenError, TokenSigner

PURPOSE: Final = "websocket session"


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """`seconds` is how long a detached session waits, at most `sessions` of them at once, with at
    most `bytes` of messages kept for all together. `signer` signs their tokens. `owner` is this
    process's name, under which others that share the secret find it in `directory`; without one,
    they do not."""

    signer: TokenSigner
    seconds: float = 30.0
    owner: str = "server"
    directory: Path | None = None
    sessions: int = 1000
    bytes: int = 256 * 2**20
    keep: KeepLimits = field(default_factory=KeepLimits)


@final
class Resumption:
    """Every session of this process that can be resumed, attached or not."""

    def __init__(self, options: ResumeOptions) -> None:
        self._options = options
        self._shelf = Shelf[Session](options.sessions, options.bytes)
        self._relayed = 0

    @property
    def counts(self) -> ResumeCounts:
        return replace(self._shelf.counts, relayed=self._relayed)

    def open(self, dialect: str) -> Session:
        """A new session of this dialect."""
        options = self._options
        number = secrets.token_bytes(SESSION_BYTES)
        token = options.signer.sign(PURPOSE, Claim(number, options.owner))
        grant = Grant(token, options.seconds)
        session = Session(number, dialect, grant, options.keep, self._shelf)
        self._shelf.add(session)
        return session

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
