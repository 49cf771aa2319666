"""Snapshots of ensembles' sequences: when they are taken, and how sequences leave and come back."""

from dataclasses import replace
from itertools import pairwise

import pytest

from streamgate.core.ids import OwnerNumber
from streamgate.engine.ensemble.moves import TAKING_NS
from streamgate.errors import Code, EndReason, Failure
from streamgate.model.config import Durability
from streamgate.model.snapshot import Snapshot
from tests.engine.ensemble_house import Talk
from tests.engine.moving_house import FIRST, LAST, STEPS, MovingHouse, sent, went_on
from tests.engine.play_model import changed


def due(*, steps: int = 0, after_ns: int = 0, bytes_per_second: int = 0) -> Durability:
    return Durability(
        snapshot_steps=steps, snapshot_ns=after_ns, snapshot_bytes_per_second=bytes_per_second
    )


def run(house: MovingHouse, talk: Talk, count: int, *, end: bool = False) -> None:
    """So many requests, one after the other."""
    for place in range(count):
        sent(talk, 1, end=end and place == count - 1)
        house.finish()


def test_a_snapshot_is_taken_every_so_many_steps_behind_their_results() -> None:
    house = MovingHouse.build()
    talk = Talk(house, 7)
    run(house, talk, 2 * STEPS + 1)
    assert [key for key, _ in house.snapshots] == [7, 7]
    assert [snapshot.position for _, snapshot in house.snapshots] == [STEPS - 1, 2 * STEPS - 1]
    for _, snapshot in house.snapshots:
        assert list(snapshot.parts) == [FIRST, LAST]
        assert {part.position for part in snapshot.parts.values()} == {snapshot.position}
        assert snapshot.size_bytes == 16
    assert talk.hashes == talk.expected()


def test_a_snapshot_is_taken_every_so_many_nanoseconds_while_it_steps() -> None:
    house = MovingHouse.build(due(after_ns=1000))
    talk = Talk(house, 7)
    run(house, talk, 3)
    house.host.sleep(999)
    run(house, talk, 1)
    assert house.snapshots == []
    house.host.sleep(1)
    run(house, talk, 2)
    assert [snapshot.position for _, snapshot in house.snapshots] == [4]
    house.host.sleep(5000)
    house.finish()
    assert len(house.snapshots) == 1  # nothing of it is new


def test_all_snapshots_together_cost_no_more_than_they_may() -> None:
    # A snapshot has 16 bytes: at 16 a second, one a second for all sequences.
    house = MovingHouse.build(due(steps=1, bytes_per_second=16))
    talks = [Talk(house, key) for key in (1, 2, 3)]
    for _ in range(50):
        for talk in talks:
            run(house, talk, 1)
        house.host.sleep(100_000_000)
    assert 4 <= len(house.snapshots) <= 6
    assert all(talk.hashes == talk.expected() for talk in talks)


def test_nothing_is_taken_without_somebody_who_wants_it() -> None:
    house = MovingHouse.build(watched=False)
    run(house, Talk(house, 7), 3 * STEPS)
    assert house.snapshots == []


def test_what_was_taken_while_a_request_came_is_thrown_away_and_taken_later() -> None:
    house = MovingHouse.build()
    talk = Talk(house, 7)
    run(house, talk, STEPS - 1)
    sent(talk, 1)
    house.work("first", "middle", "last")
    house.work("first")  # its part of the snapshot; that of `last` waits
    sent(talk, 1)
    house.work("first", "middle")
    house.work("last")  # its part: of another moment than that of `first`
    assert house.snapshots == []
    house.finish()
    assert [snapshot.position for _, snapshot in house.snapshots] == [STEPS]
    assert {part.position for part in house.snapshots[0][1].parts.values()} == {STEPS}


def test_a_sequence_that_never_rests_has_to_when_its_snapshot_is_overdue() -> None:
    house = MovingHouse.build()
    talk = Talk(house, 7)
    # There are always two requests under way.
    for _ in range(10 * STEPS):
        sent(talk, 1)
        house.host.settle()
        while len(talk.sent) - len(talk.finals) > 2:
            house.work(house.busy()[0])
    house.finish()
    assert talk.hashes == talk.expected()
    assert talk.order == sorted(talk.order)
    positions = [snapshot.position for _, snapshot in house.snapshots]
    assert len(positions) >= 4
    assert all(later - earlier <= 2 * STEPS + 1 for earlier, later in pairwise(positions))


