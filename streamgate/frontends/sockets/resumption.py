"""Sessions that may be resumed: their tokens, those that wait, and for how long."""

import asyncio
import secrets
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.sockets.contract import Grant
from streamgate.frontends.sockets.kept import KeepLimits
from streamgate.frontends.sockets.relay import socket_path
from streamgate.frontends.sockets.session import Session
from streamgate.observe.resumption import ResumeCounts
from streamgate.session.tokens import SESSION_BYTES, Claim, TokenError, TokenSigner

PURPOSE: Final = "websocket session"
KEEP_SECONDS: Final = 0.25
"""How often those that wait are kept from running out. Idle limits below twice that still hold."""
ENDS_KNOWN: Final = 10_000
"""Of how many sessions it is remembered why they are over."""

_TEXTS: Final = {
    "ended": "it had ended",
    "expired": "its client did not come back in time",
    "outgrown": "too much was said to its client while it was away",
    "not kept": "there was no room to keep it",
    "failed": "it failed",
}


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
    """Every session of this process that can be resumed, attached or not. A `Shelf` to them."""

    def __init__(self, options: ResumeOptions) -> None:
        self._options = options
        self._sessions: dict[bytes, Session] = {}
        self._waiting: dict[bytes, asyncio.TimerHandle] = {}
        self._ends: OrderedDict[bytes, str] = OrderedDict()
        self._keeping: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._detachments = 0
        self._resumed = 0
        self._taken_over = 0
        self._relayed = 0
        self._ended: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    @property
    def counts(self) -> ResumeCounts:
        return ResumeCounts(
            len(self._waiting),
            self._waiting_bytes(),
            self._detachments,
            self._resumed,
            self._taken_over,
            self._relayed,
            dict(self._ended),
            dict(self._refused),
        )

    def open(self, dialect: str) -> Session:
        """A new session of this dialect."""
        options = self._options
        number = secrets.token_bytes(SESSION_BYTES)
        token = options.signer.sign(PURPOSE, Claim(number, options.owner))
        grant = Grant(token, options.seconds)
        session = Session(number, dialect, grant, options.keep, self)
        self._sessions[number] = session
        return session

    def read(self, token: str) -> Claim:
        """What a token says. Raises StreamGateError (INVALID_ARG) for one that is forged."""
        try:
            return self._options.signer.verify(PURPOSE, token)
        except TokenError as error:
            self._refused[error.fault.value] += 1
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
        session = self._sessions.get(claim.session)
        if session is None:
            self._refused["expired"] += 1
            why = _TEXTS.get(self._ends.get(claim.session, ""), "it is not known any more")
            raise StreamGateError(
                Code.NOT_FOUND, f"the session of the resume token is over: {why}; begin a new one"
            )
        if session.dialect != dialect:
            self._refused["foreign"] += 1
            raise StreamGateError(
                Code.INVALID_ARG,
                f"the resume token is for a session of '{session.dialect}', not of '{dialect}'",
            )
        return session

    def refuse(self, why: str) -> None:
        """Somebody with a good token is not let in, for this reason."""
        self._refused[why] += 1

    def take_down(self, session: Session) -> None:
        """A session is being resumed: nothing runs out any more."""
        self._resumed += 1
        timer = self._waiting.pop(session.number, None)
        if timer is None:
            self._taken_over += 1
        else:
            timer.cancel()

    def shelve(self, session: Session) -> bool:
        if self._is_stopping:
            return False
        if len(self._waiting) >= self._options.sessions:
            self._ended["too many"] += 1
            return False
        self._detachments += 1
        self._waiting[session.number] = asyncio.get_running_loop().call_later(
            self._options.seconds, session.end, "expired"
        )
        self._thin()
        if self._keeping is None:
            self._keep()
        return session.number in self._waiting

    def forget(self, session: Session, why: str) -> None:
        self._sessions.pop(session.number, None)
        timer = self._waiting.pop(session.number, None)
        if timer is not None:
            timer.cancel()
            self._ended[why] += 1
        self._ends[session.number] = why
        if len(self._ends) > ENDS_KNOWN:
            self._ends.popitem(last=False)

    def stop(self) -> None:
        """Give up all that are detached; from now on, none is kept."""
        self._is_stopping = True
        for number in list(self._waiting):
            self._sessions[number].end("stopped")

    def _keep(self) -> None:
        """Whatever would run out while the client can say nothing starts anew."""
        self._keeping = None
        for number in list(self._waiting):
            self._sessions[number].keep()
        self._thin()
        if self._waiting:
            loop = asyncio.get_running_loop()
            self._keeping = loop.call_later(KEEP_SECONDS, self._keep)

    def _thin(self) -> None:
        """What is kept for those who are away stays within its bound: the largest goes first."""
        while self._waiting_bytes() > self._options.bytes:
            sizes = ((self._sessions[number].kept_bytes, number) for number in self._waiting)
            self._sessions[max(sizes)[1]].end("outgrown")

    def _waiting_bytes(self) -> int:
        return sum(self._sessions[number].kept_bytes for number in self._waiting)
