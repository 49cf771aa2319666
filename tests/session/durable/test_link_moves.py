"""Sequences that leave a place on purpose: moved, handed over, or asleep."""

from itertools import product

import pytest

from streamgate.core.ids import OwnerNumber
from streamgate.errors import EndReason, Failure
from streamgate.model.request import Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from tests.durable.models import hashes, mix
from tests.session.durable.fake_place import request_of
from tests.session.durable.house import DurableHouse, Tenancy, failure_codes


async def test_a_place_is_drained_under_its_sequences() -> None:
    house = DurableHouse(2)
    first, second = house.places
    for key in range(1, 9):
        house.run(key, 1)
    behind = {key: house.send(key, 4) for key in first.lives}
    house.host.settle()
    link = house.link
    for lane in list(link._sequences.lanes.values()):
        if lane.place is not None and lane.place.link is first:
            link._moves.leave(lane)
    waiting = {key: house.send(key, 5) for key in behind}
    house.finish()
    assert first.lives == {}
    assert await link.drain_place(first, 1.0) == 0
    for sent in [*behind.values(), *waiting.values()]:
        assert failure_codes([sent]) == [None]
    assert house.counted.moved == len(behind) > 0
    house.run(20, 1)
    assert 20 in second.lives
    house.come_to_rest()


async def test_what_is_pinned_stays_where_it_is() -> None:
    house = DurableHouse(2)
    house.run(7, 1)
    place = house.at(7)
    place.pins = True
    (lane,) = house.link._sequences.lanes.values()
    house.link._moves.leave(lane)
    waiting = house.send(7, 4)
    house.finish()
    assert failure_codes([waiting]) == [None]
    assert await house.link.drain_place(place, 1.0) == 1
    house.come_to_rest()


def test_a_place_that_does_not_hand_over_is_left_without_it() -> None:
    house = DurableHouse(2)
    house.run(7, 1)
    place = house.at(7)
    place.lives[7][0].queue.clear()
    (lane,) = house.link._sequences.lanes.values()
    place.hand_over = lambda sequence, on_answer: None  # type: ignore[method-assign]
    house.link._moves.leave(lane)
    waiting = house.send(7, 4)
    house.wait(11)
    house.finish()
    assert failure_codes([waiting]) == [None]
    assert 7 not in place.lives
    house.come_to_rest()


def test_sleepers_take_no_more_than_they_may() -> None:
    house = DurableHouse(1, hibernated_bytes=2)
    (place,) = house.places
    for key in (1, 2, 3, 4):
        house.run(key, 1)
        place.hibernate(key)
    assert [len(tenancy.ends) for tenancy in house.all] == [1, 1, 0, 0]
    assert house.all[0].ends == [EndReason.PREEMPTED]
    assert house.counted.hibernated == 2
    house.run(3, 4)
    assert house.counted.hibernated == 1
    house.come_to_rest()


def test_sleepers_end_as_idle_unless_somebody_touches_them() -> None:
    house = DurableHouse(1)
    (place,) = house.places
    for key in (1, 2):
        house.run(key, 1)
        place.hibernate(key)
    # The idle limit of the model is a second.
    house.wait(0.5)
    house.link.touch(1)
    house.wait(0.75)
    assert [tenancy.ends for tenancy in house.all] == [[], [EndReason.IDLE]]
    house.wait(1)
    assert house.all[0].ends == [EndReason.IDLE]
    house.come_to_rest()


def test_it_can_itself_be_moved_from_and_to() -> None:
    one, other = DurableHouse(1), DurableHouse(1)
    one.run(7, 1, 2)
    told: list[Snapshot | Failure] = []
    one.link.hand_over(7, told.append)
    one.host.settle()
    (snapshot,) = told
    assert isinstance(snapshot, Snapshot)
    assert snapshot.position == 1
    assert one.all[0].ends == [], "it has not ended"
    answers: list[Failure | None] = []
    other.link.restore(7, OwnerNumber(1), snapshot, answers.append)
    other.host.settle()
    assert answers == [None]
    tenancy = Tenancy(7)
    other.live[7], other.all = [tenancy], [tenancy]
    got: list[Response] = []
    other.link.submit(request_of(7, 4), got.append, OwnerNumber(1), 2)
    other.finish()
    other.places[0].lose()
    other.link.submit(request_of(7, 5), got.append, OwnerNumber(1), 3)
    other.finish()
    kept = hashes([1, 2, 4, 5])
    values = [int(each.outputs[0].array.item()) for each in got if each.outputs]
    assert values == [mix(kept[2], 0), mix(kept[3], 0), mix(kept[3], 1)]
    other.come_to_rest()
    one.all.clear()
    one.live.clear()
    one.come_to_rest()


def test_who_is_above_gets_the_snapshots_and_the_sleepers() -> None:
    house = DurableHouse(1)
    above: list[tuple[SequenceKey, int, bool]] = []
    house.link.watch_snapshots(
        lambda key, snapshot, hibernates: above.append((key, snapshot.position, hibernates))
    )
    house.run(7, 1, 2)
    (place,) = house.places
    place.snapshot(7)
    place.hibernate(7)
    assert above == [(7, 1, False), (7, 1, True)]
    assert house.link._sequences.lanes == {}
    assert house.all[0].ends == []


@pytest.mark.parametrize(("keeps_log", "is_kept_above"), [*product([False, True], repeat=2)])
def test_who_takes_snapshots_is_told_whether_anybody_keeps_them(
    keeps_log: bool, is_kept_above: bool
) -> None:
    house = DurableHouse(1, keeps_log=keeps_log)
    house.link.watch_snapshots(lambda key, snapshot, hibernates: is_kept_above)
    house.run(7, 1, 2)
    (place,) = house.places
    kept = place.on_snapshot(7, Snapshot(1, "hash", objects=b"0"), False)
    assert kept is (keeps_log or is_kept_above)


def test_a_sleeper_that_nobody_above_keeps_stays() -> None:
    house = DurableHouse(1)
    house.link.watch_snapshots(lambda key, snapshot, hibernates: False)
    house.run(7, 1, 2)
    (place,) = house.places
    place.hibernate(7)
    (lane,) = house.link._sequences.lanes.values()
    assert lane.hibernated_bytes
    house.run(7, 3, 4)
    house.come_to_rest()
