"""Sessions that clients may come back to: all of them, those that wait, and for how long."""

import asyncio
from collections import Counter, OrderedDict
from typing import Final, Generic, Protocol, TypeVar, final

from streamgate.observe.resumption import ResumeCounts

KEEP_SECONDS: Final = 0.25
"""How often those that wait are kept from running out. Idle limits below twice that still hold."""
ENDS_KNOWN: Final = 10_000
"""Of how many sessions it is remembered why they are over."""

_WHY_OVER: Final = {
    "ended": "it had ended",
    "expired": "its client did not come back in time",
    "outgrown": "too much was said to its client while it was away",
    "not kept": "there was no room to keep it",
    "failed": "it failed",
    "slow": "its client read too slowly",
    "stopped": "the server is going down",
    "taken": "it goes on at another server",
}


class Resumable(Protocol):
    """A session, attached or not."""

    @property
    def number(self) -> bytes:
        """What its token says."""

    @property
    def seconds(self) -> float:
        """For how long it waits for its client."""

    @property
    def kept_bytes(self) -> int:
        """The bytes of the messages that are kept for its client."""

    @property
    def has_ended(self) -> bool:
        """Whether all is said, and only the last of it waits in case that it was not heard."""

    def keep(self) -> None:
        """Called now and then while it waits: nothing of it runs out for that."""

    def end(self, why: str) -> None:
        """Give it up. It says `Shelf.forget` then."""


SessionT = TypeVar("SessionT", bound=Resumable)


@final
class Shelf(Generic[SessionT]):
    """At most `waiting_max` sessions are detached at a time, with at most `bytes_max` of messages
    kept for all together. Those that have ended make room for those that have not."""

    def __init__(self, waiting_max: int, bytes_max: int) -> None:
        self._waiting_max = waiting_max
        self._bytes_max = bytes_max
        self._sessions: dict[bytes, SessionT] = {}
        self._waiting: dict[bytes, asyncio.TimerHandle] = {}
        self._ends: OrderedDict[bytes, str] = OrderedDict()
        self._keeping: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._detachments = 0
        self._resumed = 0
        self._taken_over = 0
        self._ended: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    @property
    def counts(self) -> ResumeCounts:
        """How many wait for their clients, and what became of the others."""
        return ResumeCounts(
            len(self._waiting),
            self._waiting_bytes(),
            self._detachments,
            self._resumed,
            self._taken_over,
            ended=dict(self._ended),
            refused=dict(self._refused),
        )

    def add(self, session: SessionT) -> None:
        """It has begun."""
        self._sessions[session.number] = session

    def find(self, number: bytes) -> SessionT | None:
        """The session, None for one that is over."""
        return self._sessions.get(number)

    def why_over(self, number: bytes) -> str:
        """Why a session is over, in words; "" where that is not known."""
        return _WHY_OVER.get(self._ends.get(number, ""), "")

    def refuse(self, why: str) -> None:
        """Somebody who wants to resume is not let in, for this reason."""
        self._refused[why] += 1

    def take_down(self, session: SessionT) -> None:
        """A session is being resumed: nothing runs out any more."""
        self._resumed += 1
        timer = self._waiting.pop(session.number, None)
        if timer is None:
            self._taken_over += 1
        else:
            timer.cancel()

    def shelve(self, session: SessionT) -> bool:
        """A session has lost its client. False if it can't wait."""
        if self._is_stopping:
            return False
        if len(self._waiting) >= self._waiting_max:
            self._make_room()
        if len(self._waiting) >= self._waiting_max:
            self._ended["too many"] += 1
            return False
        self._detachments += 1
        self._waiting[session.number] = asyncio.get_running_loop().call_later(
            session.seconds, session.end, "expired"
        )
        self._thin()
        if self._keeping is None:
            self._keep()
        return session.number in self._waiting

    def forget(self, session: SessionT, why: str) -> None:
        """A session is over."""
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

    def _make_room(self) -> None:
        """Forget one of those that have ended, the one that has waited longest."""
        for number in self._waiting:
            if self._sessions[number].has_ended:
                self._sessions[number].end("expired")
                return

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
        while self._waiting_bytes() > self._bytes_max:
            sizes = ((self._sessions[number].kept_bytes, number) for number in self._waiting)
            self._sessions[max(sizes)[1]].end("outgrown")

    def _waiting_bytes(self) -> int:
        return sum(self._sessions[number].kept_bytes for number in self._waiting)
