"""Where a session says what its conversation is told and says: nowhere, or onto a tape."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol, final

from streamgate.frontends.sockets.contract import Message


class Record(Protocol):
    """A session's record. Its conversation is called within its `within`."""

    @property
    def is_past(self) -> bool:
        """Whether the conversation is told again what it was told before."""

    def within(self) -> AbstractContextManager[None]: ...

    def admitted(self) -> None:
        """The handshake led to a conversation."""

    def heard(self, message: Message) -> None:
        """The conversation is about to be told this by its client."""

    def settled(self) -> None:
        """What that had to wait for is done."""

    def said(self, number: int, message: Message, on_stored: Callable[[], None]) -> bool:
        """The conversation said this. True: it is to be told to the client when `on_stored` is
        called, later and in order; False: at once."""

    async def stored(self) -> None:
        """Wait until all that was told and said by now is stored, or nobody can say."""

    def dropped(self, count: int) -> None:
        """So many of the oldest messages that were said need not be kept any more."""

    def end(self, why: str) -> None:
        """The session is over."""


@final
class Unrecorded:
    """Implements `Record` for sessions that live and die with their process."""

    is_past: Final = False

    def within(self) -> AbstractContextManager[None]:
        return _HERE

    def admitted(self) -> None:
        """Nobody asks."""

    def heard(self, message: Message) -> None:
        """Nobody asks."""

    def settled(self) -> None:
        """Nobody asks."""

    def said(self, number: int, message: Message, on_stored: Callable[[], None]) -> bool:
        return False

    async def stored(self) -> None:
        """Nobody asks."""

    def dropped(self, count: int) -> None:
        """Nobody asks."""

    def end(self, why: str) -> None:
        """Nobody asks."""


_HERE: Final = nullcontext()
