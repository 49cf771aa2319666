"""The model tests catch what moves can get wrong: each bug put in on purpose fails them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from streamgate.core.backlog import Backlog
from streamgate.core.commands import HandOverRefused
from streamgate.core.events import Arrived, HandOver
from streamgate.core.ids import NO_REQUEST, Ns, RequestNumber
from streamgate.core.moves import Moves
from streamgate.core.sequence import Sequence
from streamgate.core.slots import Slot
from streamgate.core.tenancies import Tenancies
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey
from tests.model.sequence_machine import MovingMachine
from tests.model.settings import CAUGHT, ONLY_LONG, SEEDED

Bug = Callable[[pytest.MonkeyPatch], None]


def steps_do_not_wait_for_their_state(patch: pytest.MonkeyPatch) -> None:
    say_taken = Tenancies._say_taken

    def impatient(self: Tenancies, sequence: Sequence, slot: Slot, now: Ns) -> None:
        say_taken(self, sequence, slot, now)
        sequence.held = False

    patch.setattr(Tenancies, "_say_taken", impatient)


def steps_run_while_a_state_is_copied(patch: pytest.MonkeyPatch) -> None:
    preempt = Tenancies._preempt

    def unheld(self: Tenancies, sequence: Sequence) -> None:
        preempt(self, sequence)
        sequence.held = False

    patch.setattr(Tenancies, "_preempt", unheld)


def a_state_that_did_not_come_is_used(patch: pytest.MonkeyPatch) -> None:
    arrive = Moves.arrive

    def credulous(self: Moves, event: Arrived, now: Ns) -> None:
        arrive(self, Arrived(event.request), now)

    patch.setattr(Moves, "arrive", credulous)


def who_leaves_is_not_closed(patch: pytest.MonkeyPatch) -> None:
    hand_over = Moves.hand_over

    def ajar(self: Moves, event: HandOver, now: Ns) -> None:
        hand_over(self, event, now)
        sequence = self._tenancies.roster.newest(event.sequence)
        if sequence is not None and sequence.hand_over == event.request:
            sequence.open = True

    patch.setattr(Moves, "hand_over", ajar)


def it_goes_though_it_is_needed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Moves, "_may_go", lambda self, sequence: True)


def all_go_when_one_waits(patch: pytest.MonkeyPatch) -> None:
    wanted = property(lambda self: 5 * self._tenancies.backlog.eligible)
    patch.setattr(Moves, "_wanted", wanted)


def who_was_parked_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    add = Backlog.add

    def lose(self: Backlog, sequence: Sequence) -> None:
        add(self, sequence)
        if sequence.steps and sequence.place is not None:
            self._eligible.discard(sequence.place)
            sequence.place = None

    patch.setattr(Backlog, "add", lose)


def who_was_parked_comes_first(patch: pytest.MonkeyPatch) -> None:
    park = Tenancies.park

    def push_in(self: Tenancies, sequence: Sequence, number: RequestNumber, now: Ns) -> None:
        opened, self._opened = self._opened, -1
        park(self, sequence, number, now)
        self._opened = opened

    patch.setattr(Tenancies, "park", push_in)


def nobody_hears_that_it_can_not_leave(patch: pytest.MonkeyPatch) -> None:
    end = Tenancies.end

    def silent(self: Tenancies, *rest: Any) -> None:
        end(self, *rest)
        self._out[:] = [each for each in self._out if not isinstance(each, HandOverRefused)]

    patch.setattr(Tenancies, "end", silent)


def what_is_lost_lives_on(patch: pytest.MonkeyPatch) -> None:
    """It has no START that has run, but a state."""
    restore = Tenancies.restore

    def as_a_start(self: Tenancies, key: SequenceKey, number: RequestNumber, now: Ns) -> Sequence:
        sequence = restore(self, key, number, now)
        sequence.fresh = True
        return sequence

    patch.setattr(Tenancies, "restore", as_a_start)


def its_state_is_said_to_be_there(patch: pytest.MonkeyPatch) -> None:
    say_ended = Tenancies._say_ended

    def forget(self: Tenancies, sequence: Sequence, reason: EndReason) -> None:
        if sequence.slot is None:
            sequence.restores = NO_REQUEST
        say_ended(self, sequence, reason)

    patch.setattr(Tenancies, "_say_ended", forget)


@pytest.mark.parametrize(
    "bug",
    [
        steps_do_not_wait_for_their_state,
        pytest.param(steps_run_while_a_state_is_copied, marks=ONLY_LONG),
        a_state_that_did_not_come_is_used,
        who_leaves_is_not_closed,
        pytest.param(it_goes_though_it_is_needed, marks=ONLY_LONG),
        all_go_when_one_waits,
        who_was_parked_is_forgotten,
        who_was_parked_comes_first,
        nobody_hears_that_it_can_not_leave,
        what_is_lost_lives_on,
        its_state_is_said_to_be_there,
    ],
    ids=lambda bug: bug.__name__,
)
def test_move_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    with pytest.raises(CAUGHT):
        run_state_machine_as_test(MovingMachine, settings=SEEDED)
