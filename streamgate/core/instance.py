"""One model instance: its line-up, and whether it runs. Knows no strategy."""

from typing import final

from streamgate.core.fleet import Member
from streamgate.core.heap import Place
from streamgate.core.ids import Ns
from streamgate.core.lineup import Lineup
from streamgate.core.sequence import Sequence


@final
class Instance:
    """A model instance. It puts itself on the list `touched` when something changed for it, so
    that nobody has to look at those for which nothing did. `started_at` is when its newest step
    was started, or was ready and had to wait for its turn on the device, which `wants_since`
    then."""

    __slots__ = (
        "_is_touched",
        "_touched",
        "busy",
        "index",
        "lineup",
        "member",
        "started_at",
        "timer",
        "wants_since",
    )

    def __init__(self, member: Member, lineup: Lineup, touched: "list[Instance]") -> None:
        self.member = member
        self.index = member.index
        self.lineup = lineup
        self.busy = False
        self.started_at = Ns(0)
        self.wants_since: Ns | None = None
        self.timer: Place[object] | None = None
        self._touched = touched
        self._is_touched = False

    def add(self, sequence: Sequence, now: Ns) -> None:
        """The sequence became ready."""
        self.lineup.add(sequence, now)
        if not self._is_touched:
            self._is_touched = True
            self._touched.append(self)

    def remove(self, sequence: Sequence) -> None:
        """The sequence is not ready any more."""
        self.lineup.remove(sequence)
        self.touch()

    def touch(self) -> None:
        """Something changed: a step may be due, or due at another time."""
        if not self._is_touched:
            self._is_touched = True
            self._touched.append(self)

    def rest(self) -> None:
        """It was looked at, and is off the list."""
        self._is_touched = False
