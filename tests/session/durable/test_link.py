"""What a durable link does in each case that has a rule of its own."""

import logging

import pytest

from streamgate.core.ids import OwnerNumber
from streamgate.errors import Code, EndReason, Failure
from streamgate.link.contract import UNSTARTED
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.session.durable.link import DurableLink
from streamgate.session.durable.observer import LogObserver
from tests.durable.models import hashes, mix
from tests.session.durable.fake_place import FakePlace, request_of
from tests.session.durable.house import DurableHouse, Sent, failure_codes
from tests.session.durable.test_log import Watched


def results(sent: list[Sent]) -> list[int]:
    return [value for each in sent for value in each.results]


def test_a_lost_sequence_goes_on_elsewhere() -> None:
    house = DurableHouse(2)
    sent = house.run(7, 1, 2)
    first = house.at(7)
    first.lose()
    sent += house.run(7, 5, end=True)
    assert [place.lives for place in house.places] == [{}, {}]
    assert first.restored == 0
    assert [each.position for each in sent] == [0, 1, 2]
    one, two, three = hashes([1, 2, 5])
    wanted = [(one, 0), (two, 0), (two, 1), (three, 0), (three, 1)]
    assert results(sent) == [mix(kept, index) for kept, index in wanted]
    assert (house.counted.recovered, house.counted.replayed_steps) == (1, 2)
    assert house.counted.suppressed_results == 5
    house.come_to_rest()


def test_a_place_that_goes_without_a_word_is_lost_with_all_that_is_there() -> None:
    house = DurableHouse(2)
    house.run(7, 1, 2)
    first = house.at(7)
    waiting = house.send(7, 4)
    house.link.remove_place(first)
    first.lives.clear()
    house.places.remove(first)
    house.finish()
    assert waiting.results == [mix(hashes([1, 2, 4])[-1], 0)]
    house.come_to_rest()


def test_while_no_place_is_there_it_waits_and_then_is_lost() -> None:
    house = DurableHouse(1)
    house.run(7, 1)
    (place,) = house.places
    place.lose()
    place.is_away = True
    waiting = house.send(7, 4)
    house.wait(29)
    assert waiting.got == []
    house.wait(2)
    assert [response.lost for response in waiting.got] == [True]
    assert house.all[0].ends == [EndReason.ENGINE_LOST]
    assert house.counted.lost == 1
    house.come_to_rest()


def test_a_place_that_comes_in_time_takes_it_over() -> None:
    house = DurableHouse(1)
    house.run(7, 1)
    (place,) = house.places
    house.link.remove_place(place)
    house.places.clear()
    waiting = house.send(7, 4)
    house.wait(10)
    house.add()
    house.wait(2)
    house.finish()
    assert waiting.final is not None
    assert waiting.final.failure is None
    house.come_to_rest()


def test_a_snapshot_is_restored_and_only_what_follows_is_replayed() -> None:
    house = DurableHouse(1)
    house.run(7, 1, 2, 4)
    (place,) = house.places
    place.snapshot(7)
    sent = house.run(7, 5)
    place.lose()
    sent += house.run(7, 7)
    assert place.restored == 1
    assert house.counted.replayed_steps == 1
    assert [each.final.failure for each in sent if each.final] == [None, None]
    house.come_to_rest()


def test_a_snapshot_of_another_schema_is_tried_nowhere_twice() -> None:
    house = DurableHouse(1)
    house.run(7, 1, 2)
    (place,) = house.places
    place.snapshot(7)
    place.schema = "another"
    place.lose()
    waiting = house.send(7, 4)
    house.wait(1)
    assert waiting.final is not None
    assert waiting.final.lost
    assert house.all[0].ends == [EndReason.ENGINE_LOST]
    house.come_to_rest()


def test_a_restore_that_fails_is_tried_again() -> None:
    house = DurableHouse(1)
    house.run(7, 1, 2)
    (place,) = house.places
    place.snapshot(7)
    place.fails_restores = 2
    place.lose()
    waiting = house.send(7, 4)
    house.wait(1)
    house.finish()
    assert failure_codes([waiting]) == [None]
    assert place.fails_restores == 0
    house.come_to_rest()


