"""Who is let in where a pace is to be kept: STARTs, reservations, and those who wait."""

import pytest

from streamgate.core.commands import Rejection, ReservationRefused
from streamgate.core.events import Drain, EndSequence
from streamgate.core.ids import InstanceIndex, Ns
from streamgate.core.slots import SlotPool
from streamgate.core.step_times import KNOWN_AFTER, WARM_UP
from streamgate.errors import EndReason
from streamgate.model.config import SequenceBatching
from tests.core.listening import ended, not_reserved, refusals, rejects, requests, taken
from tests.core.play import MS, Play, direct, oldest

TWO_MS = 40
"""A step of so many milliseconds leaves room for two streams of a pace of 100: 2 * 40 <= 85."""

FOREVER = 10**12


def paced(slots: int = 4) -> SequenceBatching:
    return oldest(slots, pace_ns=100 * MS, max_idle_ns=FOREVER)


def learn(play: Play, key: int, step_ms: int) -> None:
    """A live sequence has steps of so many milliseconds until the scheduler knows them."""
    for _ in range(WARM_UP + KNOWN_AFTER):
        play.submit(key)
        play.poll()
        play.wait(step_ms * MS)
        play.complete()


def crowded(slots: int = 4) -> Play:
    """Two streams, and no room for a third; the model has more slots."""
    play = Play(paced(slots), 1)
    play.reserve(1)
    play.submit(1, "S")
    play.run()
    learn(play, 1, TWO_MS)
    assert play.scheduler.statistics().headroom == 1
    play.reserve(2)
    assert play.scheduler.statistics().headroom == 0
    return play


class TestAdmission:
    @pytest.mark.parametrize("scheduling", [direct, oldest])
    def test_without_a_pace_free_slots_are_what_counts(self, scheduling: type) -> None:
        play = Play(scheduling(4, max_idle_ns=FOREVER), 1)
        play.submit(1, "S")
        play.run()
        learn(play, 1, 10_000)
        assert play.scheduler.statistics().headroom == play.scheduler.statistics().slots - 1

    def test_a_reservation_is_refused_with_how_many_are_served(self) -> None:
        assert not_reserved(crowded().reserve(3)) == [(Rejection.NO_HEADROOM, 2)]

    def test_where_the_slots_are_too_few_they_are_the_reason(self) -> None:
        assert not_reserved(crowded(slots=2).reserve(3)) == [(Rejection.SLOTS_TAKEN, 2)]

    def test_a_start_is_refused_and_does_not_wait(self) -> None:
        play = crowded()
        play.submit(3, "S")
        assert refusals(play.poll()) == [Rejection.NO_HEADROOM]
        assert play.scheduler.statistics().backlog_sequences == 0

    def test_it_does_not_wait_behind_others_either(self) -> None:
        """Two slots were enough for all, but steps are so slow now that one is."""
        play = crowded(slots=2)
        learn(play, 1, 90)
        learn(play, 1, 90)
        play.submit(3, "S")
        assert refusals(play.poll()) == [Rejection.NO_HEADROOM]

    def test_what_is_reserved_begins(self) -> None:
        play = crowded()
        request = play.submit(2, "S")
        assert requests(play.poll()) == [[request]]

    def test_a_start_that_supersedes_takes_no_more_room(self) -> None:
        play = crowded()
        request = play.submit(1, "S")
        assert requests(play.poll()) == [[request]]

    def test_who_goes_makes_room(self) -> None:
        play = crowded()
        play.tell(EndSequence(2, EndReason.CLIENT_END))
        play.poll()
        assert [each[0] for each in taken(play.reserve(3))] == [3]

    def test_nobody_goes_when_the_limit_falls(self) -> None:
        play = crowded()
        learn(play, 1, 90)
        learn(play, 1, 90)
        assert ended([command for _, command in play.heard]) == []
        assert play.scheduler.statistics().active_sequences == 2
        assert play.scheduler.statistics().headroom == 0

    def test_who_waits_for_a_slot_goes_first_when_room_comes(self) -> None:
        play = crowded(slots=2)
        third = play.submit(3, "S")
        play.poll()
        learn(play, 1, 90)
        learn(play, 1, 90)
        play.tell(EndSequence(2, EndReason.CLIENT_END))
        assert taken(play.poll()) == []
        play.heard.clear()
        learn(play, 1, 10)
        learn(play, 1, 10)
        said = [command for _, command in play.heard]
        assert [each[0] for each in taken(said)] == [3]
        assert [third] in requests(said)
        assert not_reserved(play.reserve(4)) == [(Rejection.SLOTS_TAKEN, 2)]

    def test_a_lost_instance_is_no_want_of_headroom(self) -> None:
        play = crowded()
        play.lose(0)
        said = play.reserve(3)
        assert [each.reason for each in said if isinstance(each, ReservationRefused)] == [
            Rejection.INSTANCE_AWAY
        ]
        play.submit(4, "S")
        said = play.poll()
        assert refusals(said) == []
        assert rejects(said) == []


class TestSlots:
    def pool(self, *limits: int) -> SlotPool:
        pool = SlotPool(3, lambda instance: limits[instance])
        for index in range(len(limits)):
            pool.add(InstanceIndex(index))
        return pool

    def test_an_instance_without_room_is_passed_over(self) -> None:
        pool = self.pool(1, 3)
        assert pool.free == 4
        seats = [pool.take() for _ in range(5)]
        assert [(slot.instance, slot.index) for slot in seats if slot] == [
            (0, 0),
            (1, 0),
            (1, 1),
            (1, 2),
        ]
        assert (pool.is_crowded, pool.taken, pool.free) == (True, 4, 0)
        assert seats[0] is not None
        pool.release(seats[0])
        assert (pool.is_crowded, pool.taken, pool.free) == (False, 3, 1)
        assert pool.take() is seats[0]

    def test_a_pool_whose_slots_are_taken_is_not_crowded(self) -> None:
        pool = self.pool(9)
        assert [pool.take() is not None for _ in range(4)] == [True, True, True, False]
        assert not pool.is_crowded

    def test_shut_instances_neither_have_room_nor_want_it(self) -> None:
        pool = self.pool(1, 1)
        for index in (0, 1):
            pool.shut(InstanceIndex(index))
        assert not pool.is_crowded
        pool.reopen(InstanceIndex(1))
        assert pool.free == 1
        assert pool.take() is not None
        assert pool.is_crowded


def test_times_are_those_from_start_to_completion() -> None:
    """What the host takes to tell that a step is over keeps the instance busy, too."""
    play = Play(paced(100), 1)
    play.submit(1, "S")
    play.poll()
    play.now = Ns(play.now + MS)
    play.complete()
    learn(play, 1, 10)
    # 10 n <= 85.
    assert play.scheduler.statistics().headroom + 1 == 8


def test_who_goes_away_has_no_headroom() -> None:
    play = Play(paced(8), 1)
    assert play.scheduler.statistics().headroom == 8
    play.scheduler.receive(Drain(), play.now)
    assert play.scheduler.statistics().headroom == 0


def test_nor_has_a_model_without_an_instance() -> None:
    play = Play(paced(8), 1)
    play.lose(0)
    play.poll()
    assert play.scheduler.statistics().headroom == 0
