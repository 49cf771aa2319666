"""A house of sequences on the move shows what can go wrong with them: each bug fails it."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from streamgate.core.commands import SequenceLeft, SequenceParked, SlotTaken
from streamgate.engine.moves import Moves
from streamgate.engine.places import Places
from streamgate.engine.rows import FixedRows
from streamgate.engine.snapshots import Keepers
from streamgate.model.snapshot import Snapshot
from tests.model.settings import CAUGHT, SEEDED
from tests.simulation.house_machine import MovingHouseMachine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Bug = Callable[[pytest.MonkeyPatch], None]


def nothing(*_: Any) -> None:
    return None


def a_state_is_not_put_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keepers, "put", nothing)


def a_snapshot_is_no_copy(patch: pytest.MonkeyPatch) -> None:
    """What the slot's next tenant does to it is seen in it."""
    patch.setattr(FixedRows, "read", lambda self, slot: self._rows[slot])


def a_state_goes_to_its_old_slot(patch: pytest.MonkeyPatch) -> None:
    put = Keepers.put

    def astray(self: Keepers, slot: int, sequence: Any, snapshot: Snapshot) -> None:
        put(self, 0, sequence, snapshot)

    patch.setattr(Keepers, "put", astray)


def it_still_has_a_place(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Places, "clear", nothing)


def what_is_parked_comes_back_as_it_was_before(patch: pytest.MonkeyPatch) -> None:
    """Its newest snapshot is not the one that is put in."""
    change = Moves.change
    kept: dict[Any, Snapshot] = {}

    def stale(self: Moves, command: SlotTaken | SequenceLeft | SequenceParked) -> None:
        change(self, command)
        for coming in self._coming.values():
            coming.snapshot = kept.setdefault((id(self), coming.sequence), coming.snapshot)

    patch.setattr(Moves, "change", stale)


def nobody_is_told_that_it_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Moves, "_refuse_hand_over", nothing)


@pytest.mark.parametrize(
    "bug",
    [
        a_state_is_not_put_back,
        a_snapshot_is_no_copy,
        a_state_goes_to_its_old_slot,
        it_still_has_a_place,
        what_is_parked_comes_back_as_it_was_before,
        nobody_is_told_that_it_stays,
    ],
    ids=lambda bug: bug.__name__,
)
def test_moving_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    with pytest.raises(CAUGHT):
        run_state_machine_as_test(MovingHouseMachine, settings=SEEDED)