def test_snapshots_that_do_not_fit_are_refused() -> None:
    house = DurableHouse(2)
    house.run(7, 1, 2)
    first = house.at(7)
    stale = Snapshot(1, "hash", objects=b"0")
    first.lose()
    house.host.settle()
    # A zombie speaks up, and somebody speaks of what is not there.
    first.on_snapshot(7, stale, False)
    first.on_snapshot(8, stale, False)
    house.at(7).on_snapshot(7, Snapshot(9, "hash", objects=b"0"), False)
    house.finish()
    assert house.counted.stale_snapshots >= 2
    sent = house.run(7, 5)
    assert sent[0].results[0] == mix(hashes([1, 2, 5])[-1], 0)
    house.come_to_rest()


def test_results_of_the_dead_do_not_count() -> None:
    house = DurableHouse(2)
    house.run(7, 1)
    house.send(7, 4)
    place = house.at(7)
    asked = place.lives[7][0].queue[0]
    place.lose()
    house.host.settle()
    house.finish()
    asked.sink(Response(asked.request, "m", "1", position=1, index=0))
    assert house.counted.stale_results == 1
    house.come_to_rest()


def test_a_step_that_was_lost_without_its_sequence_is_run_again_in_its_turn() -> None:
    house = DurableHouse(1)
    house.run(7, 1)
    sent = [house.send(7, value) for value in (4, 5, 7)]
    (place,) = house.places
    place.lose_step(7)
    house.wait(1)
    house.finish()
    assert [each.final.failure for each in sent if each.final] == [None] * 3
    assert sent[2].results == [mix(hashes([1, 4, 5, 7])[-1], 0)]
    house.come_to_rest()


def test_another_result_than_before_ends_the_sequence() -> None:
    house = DurableHouse(1, fixed_bucket=True)
    house.run(7, 1, 2)
    (place,) = house.places
    place.snapshot(7)
    lane = house.link._sequences.lanes[7]
    house.run(7, 4)
    kept = lane.tenancies[0].log.snapshot
    assert kept is not None
    lane.tenancies[0].log.snapshot = Snapshot(kept.position, kept.schema, objects=b"1")
    place.lose()
    waiting = house.send(7, 5)
    house.finish()
    assert waiting.final is not None
    assert waiting.final.failure is not None
    assert "another result" in waiting.final.failure.message
    assert house.all[0].ends == [EndReason.ERROR]
    assert house.counted.mismatches == 1
    house.come_to_rest()


def test_what_outgrew_its_log_is_lost_at_once_and_a_snapshot_mends_it() -> None:
    house = DurableHouse(1, log_bytes=1100)
    house.run(7, 1, 2, 4)
    house.run(8, 1, 2, 4)
    (place,) = house.places
    assert house.counted.outgrown == 2
    place.snapshot(8)
    place.lose()
    house.finish()
    assert [tenancy.ends for tenancy in house.all] == [[EndReason.ENGINE_LOST], []]
    house.come_to_rest()


def test_where_no_log_is_kept_a_loss_is_told() -> None:
    house = DurableHouse(1, keeps_log=False)
    house.run(7, 1, 2)
    waiting = house.send(7, 4)
    house.places[0].lose()
    house.finish()
    assert waiting.final is not None
    assert waiting.final.lost
    assert house.all[0].ends == [EndReason.ENGINE_LOST]
    house.come_to_rest()


def test_a_superseding_start_keeps_its_place_behind_what_it_supersedes() -> None:
    house = DurableHouse(1)
    house.run(7, 1)
    old = [house.send(7, 4), house.send(7, 5)]
    new = [house.send(7, 7, start=True), house.send(7, 2)]
    house.places[0].lose()
    house.finish()
    assert old[1].results == [mix(hashes([1, 4, 5])[-1], index) for index in range(2)]
    assert new[1].results == [mix(hashes([7, 2])[-1], index) for index in range(2)]
    assert house.all[0].ends == [EndReason.SUPERSEDED]
    house.come_to_rest()


