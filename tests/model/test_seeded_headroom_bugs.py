"""The model tests catch what admission by headroom can get wrong: each bug put in on purpose fails
them."""

from collections.abc import Callable

import pytest
from hypothesis.stateful import run_state_machine_as_test

from streamgate.core.ids import InstanceIndex
from streamgate.core.slots import Slot, SlotPool
from streamgate.core.tenancies import Tenancies
from tests.model.sequence_machine import PacedMachine
from tests.model.settings import CAUGHT, ONLY_LONG, SEEDED

Bug = Callable[[pytest.MonkeyPatch], None]


def every_free_slot_is_handed_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotPool, "_has_room", lambda self, key: True)


def who_waits_is_not_let_in_when_there_is_room(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tenancies, "fill_room", lambda self, now: None)


def slow_instances_are_said_to_be_full(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotPool, "is_crowded", property(lambda self: bool(self._free) and not self.free))


def full_instances_are_said_to_be_slow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotPool, "is_crowded", property(lambda self: self.open and not self.free))


def one_that_left_is_still_counted(patch: pytest.MonkeyPatch) -> None:
    release = SlotPool.release

    def keep(self: SlotPool, slot: Slot) -> None:
        release(self, slot)
        if slot.index == 1:
            self._held[slot.instance] += 1

    patch.setattr(SlotPool, "release", keep)


def a_slow_instance_stops_them_all(patch: pytest.MonkeyPatch) -> None:
    take = SlotPool.take

    def first_only(self: SlotPool) -> Slot | None:
        crowded = self._free and not self._has_room(min(self._free))
        return None if self._limit is not None and crowded else take(self)

    patch.setattr(SlotPool, "take", first_only)


def lost_instances_count_as_slow(patch: pytest.MonkeyPatch) -> None:
    def rooms(self: SlotPool) -> dict[InstanceIndex, int]:
        assert self._limit is not None
        return {each: max(0, self._limit(each) - held) for each, held in self._held.items()}

    patch.setattr(SlotPool, "_rooms", rooms)
    patch.setattr(SlotPool, "is_crowded", property(lambda self: not self.free))


@pytest.mark.parametrize(
    "bug",
    [
        every_free_slot_is_handed_out,
        pytest.param(who_waits_is_not_let_in_when_there_is_room, marks=ONLY_LONG),
        pytest.param(slow_instances_are_said_to_be_full, marks=ONLY_LONG),
        full_instances_are_said_to_be_slow,
        one_that_left_is_still_counted,
        pytest.param(a_slow_instance_stops_them_all, marks=ONLY_LONG),
        lost_instances_count_as_slow,
    ],
    ids=lambda bug: bug.__name__,
)
def test_headroom_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    with pytest.raises(CAUGHT):
        run_state_machine_as_test(PacedMachine, settings=SEEDED)
