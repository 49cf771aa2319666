"""What was said to a client that it may not have heard: to be said again when it comes back."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.sockets.contract import Message


@dataclass(frozen=True, slots=True)
class KeepLimits:
    """How much is kept of one session.

    Of what its client has certainly got, only as much as fits into `heard_events` and
    `heard_bytes`; of everything, `events` and `bytes`.
    """

    heard_events: int = 64
    heard_bytes: int = 16 * 2**10
    events: int = 65_536
    bytes: int = 16 * 2**20


@final
class KeptEvents:
    """The last messages of a session, numbered from 1 on."""

    def __init__(self, limits: KeepLimits) -> None:
        self._limits = limits
        self._messages: deque[Message] = deque()
        self._last = 0
        self._heard = 0
        self.size_bytes = 0

    @property
    def last(self) -> int:
        """The number of the newest one, 0 before the first."""
        return self._last

    @property
    def is_half_full(self) -> bool:
        return (
            2 * len(self._messages) > self._limits.events
            or 2 * self.size_bytes > self._limits.bytes
        )

    @property
    def is_overfull(self) -> bool:
        """There is more than may be kept: `drop_excess`, or give the session up."""
        return len(self._messages) > self._limits.events or self.size_bytes > self._limits.bytes

    def add(self, message: Message) -> None:
        """It is the next one."""
        self._messages.append(message)
        self._last += 1
        self.size_bytes += len(message)

    def restart(self, number: int) -> None:
        """The next one is the one behind this, and none before it is kept."""
        self.clear()
        self._last = number

    def pass_over(self) -> None:
        """The next one is not kept. Only where none before it is."""
        assert not self._messages
        self._last += 1

    def heard(self, number: int) -> int:
        """The client has got every message up to this one. Returns how many are forgotten now."""
        self._heard = max(self._heard, min(number, self._last))
        limits = self._limits
        before = len(self._messages)
        while self._oldest <= self._heard and (
            len(self._messages) > limits.heard_events or self.size_bytes > limits.heard_bytes
        ):
            self._drop()
        return before - len(self._messages)

    def drop_excess(self) -> int:
        """Forget the oldest ones, though nobody knows whether they were heard. Returns how many."""
        before = len(self._messages)
        while self.is_overfull:
            self._drop()
        return before - len(self._messages)

    def clear(self) -> None:
        """Keep none of them any longer."""
        self._messages.clear()
        self.size_bytes = 0

    def after(self, number: int, up_to: int | None = None) -> Sequence[Message]:
        """All that follow this one, 0 for all, `up_to` this one. Raises StreamGateError
        (INVALID_ARG) where some of them are gone, and for a number that was never given."""
        last = self._last if up_to is None else up_to
        if number > last:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"'last_event' is {number}, but the session has sent {last} events",
            )
        if number + 1 < self._oldest:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"'last_event' is {number}, but the oldest event that is still kept is "
                f"{self._oldest}",
            )
        return list(self._messages)[number + 1 - self._oldest : last + 1 - self._oldest]

    @property
    def _oldest(self) -> int:
        return self._last - len(self._messages) + 1

    def _drop(self) -> None:
        self.size_bytes -= len(self._messages.popleft())