def test_an_end_that_was_answered_needs_no_recovery() -> None:
    house = DurableHouse(1)
    house.run(7, 1)
    house.send(7, 3, end=True)
    house.host.settle()
    (place,) = house.places
    place.work(7)
    asked = place.lives[7][0].queue.popleft()
    # Its answer still came through, the news of its end did not.
    asked.sink(Response(asked.request, "m", "1", empty=True, position=1, index=0))
    place.lose()
    house.finish()
    assert house.all[0].ends == [EndReason.CLIENT_END]
    assert house.counted.replayed_steps == 0
    house.come_to_rest()


def test_requests_while_it_is_away_are_bounded() -> None:
    house = DurableHouse(1)
    house.link._max_pending = 3
    house.run(7, 1)
    (place,) = house.places
    place.lose()
    place.is_away = True
    sent = [house.send(7, 4) for _ in range(5)]
    house.host.settle()
    refused = [each for each in sent if each.final is not None]
    assert refused
    assert all(each.final is not None and not each.final.admitted for each in refused)
    place.is_away = False
    house.wait(1)
    house.finish()
    assert failure_codes(sent[:2]) == [None, None]
    house.come_to_rest()


def test_cancel_pause_end_and_hang_up_while_it_is_away() -> None:
    house = DurableHouse(1)
    (place,) = house.places
    for key in (1, 2, 3, 4):
        house.send(key, 1, start=True, owner=key)
    house.finish()
    place.lose()
    place.is_away = True
    cancelled, kept = house.send(1, 4, owner=1), house.send(1, 5, owner=1)
    paused = house.send(2, 4, owner=2)
    house.wait(1)
    house.link.cancel(cancelled.number)
    house.link.pause([paused.number])
    house.link.end_sequence(3, EndReason.PREEMPTED, drain=True)
    house.link.hang_up(OwnerNumber(4))
    house.host.settle()
    assert failure_codes([cancelled]) == [Code.CANCELLED]
    assert [tenancy.ends for tenancy in house.all[2:]] == [
        [EndReason.PREEMPTED],
        [EndReason.CLIENT_ABORT],
    ]
    place.is_away = False
    house.wait(1)
    house.finish()
    assert kept.results == [mix(hashes([1, 5])[-1], index) for index in range(2)]
    assert paused.final is None
    house.link.resume([paused.number])
    house.finish()
    assert failure_codes([paused]) == [None]
    house.come_to_rest()


def test_a_reservation_outlives_the_loss_of_its_slot() -> None:
    house = DurableHouse(2)
    answers: list[Failure | None] = []
    house.link.reserve(7, OwnerNumber(1), answers.append)
    house.host.settle()
    assert answers == [None]
    house.at(7).lose()
    house.host.settle()
    assert house.at(7).lives[7][0].awaits_start
    # A second one of its ID is refused.
    house.link.reserve(7, OwnerNumber(1), answers.append)
    house.host.settle()
    assert answers[1] is not None
    assert answers[1].code is Code.ALREADY_EXISTS
    house.run(7, 1, 2, end=True)
    house.come_to_rest()


def test_a_reservation_that_can_not_be_had_again_ends_unstarted() -> None:
    house = DurableHouse(1)
    ends: list[tuple[SequenceKey, EndReason, int]] = []
    house.link.watch_sequences(lambda *end: ends.append(end), lambda key, seconds: None)
    house.link.reserve(7, OwnerNumber(1), lambda failure: None)
    house.host.settle()
    (place,) = house.places
    place.lose()
    place.is_away = True
    house.wait(40)
    assert ends == [(7, EndReason.ENGINE_LOST, UNSTARTED)]
    house.come_to_rest()


def test_a_place_that_is_full_is_passed_by() -> None:
    house = DurableHouse(2)
    first = house.link._places.for_sequence(7)
    assert first is not None
    assert isinstance(first.link, FakePlace)
    first.link.is_away = True
    (sent,) = house.run(7, 1)
    assert failure_codes([sent]) == [None]
    assert 7 not in first.link.lives
    house.come_to_rest()


