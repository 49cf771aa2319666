"""Whose step is next on a device that several models share: the one whose deadline is first.

Knows neither models nor threads. Each instance has at most one step in line, so a line is short.
"""

from typing import Final, final

from streamgate.core.ids import Ns

PATIENCE_NS: Final = 1_000_000_000
"""Who has waited for so long goes before all who have not, whatever the deadlines."""

HOLD_NS: Final = 250_000_000
"""A step that is on the device for longer keeps nobody else off it: it may hang, or wait for a step
of another model that it calls."""


@final
class Ticket:
    """One step in line, or on the device."""

    __slots__ = ("arrived_at", "deadline_at", "number", "started_at")

    def __init__(self, number: int, arrived_at: Ns, deadline_at: Ns) -> None:
        self.number = number
        self.arrived_at = arrived_at
        self.deadline_at = deadline_at
        self.started_at: Ns | None = None

    @property
    def is_on(self) -> bool:
        """Whether it has its turn."""
        return self.started_at is not None


@final
class DeviceLine:
    """At most `width` steps are on the device at a time, but for those that are on it for longer
    than `hold_ns`.

    Nobody waits for long: whoever is in line for `patience_ns` is overtaken by nobody who came
    later, so that at most the others in line go first.
    """

    def __init__(self, width: int, patience_ns: int = PATIENCE_NS, hold_ns: int = HOLD_NS) -> None:
        assert width > 0
        self._width = width
        self._patience_ns = patience_ns
        self._hold_ns = hold_ns
        self._waiting: list[Ticket] = []
        self._on: list[Ticket] = []
        self._tickets = 0

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many are on the device."""
        return len(self._on)

    def enter(self, deadline_at: Ns, now: Ns) -> Ticket:
        """A step is ready. It has its turn when `admit` has given it."""
        self._tickets += 1
        ticket = Ticket(self._tickets, now, deadline_at)
        self._waiting.append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """The step is over, or given up before its turn."""
        (self._on if ticket.is_on else self._waiting).remove(ticket)

    def admit(self, now: Ns) -> list[Ticket]:
        """Give as many turns as there is room for, the most urgent first."""
        admitted: list[Ticket] = []
        room = self._width - sum(not self._is_overdue(each, now) for each in self._on)
        while room > 0 and self._waiting:
            ticket = min(self._waiting, key=lambda each: self._rank(each, now))
            self._waiting.remove(ticket)
            ticket.started_at = now
            self._on.append(ticket)
            admitted.append(ticket)
            room -= 1
        return admitted

    def wake_at(self) -> Ns | None:
        """When time alone will make room; None while nobody waits for it."""
        if not self._waiting or len(self._on) < self._width:
            return None
        ends = sorted(Ns((each.started_at or 0) + self._hold_ns) for each in self._on)
        # The last `width` that began are those that may still count.
        return ends[len(ends) - self._width]

    def _rank(self, ticket: Ticket, now: Ns) -> tuple[int, int, int]:
        if now - ticket.arrived_at >= self._patience_ns:
            return 0, ticket.arrived_at, ticket.number
        return 1, ticket.deadline_at, ticket.number

    def _is_overdue(self, ticket: Ticket, now: Ns) -> bool:
        return ticket.started_at is not None and now - ticket.started_at >= self._hold_ns
