"""A sequence of an ensemble is reserved in each of its stateful models, or in none."""

import pytest

from streamgate.backend.fake import Fail, Plan
from streamgate.core.step_times import KNOWN_AFTER, WARM_UP
from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.model.config import OldestStrategy, SequenceBatching
from tests.engine.ensemble_house import (
    CHAIN,
    CHAIN_MODELS,
    IDLE_NS,
    EnsembleHouse,
    Talk,
    ensemble,
    oldest,
    stateful,
    stateless,
    step,
)

ONE_SLOT = SequenceBatching(OldestStrategy(1, (1,)), 1, max_idle_ns=IDLE_NS)
NARROW = (*CHAIN_MODELS[:2], oldest("last", scheduling=ONE_SLOT))
# No step is so quick, once it is known.
PACE = SequenceBatching(OldestStrategy(4, (4,)), 4, max_idle_ns=IDLE_NS, pace_ns=1)
PACED = (*CHAIN_MODELS[:2], oldest("last", scheduling=PACE))
TAKEN = Failure(Code.UNAVAILABLE, "in ensemble 'e', all 1 slots of model 'last' are taken")


def open_chain(**plans: Plan) -> EnsembleHouse:
    return EnsembleHouse.open(CHAIN_MODELS, CHAIN, **plans)


def reserved(house: EnsembleHouse, key: int = 7, *, owner: int = 1, model: str = "e") -> Talk:
    """A sequence that has asked for its places and been answered."""
    talk = Talk(house, key, owner, model)
    talk.reserve()
    house.host.settle()
    return talk


def test_it_has_a_place_in_each_model_and_its_requests_go_there() -> None:
    house = open_chain()
    talk = reserved(house)
    assert talk.reserved == [None]
    assert house.asked("first", "last") == [1, 1]
    others = [reserved(house, key) for key in (1, 2, 3)]
    assert [other.reserved for other in others] == [[None]] * 3
    assert reserved(house, 4).reserved[0] is not None
    for each in (talk, *others):
        each.send(1, start=True)
        each.send(2)
        each.send(3, end=True)
    house.host.finish()
    for each in (talk, *others):
        assert each.hashes == each.expected()
        assert [each.finals[place].position for place in range(3)] == [0, 1, 2]
    assert sorted(house.ended) == [(key, EndReason.CLIENT_END) for key in (1, 2, 3, 7)]
    house.check_empty()


def test_where_one_model_refuses_the_others_are_released() -> None:
    house = EnsembleHouse.open(NARROW, CHAIN)
    holder = reserved(house, 1)
    assert reserved(house, 2).reserved == [TAKEN]
    assert house.asked("first", "last") == [1, 1]
    statistics = house.runtimes["e"].statistics().reservations
    assert (statistics.granted, statistics.refused) == (1, {"model_refused": 1})
    assert house.runtimes["last"].statistics().reservations.refused == {"slots_taken": 1}
    house.connection().end_sequence("e", "", 1)
    house.host.settle()
    assert house.ended == [(1, EndReason.CLIENT_END)]
    again = reserved(house, 2)
    assert (holder.reserved, again.reserved) == ([None], [None])
    house.hang_up(1)
    house.check_empty()


def test_where_one_model_can_not_keep_its_pace_the_others_are_released() -> None:
    house = EnsembleHouse.open(PACED, CHAIN)
    talk = reserved(house, 1)
    for number in range(WARM_UP + KNOWN_AFTER):
        talk.send(number, start=number == 0)
        house.host.settle()
        while busy := house.host.busy():
            house.host.sleep(1_000)
            house.host.work(busy[0])
            house.host.settle()
    refused = reserved(house, 2).reserved[0]
    assert refused == Failure(
        Code.UNAVAILABLE,
        "in ensemble 'e', model 'last' can't keep the pace of one more stream beside the 1 that it "
        "serves; try again soon",
    )
    assert house.asked("first", "last") == [1, 1]
    assert house.runtimes["last"].statistics().reservations.refused == {"no_headroom": 1}
    talk.send(1, end=True)
    house.host.finish()
    assert talk.hashes == talk.expected()
    house.check_empty()


def test_its_start_finds_its_places_however_many_wait() -> None:
    house = EnsembleHouse.open(NARROW, CHAIN)
    talk, waiting = reserved(house, 1), Talk(house, 2)
    waiting.send(1, start=True, end=True)
    house.host.finish()
    assert waiting.finals == {}
    talk.send(5, start=True)
    house.host.finish()
    assert talk.hashes == talk.expected()
    talk.send(6, end=True)
    house.host.finish()
    assert talk.hashes == talk.expected()
    assert waiting.hashes == waiting.expected()
    house.check_empty()


