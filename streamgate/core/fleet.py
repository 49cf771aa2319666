"""Which instances a model has, which of them are away, and which are to go.

Knows neither requests nor slots. An instance that is lost is waited for until a moment, one that
is to go has until a moment; what follows then is the schedulers' affair.
"""

from collections.abc import Collection
from typing import final

from streamgate.core.heap import Place
from streamgate.core.ids import InstanceIndex, Ns
from streamgate.core.timers import Timers


@final
class Member:
    """One instance: at work, unless `absence` says otherwise, and to stay, unless `departure`
    does. Nothing new goes to one that is away or leaving; one that is leaving still runs what it
    has."""

    __slots__ = ("absence", "departure", "index")

    def __init__(self, index: InstanceIndex) -> None:
        self.index = index
        self.absence: Absence | None = None
        self.departure: Departure | None = None

    @property
    def takes(self) -> bool:
        """Whether it may have something new."""
        return self.absence is None and self.departure is None


@final
class Absence:
    """An instance is lost and not back yet. `given_up`: nobody waits for it any more."""

    __slots__ = ("given_up", "member", "timer")

    def __init__(self, member: Member) -> None:
        self.member = member
        self.given_up = False
        self.timer: Place[object] | None = None


@final
class Departure:
    """An instance is to go when it has nothing left to do."""

    __slots__ = ("member", "timer")

    def __init__(self, member: Member) -> None:
        self.member = member
        self.timer: Place[object] | None = None


@final
class Fleet:
    """The instances of a model. An `Absence` or a `Departure` that takes too long comes out of
    `timers`."""

    def __init__(self, timers: Timers[object]) -> None:
        self._timers = timers
        self._members: dict[InstanceIndex, Member] = {}

    def get(self, index: InstanceIndex) -> Member | None:
        """The instance, unless it has gone."""
        return self._members.get(index)

    @property
    def is_deserted(self) -> bool:
        """Whether nobody is left for whom it is worth waiting."""
        return all(
            member.departure is not None or (member.absence is not None and member.absence.given_up)
            for member in self._members.values()
        )

    def lose(self, index: InstanceIndex, until: Ns) -> Member | None:
        """An instance is lost, and waited for until then. None for one that is away already."""
        member = self._members.get(index)
        if member is None or member.absence is not None:
            return None
        member.absence = absence = Absence(member)
        absence.timer = self._timers.push(until, absence)
        return member

    def give_up(self, absence: Absence) -> None:
        """It was waited for long enough."""
        absence.timer = None
        absence.given_up = True

    def welcome(self, index: InstanceIndex) -> Member | None:
        """An instance is back. None for one that was not away."""
        member = self._members.get(index)
        if member is None or member.absence is None:
            return None
        self._stop(member.absence)
        member.absence = None
        return member

    def join(self, index: InstanceIndex) -> Member:
        """A new instance."""
        member = self._members[index] = Member(index)
        return member

    def dismiss(self, member: Member, until: Ns) -> None:
        """An instance is to go, and has until then."""
        member.departure = departure = Departure(member)
        departure.timer = self._timers.push(until, departure)

    def keep(self, member: Member) -> None:
        """An instance that was to go is to stay after all."""
        assert member.departure is not None
        self._stop(member.departure)
        member.departure = None

    def remove(self, member: Member) -> None:
        """An instance has gone."""
        for ending in (member.absence, member.departure):
            if ending is not None:
                self._stop(ending)
        del self._members[member.index]

    def others(self, indexes: Collection[InstanceIndex]) -> list[Member]:
        """The instances that stay so far and are not among these."""
        return [
            member
            for member in self._members.values()
            if member.departure is None and member.index not in indexes
        ]

    def _stop(self, ending: Absence | Departure) -> None:
        if ending.timer is not None:
            self._timers.discard(ending.timer)
            ending.timer = None