@pytest.mark.parametrize("steps", range(1, 2 * STEPS))
def test_a_sequence_goes_on_elsewhere_as_if_it_had_never_moved(steps: int) -> None:
    here, there = MovingHouse.build(), MovingHouse.build()
    talk = Talk(here, 7)
    sent(talk, steps)
    answers = here.hand_over(7)
    here.finish()
    (snapshot,) = answers
    assert isinstance(snapshot, Snapshot)
    assert snapshot.position == steps - 1
    here.check_nothing_left()
    assert here.ended == []
    # Its next requests follow at once.
    restored = there.restore(7, snapshot)
    talk = went_on(talk, there)
    sent(talk, 3)
    there.finish()
    sent(talk, 2, end=True)
    there.finish()
    assert restored == [None]
    assert talk.hashes == talk.expected()
    assert [talk.finals[place].position for place in range(steps, steps + 5)] == list(
        range(steps, steps + 5)
    )
    assert there.ended == [(7, EndReason.CLIENT_END)]
    there.check_nothing_left()


def test_one_that_had_not_reached_all_models_begins_in_the_others() -> None:
    here, there = MovingHouse.build(), MovingHouse.build()
    talk = Talk(here, 7)
    sent(talk, 1)
    here.work("first")
    talk.calls[0].cancel()
    answers = here.hand_over(7)
    here.finish()
    (snapshot,) = answers
    assert isinstance(snapshot, Snapshot)
    assert list(snapshot.parts) == [FIRST]
    there.restore(7, snapshot)
    there.finish()
    assert there.alive() == {"first": [7], "last": []}
    again = Talk(there, 7)
    again.send(5)
    again.send(6, end=True)
    there.finish()
    assert all(isinstance(answer, int) for answer in again.hashes)
    assert there.ended == [(7, EndReason.CLIENT_END)]
    there.check_nothing_left()


def test_requests_that_come_while_it_leaves_are_lost_and_those_before_are_not() -> None:
    house = MovingHouse.build()
    talk = Talk(house, 7)
    sent(talk, 2)
    answers = house.hand_over(7)
    sent(talk, 2)
    house.finish()
    assert len(answers) == 1
    assert [talk.finals[place].lost for place in range(4)] == [False, False, True, True]
    assert talk.hashes[:2] == talk.expected()[:2]
    assert house.ended == []
    house.check_nothing_left()


def test_a_start_that_comes_while_another_leaves_begins_anew_behind_it() -> None:
    house = MovingHouse.build()
    old, new = Talk(house, 7), Talk(house, 7)
    sent(old, 2)
    answers = house.hand_over(7)
    sent(new, 2, end=True)
    house.finish()
    assert isinstance(answers[0], Snapshot)
    assert old.hashes == old.expected()
    assert new.hashes == new.expected()
    assert house.ended == [(7, EndReason.CLIENT_END)]
    house.check_nothing_left()


def test_a_snapshot_that_is_asked_for_leaves_the_sequence_where_it_is() -> None:
    house, there = MovingHouse.build(), MovingHouse.build()
    talk = Talk(house, 7)
    sent(talk, 3)
    answers: list[Snapshot | Failure] = []
    house.ensemble.take_snapshot(7, answers.append)
    house.finish()
    (snapshot,) = answers
    assert isinstance(snapshot, Snapshot)
    assert snapshot.position == 2
    there.restore(7, snapshot)
    copy = went_on(talk, there)
    for each, where in ((talk, house), (copy, there)):
        sent(each, 2, end=True)
        where.finish()
        assert each.hashes == each.expected()


def test_who_asks_for_what_is_not_there_is_told() -> None:
    house = MovingHouse.build()
    (answer,) = house.hand_over(7)
    assert isinstance(answer, Failure)
    assert answer.code is Code.NOT_FOUND
    talk = Talk(house, 7)
    sent(talk, 1)
    answers = house.hand_over(7)
    house.hang_up(1)
    house.finish()
    assert [answer.code for answer in answers if isinstance(answer, Failure)] == [Code.NOT_FOUND]
    house.check_nothing_left()


