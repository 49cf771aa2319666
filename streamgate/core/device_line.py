"""Whose step is next on a device that several models share, and how large it may be.

The one that must start first goes first; stateless work also waits, or has smaller steps, where a
stream's next step would be late behind it. Knows neither models nor threads; time is an argument.
`docs/admission.md` has the rules.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple, final

from streamgate.core.ids import Ns
from streamgate.core.party import DEVIATIONS, LARGE_DEVIATIONS, Claim, Party
from streamgate.core.urgency import Urgency

PATIENCE_NS: Final = 1_000_000_000
"""A sequence's step that has waited for so long goes before all that have not, whatever their
deadlines; and for longer than this no device is without a stateless step, if one waits."""

HOLD_NS: Final = 250_000_000
"""A step that is on the device for longer keeps nobody else off it: it may hang, or wait for a step
of another model that it calls."""

STATELESS_SHARE: Final = 0.05
"""Of the device's time, what stateless work gets whatever streams want."""

PACES: Final = 2
"""So many paces of the streams stateless work waits before it is owed anything: within one, those
that can be served at all leave room for it."""


class _Demand(NamedTuple):
    """What streams will want of the device: when it can start at the soonest, by when it has to be
    over, and who wants it. So many `rows` have come, and the others are to come by `arrivals`."""

    deadline_at: int
    start_at: int
    party: Party
    rows: int
    arrivals: Sequence[Ns]

    def length(self, until: int) -> int:
        """How long its step takes if it starts then: with all who have come."""
        return self.party.length(max(1, self.rows + bisect_right(self.arrivals, until)))