def test_a_new_sequence_that_nobody_lets_in_is_refused_at_once() -> None:
    house = DurableHouse(1)
    house.places[0].is_away = True
    (sent,) = house.run(7, 1)
    assert sent.final is not None
    assert not sent.final.admitted
    assert house.all[0].was_refused
    house.come_to_rest()


def test_requests_of_no_sequence_run_again_once() -> None:
    house = DurableHouse(2)
    got: list[Response] = []
    for _ in range(2):
        house.link.submit(request_of(0, 1), got.append, OwnerNumber(0), -1)
    first, second = house.places
    assert (len(first.stateless), len(second.stateless)) == (1, 1), "each where there is less"
    first.lose()
    assert (got, len(second.stateless)) == ([], 2)
    second.lose()
    # One has had its second run, and the other has still got it.
    assert [response.lost for response in got] == [True]
    first.answer_stateless()
    assert [response.failure is None for response in got] == [False, True]
    assert house.counted.retried == 2
    assert len(house.link._stateless) == 0


def test_a_request_of_an_unknown_sequence_is_not_run_again() -> None:
    """Its sequence, if it lives elsewhere, might come here before the second run, and take it."""
    house = DurableHouse(2)
    for place in house.places:
        place.is_away = True
    got: list[Response] = []
    house.link.submit(request_of(7, 1), got.append, OwnerNumber(1), -1)
    house.host.settle()
    assert [(response.lost, response.admitted) for response in got] == [(True, False)]
    assert house.counted.retried == 0
    assert len(house.link._stateless) == 0


def test_a_loss_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    house = DurableHouse(2)
    for key in range(1, 31):
        house.run(key, 1)
    (first, second) = house.places
    lost = len(first.lives)
    first.lose()
    house.finish()
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"{lost} sequences of model 'm' go on, after 0.000 to 0.000 s"]
    moved = len(second.lives) - lost
    second.lose()
    house.finish()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[1].startswith(f"{moved + lost} sequences of model 'm' go on")
    assert len(lines) == 2
    house.come_to_rest()


def test_a_stuck_sequence_can_be_made_to_begin_anew() -> None:
    house = DurableHouse(2)
    house.run(7, 1)
    place = house.at(7)
    waiting = house.send(7, 4)
    assert house.link.recover(7)
    assert not house.link.recover(8)
    house.finish()
    assert failure_codes([waiting]) == [None]
    assert 7 not in place.lives
    house.come_to_rest()


def test_an_observer_is_told_of_results_and_ends_too() -> None:
    house = DurableHouse(1)
    watched = Watched()

    def watch(model: str, version: str, key: SequenceKey, start: Request) -> LogObserver | None:
        assert (model, version, start.start) == ("m", "1", True)
        return watched if key == 7 else None

    house.link = DurableLink(house.config, "1", house.host, open_observer=watch)
    house.link.watch_sequences(house._on_end, lambda key, seconds: None)
    (place,) = house.places
    house.link.add_place(place)
    house.run(8, 1, end=True)
    house.run(7, 1)
    place.lose()
    house.finish()
    house.run(7, 3, end=True)
    assert watched.told == [
        ("appended", 0),
        ("delivered", 0, 0, False),
        ("delivered", 0, 1, True),
        ("epoch", 2),
        ("appended", 1),
        ("delivered", 1, 0, True),
        ("ended", EndReason.CLIENT_END),
    ]


def test_what_others_ask_of_a_link_is_passed_on() -> None:
    house = DurableHouse(2)
    house.run(7, 1)
    place = house.at(7)
    request = request_of(7, 1)
    assert house.link.needs_for(request) == [[(place, "m_0")]]
    sent = house.send(7, 4)
    assert [holder for ((holder, _),) in house.link.needs_of(sent.number)] == [place]
    assert len(house.link.slot_tables(10)) == 2
    asked: list[Snapshot | Failure] = []
    house.link.take_snapshot(7, asked.append)
    house.link.take_snapshot(8, asked.append)
    house.host.settle()
    assert isinstance(asked[0], Snapshot)
    assert isinstance(asked[1], Failure)
    assert asked[1].code is Code.NOT_FOUND
    house.come_to_rest()