def test_a_pinned_model_pins_the_ensembles_sequences_and_is_named() -> None:
    house = MovingHouse.build()
    house.models["last"].refuses = Failure(
        Code.UNSUPPORTED, "sequences of model 'last' can't be moved"
    )
    talk = Talk(house, 7)
    run(house, talk, 4 * STEPS)
    assert house.snapshots == []
    answers = house.hand_over(7)
    sent(talk, 2, end=True)
    house.finish()
    text = "in ensemble 'e', sequences of model 'last' can't be moved"
    assert answers == [Failure(Code.UNSUPPORTED, text)]
    assert talk.hashes == talk.expected()
    house.check_nothing_left()


def test_a_model_that_gives_no_snapshot_is_waited_for_so_long_and_no_longer() -> None:
    house = MovingHouse.build()
    talk = Talk(house, 7)
    run(house, talk, 1)
    answers = house.hand_over(7)
    sent(talk, 1)
    house.work("first")
    late = house.models["last"].jobs.popleft()
    house.host.sleep(TAKING_NS)
    assert [answer.code for answer in answers if isinstance(answer, Failure)] == [Code.UNAVAILABLE]
    house.finish()
    late.do()  # it comes after all
    sent(talk, 1, end=True)
    house.finish()
    assert talk.hashes == talk.expected()
    assert house.snapshots == []
    house.check_nothing_left()


def taken(steps: int) -> Snapshot:
    """A sequence 7 after so many steps."""
    house = MovingHouse.build()
    sent(Talk(house, 7), steps)
    answers = house.hand_over(7)
    house.finish()
    (snapshot,) = answers
    assert isinstance(snapshot, Snapshot)
    return snapshot


@pytest.mark.parametrize("wrong", [FIRST, LAST])
def test_a_part_that_can_not_be_had_leaves_nothing_of_the_others(wrong: int) -> None:
    house = MovingHouse.build()
    answers = house.restore(7, changed(taken(3), wrong, schema="another"))
    talk = Talk(house, 7)
    talk.send(9)
    new = Talk(house, 7)
    sent(new, 2, end=True)
    house.finish()
    assert answers == [Failure(Code.INVALID_ARG, "in ensemble 'e', no schema another")]
    assert talk.finals[0].lost
    assert new.hashes == new.expected()
    assert house.ended == [(7, EndReason.CLIENT_END)]
    house.check_nothing_left()


@pytest.mark.parametrize("wrong", ["schema", "nothing", "stateless step"])
def test_what_is_no_snapshot_of_this_ensemble_is_refused(wrong: str) -> None:
    snapshot = taken(2)
    changes = {
        "schema": replace(snapshot, schema="0123456789abcdef"),
        "nothing": replace(snapshot, parts={}),
        "stateless step": replace(snapshot, parts={**snapshot.parts, 1: snapshot.parts[FIRST]}),
    }
    house = MovingHouse.build()
    answers = house.restore(7, changes[wrong])
    assert answers == []  # never before it returns
    house.finish()
    (answer,) = answers
    assert answer is not None
    assert answer.code is Code.INVALID_ARG
    house.check_nothing_left()


def test_a_sequence_that_lives_is_not_restored() -> None:
    house = MovingHouse.build()
    talk = Talk(house, 7)
    sent(talk, 1)
    answers: list[Failure | None] = []
    house.ensemble.restore(7, OwnerNumber(1), taken(2), answers.append)
    house.finish()
    (answer,) = answers
    assert answer is not None
    assert answer.code is Code.ALREADY_EXISTS
    sent(talk, 1)
    house.finish()
    assert talk.hashes == talk.expected()


def test_a_lost_connection_ends_a_sequence_that_is_coming_back() -> None:
    house = MovingHouse.build()
    answers = house.restore(7, taken(3))
    talk = Talk(house, 7)
    talk.send(1)
    house.work("first")
    house.hang_up(1)
    house.finish()
    (answer,) = answers
    assert answer is not None
    assert len(talk.finals) == 1
    assert house.ended == []
    house.check_nothing_left()


def test_an_end_that_is_asked_for_while_it_comes_back_is_behind_its_requests() -> None:
    house = MovingHouse.build()
    answers = house.restore(7, taken(3))
    talk = Talk(house, 7)
    talk.sent = [(0, True, False), (1, False, False), (2, False, False)]
    sent(talk, 2)
    house.host.settle()
    house.ensemble.end_sequence(7, EndReason.CLIENT_END, drain=True)
    house.finish()
    assert answers == [None]
    assert [talk.finals[place].failure for place in (3, 4)] == [None, None]
    assert house.ended == [(7, EndReason.CLIENT_END)]
    house.check_nothing_left()