@final
class DeviceLine:
    """At most `width` steps are on the device at a time, but for those that are on it for longer
    than `hold_ns`."""

    def __init__(
        self,
        width: int,
        share: float = STATELESS_SHARE,
        patience_ns: int = PATIENCE_NS,
        hold_ns: int = HOLD_NS,
    ) -> None:
        assert width > 0
        assert 0 <= share < 1
        self._width = width
        self._share = share
        self._patience_ns = patience_ns
        self._hold_ns = hold_ns
        self._parties: list[Party] = []
        self._claims = 0
        self._stateless_since: Ns | None = None

    def join(self, urgency: Urgency) -> Party:
        """An instance on this device."""
        party = Party(urgency)
        self._parties.append(party)
        return party

    def part(self, party: Party, now: Ns) -> None:
        """It is here no more."""
        self.drop(party, now)
        self._parties.remove(party)

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return sum(each.claim is not None for each in self._parties)

    @property
    def running(self) -> int:
        """How many are on the device."""
        return sum(each.started_at is not None for each in self._parties)

    def claim(self, party: Party, least: int, most: int, deadline_at: Ns, now: Ns) -> None:
        """A step of the party is ready, or is another one than it was."""
        assert party.started_at is None
        assert 0 < least <= most
        party.stirs = False
        claim = party.claim
        if claim is None:
            self._claims += 1
            party.claim = Claim(self._claims, least, most, deadline_at, now)
            self._note_stateless(now)
        else:
            claim.least, claim.most = least, most
            # What is late and counts anew does so from when it came into line.
            claim.deadline_at = min(claim.deadline_at, deadline_at)

    def drop(self, party: Party, now: Ns) -> None:
        """The party is not in line, if it was, and not about to be."""
        party.stirs = False
        party.claim = None
        self._note_stateless(now)

    def start(self, party: Party, rows: int, now: Ns) -> None:
        """Its step is on the device."""
        party.claim = None
        party.stirs = False
        party.started_at = now
        party.rows = rows
        self._note_stateless(now)

    def end(self, party: Party, now: Ns) -> None:
        """Its step is over."""
        assert party.started_at is not None
        party.note(party.rows, now - party.started_at)
        party.started_at = None
        self._note_stateless(now)

    def rows(self, party: Party, now: Ns) -> int:
        """How many rows the party may start a step with now; 0 if it is not its turn."""
        following = self.next(now)
        return following[1] if following is not None and following[0] is party else 0

    def next(self, now: Ns) -> tuple[Party, int] | None:
        """Whose turn it is, and with how many rows."""
        if self._room(now) <= 0:
            return None
        for party in sorted(self._in_line(), key=lambda each: self._rank(each, now)):
            rows = self._fitting(party, now)
            if rows:
                return party, rows
        return None

    def wake_at(self, now: Ns) -> Ns | None:
        """When time alone will make it somebody's turn; None while nobody waits for it."""
        waiting = self._in_line()
        if not waiting:
            return None
        on = sorted(each.started_at for each in self._parties if each.started_at is not None)
        if self._room(now) <= 0:
            # The last `width` that began are those that may still count.
            return Ns(on[len(on) - self._width] + self._hold_ns)
        moments = []
        if self._stateless_since is not None:
            moments = [self._owed_at(each) for each in waiting if each.is_stateless]
        for party in self._parties:
            for at in party.expected(now):
                moments += [at, Ns(at + party.late_ns)]
        return min((at for at in moments if at > now), default=None)

    def _in_line(self) -> list[Party]:
        return [each for each in self._parties if each.claim is not None]

    def _room(self, now: Ns) -> int:
        return self._width - sum(self._counts(each, now) for each in self._parties)

    def _counts(self, party: Party, now: Ns) -> bool:
        """Whether it has a step on the device that keeps others off."""
        return party.started_at is not None and now - party.started_at < self._hold_ns

    def _rank(self, party: Party, now: Ns) -> tuple[int, int, int]:
        claim = _claim(party)
        start_by = claim.deadline_at - party.length(claim.most)
        if party.is_stateless:
            return 0 if self._is_owed(party, now) else 2, start_by, claim.number
        if now - claim.since >= self._patience_ns:
            return 1, claim.since, claim.number
        return 2, start_by, claim.number

    # -- stateless work

    def _note_stateless(self, now: Ns) -> None:
        """It waits since then while there is some in line and none on the device."""
        waits = on = False
        for party in self._parties:
            if party.is_stateless:
                waits |= party.claim is not None
                on |= party.started_at is not None
        if on or not waits:
            self._stateless_since = None
        elif self._stateless_since is None:
            self._stateless_since = now

    def _is_owed(self, party: Party, now: Ns) -> bool:
        return self._stateless_since is not None and self._owed_at(party) <= now

    def _owed_at(self, party: Party) -> Ns:
        """When its turn comes whatever streams want."""
        since = self._stateless_since
        assert since is not None
        claim = _claim(party)
        share = self._share
        shared_ns = int(party.length(claim.least) / share) if share else self._patience_ns
        paces_ns = PACES * max(
            (each.urgency.budget_ns for each in self._parties if not each.is_stateless), default=0
        )
        return Ns(since + min(self._patience_ns, max(shared_ns, paces_ns)))

    def _fitting(self, party: Party, now: Ns) -> int:
        """How many rows its step may have so that no stream that would be in time is late for it;
        0 for none."""
        claim = _claim(party)
        if not party.is_stateless:
            return claim.most
        owed = self._is_owed(party, now)
        if not owed and any(each.stirs for each in self._parties if not each.is_stateless):
            return 0
        if not party.is_known:
            return claim.most
        ends = [
            each.started_at + each.length(each.rows)
            for each in self._parties
            if each.started_at is not None and self._counts(each, now)
        ]
        if len(ends) + 1 < self._width:
            return claim.most
        demands = self._demands(now)

        def fits(rows: int) -> bool:
            deviations = LARGE_DEVIATIONS if rows > claim.least else DEVIATIONS
            free_at = min([now + party.length(rows, deviations), *ends])
            return _is_met(demands, max(now, free_at))

        if fits(claim.most):
            return claim.most
        if not fits(claim.least):
            return claim.least if owed else 0
        low, high = claim.least, claim.most - 1
        while low < high:
            middle = (low + high + 1) // 2
            if fits(middle):
                low = middle
            else:
                high = middle - 1
        return low

    def _demands(self, now: Ns) -> list[_Demand]:
        """What streams want, and are expected to want next, by their deadlines."""
        demands = []
        for party in self._parties:
            if party.is_stateless:
                continue
            arrivals = party.expected(now)
            if party.claim is not None:
                claim = party.claim
                demands.append(_Demand(claim.deadline_at, now, party, claim.most, arrivals))
            elif arrivals:
                start_at = max(now, arrivals[0])
                budget_ns = party.urgency.budget_ns
                demands.append(_Demand(start_at + budget_ns, start_at, party, 0, arrivals))
        return sorted(demands, key=lambda each: each[:2])


def _is_met(demands: Sequence[_Demand], free_at: int) -> bool:
    """Whether all are over in time if the device is theirs from then on."""
    for demand in demands:
        start_at = max(free_at, demand.start_at)
        free_at = start_at + demand.length(start_at)
        if free_at > demand.deadline_at:
            return False
    return True


def _claim(party: Party) -> Claim:
    assert party.claim is not None
    return party.claim
