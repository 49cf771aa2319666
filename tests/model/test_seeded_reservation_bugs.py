"""The model tests catch what reservations can get wrong: each bug put in on purpose fails them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis.stateful import run_state_machine_as_test

from streamgate.core.events import Reserve
from streamgate.core.ids import NO_OWNER, Ns
from streamgate.core.roster import Roster
from streamgate.core.sequence import Sequence
from streamgate.core.sequences import SequenceScheduler
from streamgate.core.slots import SlotPool
from streamgate.core.tenancies import Tenancies
from streamgate.model.request import SequenceKey
from tests.model.sequence_machine import ReservingMachine
from tests.model.settings import CAUGHT, ONLY_LONG, SEEDED

Bug = Callable[[pytest.MonkeyPatch], None]

reserve = Tenancies.reserve


def its_start_supersedes_it(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Tenancies, key: SequenceKey, now: Ns) -> Sequence | None:
        sequence = reserve(self, key, now)
        if sequence is not None:
            sequence.reserved = False
        return sequence

    patch.setattr(Tenancies, "reserve", forget)


def reserved_for_ever(patch: pytest.MonkeyPatch) -> None:
    def unwatched(self: Tenancies, key: SequenceKey, now: Ns) -> Sequence | None:
        sequence = reserve(self, key, now)
        if sequence is not None:
            self.idle.stop(sequence)
        return sequence

    patch.setattr(Tenancies, "reserve", unwatched)


def promised_although_it_waits(patch: pytest.MonkeyPatch) -> None:
    def queue_up(self: Tenancies, key: SequenceKey, now: Ns) -> Sequence | None:
        return reserve(self, key, now) or self.open(key, now)

    patch.setattr(Tenancies, "reserve", queue_up)


def its_owner_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    admit = SequenceScheduler._reserve

    def disown(self: SequenceScheduler, event: Reserve, now: Ns) -> None:
        admit(self, replace(event, owner=NO_OWNER), now)

    patch.setattr(SequenceScheduler, "_reserve", disown)


def a_drain_breaks_promises(patch: pytest.MonkeyPatch) -> None:
    decide = SequenceScheduler._decide_on_starts

    def take_back(self: SequenceScheduler) -> None:
        decide(self)
        for sequence in self._roster if self._no_starts else ():
            sequence.reserved = False

    patch.setattr(SequenceScheduler, "_decide_on_starts", take_back)


def a_loss_takes_what_is_not_there(patch: pytest.MonkeyPatch) -> None:
    def stale(self: Tenancies, key: SequenceKey, now: Ns) -> Sequence | None:
        sequence = reserve(self, key, now)
        if sequence is not None:
            sequence.fresh = False
        return sequence

    patch.setattr(Tenancies, "reserve", stale)


def one_id_is_reserved_twice(patch: pytest.MonkeyPatch) -> None:
    admit = SequenceScheduler._reserve

    def careless(self: SequenceScheduler, event: Reserve, now: Ns) -> None:
        roster, self._roster = self._roster, Roster()
        admit(self, event, now)
        self._roster = roster

    patch.setattr(SequenceScheduler, "_reserve", careless)


def slots_of_lost_instances_are_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotPool, "open", SlotPool.size)


def its_end_says_nothing_of_its_start(patch: pytest.MonkeyPatch) -> None:
    def begin(self: Tenancies, sequence: Sequence, *rest: object) -> None:
        sequence.reserved = False
        say_ended(self, sequence, *rest)  # type: ignore[arg-type]

    say_ended = Tenancies._say_ended
    patch.setattr(Tenancies, "_say_ended", begin)


@pytest.mark.parametrize(
    "bug",
    [
        its_start_supersedes_it,
        reserved_for_ever,
        promised_although_it_waits,
        its_owner_is_forgotten,
        pytest.param(a_drain_breaks_promises, marks=ONLY_LONG),
        a_loss_takes_what_is_not_there,
        one_id_is_reserved_twice,
        slots_of_lost_instances_are_counted,
        its_end_says_nothing_of_its_start,
    ],
    ids=lambda bug: bug.__name__,
)
def test_reservation_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    with pytest.raises(CAUGHT):
        run_state_machine_as_test(ReservingMachine, settings=SEEDED)