def test_who_never_sends_loses_all_places() -> None:
    house = open_chain()
    reserved(house)
    house.host.sleep(IDLE_NS)
    assert house.ended == [(7, EndReason.IDLE)]
    house.check_empty()


def test_a_place_behind_is_kept_while_those_in_front_are_at_work() -> None:
    house = open_chain()
    talk = reserved(house)
    talk.send(1, start=True)
    house.host.settle()
    for _ in range(8):
        house.host.sleep(IDLE_NS // 2)
    assert house.ended == []
    house.host.finish()
    talk.send(2, end=True)
    house.host.finish()
    assert talk.hashes == talk.expected()
    house.check_empty()


def test_a_lost_connection_releases_all_places() -> None:
    house = open_chain()
    reserved(house, 1, owner=1)
    kept = reserved(house, 2, owner=2)
    asking = Talk(house, 3, owner=1)
    asking.reserve()
    house.hang_up(1)
    house.host.settle()
    assert house.asked("first", "last") == [1, 1]
    assert len(asking.reserved) == 1
    kept.send(1, start=True, end=True)
    house.host.finish()
    assert kept.hashes == kept.expected()
    house.check_empty()


def test_an_end_in_one_model_is_one_in_all() -> None:
    house = open_chain()
    reserved(house)
    house.runtimes["last"].end_sequence(7, EndReason.PREEMPTED, drain=False)
    house.host.settle()
    assert house.ended == [(7, EndReason.PREEMPTED)]
    house.check_empty()


def test_a_sequence_that_never_reached_a_model_gives_its_place_there_back() -> None:
    house = open_chain(middle=Plan({("middle_0", 0): Fail("broken"), ("middle_1", 0): Fail("no")}))
    talk = reserved(house)
    talk.send(1, start=True)
    house.host.finish()
    talk.send(2, end=True)
    house.host.finish()
    assert house.ended == [(7, EndReason.CLIENT_END)]
    house.check_empty()


def test_a_start_that_reaches_no_model_begins_nothing() -> None:
    models = (stateless("middle", 1), stateful("last"))
    chain = ensemble(step("middle", "INPUT", "b"), step("last", "b", "HASH"))
    house = EnsembleHouse.open(models, chain, middle=Plan({("middle_0", 0): Fail("broken")}))
    talk = reserved(house)
    talk.send(1, start=True)
    house.host.finish()
    assert house.ended == [(7, EndReason.ERROR)]
    house.check_empty()


def test_a_start_that_is_cancelled_gives_the_places_back() -> None:
    house = open_chain()
    talk = reserved(house)
    talk.send(1, start=True)
    talk.calls[0].cancel()
    house.host.finish()
    assert house.ended == [(7, EndReason.ERROR)]
    house.check_empty()


def test_a_sequence_that_takes_over_takes_a_place_that_was_only_reserved() -> None:
    """The first START never reaches the last model; the second one does."""
    house = open_chain(middle=Plan({("middle_0", 0): Fail("broken")}))
    old, new = reserved(house), Talk(house, 7)
    old.send(1, start=True)
    house.host.finish()
    new.send(2, start=True)
    new.send(3, end=True)
    house.host.finish()
    assert new.hashes == new.expected()
    assert house.ended == [(7, EndReason.SUPERSEDED), (7, EndReason.CLIENT_END)]
    house.check_empty()


def test_a_step_before_the_start_is_refused_by_the_models() -> None:
    house = open_chain()
    talk = reserved(house)
    talk.send(1)
    house.host.finish()
    (refused,) = talk.hashes
    assert isinstance(refused, Failure)
    assert "must specify the START flag" in refused.message
    assert house.asked("first", "last") == [1, 1]
    started = Talk(house, 7)
    started.send(2, start=True, end=True)
    house.host.finish()
    assert started.hashes == started.expected()
    house.check_empty()


def test_a_start_sent_before_the_answer_is_in_time() -> None:
    house = open_chain()
    talk = Talk(house, 7)
    talk.reserve()
    talk.send(1, start=True)
    talk.send(2, end=True)
    house.host.finish()
    assert talk.reserved == [None]
    assert talk.hashes == talk.expected()
    assert house.ended == [(7, EndReason.CLIENT_END)]
    house.check_empty()


def test_a_start_sent_behind_a_reservation_that_is_refused_waits_as_others_do() -> None:
    house = EnsembleHouse.open(NARROW, CHAIN)
    first, second = reserved(house, 1), Talk(house, 2)
    second.reserve()
    second.send(1, start=True, end=True)
    house.host.finish()
    assert second.reserved == [TAKEN]
    assert second.finals == {}
    first.send(1, start=True, end=True)
    house.host.finish()
    assert second.hashes == second.expected()
    house.check_empty()


def test_a_draining_ensemble_keeps_its_promise_and_makes_no_other() -> None:
    house = open_chain()
    talk = reserved(house)
    house.runtimes["e"].drain()
    assert reserved(house, 8).reserved == [
        Failure(
            Code.UNAVAILABLE,
            "Server is stopping, scheduler for model has stopped accepting new inference requests",
        )
    ]
    talk.send(1, start=True, end=True)
    house.host.finish()
    assert talk.hashes == talk.expected()
    house.check_empty()


def test_a_closed_ensemble_releases_everything() -> None:
    house = open_chain()
    reserved(house)
    house.runtimes["e"].discard()
    assert house.ended == [(7, EndReason.DRAINED)]
    house.check_empty()


def test_one_that_ends_before_it_is_granted_is_refused() -> None:
    house = open_chain()
    asking = Talk(house, 7)
    asking.reserve()
    house.runtimes["e"].discard()
    house.host.settle()
    assert asking.reserved == [
        Failure(Code.UNAVAILABLE, "in ensemble 'e', sequence 7 ended (drained) before it began")
    ]
    assert house.ended == []
    house.check_empty()


def test_an_ensemble_within_an_ensemble() -> None:
    outer = ensemble(step("e", "INPUT", "t"), step("more", "t", "HASH"), name="outer")
    more = oldest("more")
    house = EnsembleHouse.open((*NARROW, more), CHAIN, outer)
    talk = reserved(house, model="outer")
    assert talk.reserved == [None]
    assert house.asked("first", "last", "more") == [1, 1, 1]
    assert reserved(house, 8, model="outer").reserved == [
        Failure(TAKEN.code, f"in ensemble 'outer', {TAKEN.message}")
    ]
    assert house.asked("first", "last", "more") == [1, 1, 1]
    talk.send(1, start=True)
    house.host.finish()
    house.host.sleep(IDLE_NS)
    assert house.ended == [(7, EndReason.IDLE)]
    house.check_empty()


def test_a_model_that_is_gone_refuses() -> None:
    house = open_chain()
    versions = house.table.get("last")
    assert versions is not None
    versions.versions.clear()
    house.table._routes.clear()
    (refusal,) = reserved(house).reserved
    assert refusal is not None
    assert refusal.code is Code.NOT_FOUND
    assert house.asked("first") == [0]


def test_an_ensemble_without_sequences_has_nothing_to_reserve() -> None:
    plain = ensemble(step("middle", "INPUT", "HASH"))
    house = EnsembleHouse.open((stateless("middle"),), plain)
    with pytest.raises(StreamGateError, match="model 'e' has no sequences"):
        Talk(house, 7).reserve()


def test_an_id_that_lives_is_refused() -> None:
    house = open_chain()
    talk = reserved(house)
    with pytest.raises(StreamGateError, match="sequence 7 of model 'e' lives already"):
        talk.reserve()
    # One that lives in a model for another reason is found there.
    house.connection().ask_to_reserve("last", "", 9, talk.reserved.append)
    house.host.settle()
    (refusal,) = reserved(house, 9).reserved
    assert refusal is not None
    assert (refusal.code, "of model 'last' lives already" in refusal.message) == (
        Code.ALREADY_EXISTS,
        True,
    )
    assert house.asked("first", "last") == [1, 2]


def test_a_place_that_no_request_reaches_is_kept_while_requests_are_answered() -> None:
    """As those of a decoupled step that has nothing to say for a while."""
    house = open_chain(middle=Plan({count: Fail("no") for count in range(30)}))
    talk = reserved(house)
    for value in range(20):
        talk.send(value, start=value == 0)
        house.host.finish()
        house.host.sleep(IDLE_NS // 2)
    assert house.ended == []
    assert house.asked("first", "last") == [1, 1]
    house.host.sleep(IDLE_NS)
    assert house.ended == [(7, EndReason.IDLE)]
    house.check_empty()
