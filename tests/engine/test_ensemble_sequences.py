"""Sequences through ensembles: order, START and END, failures, ends and hang-ups."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.backend.fake import Fail, Plan
from streamgate.errors import Code, EndReason, Failure, StreamGateError
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
from tests.engine.play_host import PlayWorker


def open_chain(**plans: Plan) -> EnsembleHouse:
    return EnsembleHouse.open(CHAIN_MODELS, CHAIN, **plans)


def test_a_sequence_runs_through_all_its_models() -> None:
    house = open_chain()
    talk = Talk(house, 7)
    talk.send(1, start=True)
    talk.send(2)
    house.host.finish()
    assert house.asked("first", "last") == [1, 1]
    talk.send(3, end=True)
    house.host.finish()
    assert talk.hashes == talk.expected()
    assert house.ended == [(7, EndReason.CLIENT_END)]
    house.check_empty()


def test_a_quicker_step_does_not_overtake() -> None:
    house = open_chain()
    talk = Talk(house, 7)
    talk.send(1, start=True)
    talk.send(2)
    talk.send(3, end=True)
    house.host.settle()
    first = house.host.workers[0]
    while first.jobs:
        house.host.work(first)
    middle = house.host.busy()
    assert len(middle) == 3
    # The last request is the first through the middle model.
    for worker in reversed(middle):
        assert talk.order == []
        house.host.work(worker)
    house.host.finish()
    assert talk.order == [0, 1, 2]
    assert talk.hashes == talk.expected()


def test_positions_are_those_of_the_ensembles_sequence() -> None:
    house = open_chain()
    talk = Talk(house, 7)
    for value in range(3):
        talk.send(value, start=value == 0)
    house.host.finish()
    assert [talk.finals[place].position for place in range(3)] == [0, 1, 2]
    assert [talk.finals[place].parameters for place in (0, 2)] == [
        {"sequence_id": 7, "sequence_start": start, "sequence_end": False}
        for start in (True, False)
    ]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_interleavings_equal_each_sequence_alone(data: st.DataObject) -> None:
    house = open_chain()
    talks = [Talk(house, key, owner=1 + key % 2) for key in (1, 2, 3)]
    lengths = {talk.key: data.draw(st.integers(1, 5)) for talk in talks}
    while True:
        unsent = [talk for talk in talks if len(talk.sent) < lengths[talk.key]]
        moves: list[Talk | PlayWorker] = [*unsent, *house.host.busy()]
        if not moves:
            break
        move = data.draw(st.sampled_from(moves))
        if isinstance(move, Talk):
            place = len(move.sent)
            end = place == lengths[move.key] - 1
            move.send(data.draw(st.integers(0, 9)), start=place == 0, end=end)
            house.host.settle()
        else:
            house.host.work(move)
    for talk in talks:
        assert talk.hashes == talk.expected()
        assert talk.order == sorted(talk.order)
    assert sorted(house.ended) == [(key, EndReason.CLIENT_END) for key in (1, 2, 3)]
    house.check_empty()


def test_a_late_request_does_not_take_a_sequences_end_for_its_own() -> None:
    house = open_chain()
    talk = Talk(house, 2)
    talk.send(1, start=True)
    talk.send(2, start=True)
    house.runtimes["e"].end_sequence(2, EndReason.CLIENT_END, drain=False)
    # The second sequence is over before it reached a model, where the first one still lives.
    talk.send(3)
    house.host.finish()
    house.host.sleep(10 * IDLE_NS)
    house.host.finish()
    assert [reason for _, reason in house.ended] == [EndReason.SUPERSEDED, EndReason.CLIENT_END]
    house.check_empty()


FAULTS = st.dictionaries(
    st.tuples(st.sampled_from(["first_0", "middle_0", "middle_1", "last_0"]), st.integers(0, 6)),
    st.sampled_from([Fail("broken"), Fail("broken", row=0)]),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(FAULTS, st.data())
def test_whatever_happens_everything_is_answered_ends_once_and_is_free(
    faults: dict[tuple[str, int], Fail], data: st.DataObject
) -> None:
    plans = {
        name: Plan({key: fault for key, fault in faults.items() if key[0].startswith(name)})
        for name in ("first", "middle")
    }
    house = open_chain(**plans)
    talks = [Talk(house, key, owner=key) for key in (1, 2, 3)]
    reservations = 0
    for _ in range(data.draw(st.integers(5, 30))):
        moves = ["send", "work", "work", "cancel", "hang up", "end", "sleep", "reserve"]
        move = data.draw(st.sampled_from(moves))
        talk = data.draw(st.sampled_from(talks))
        if move == "send":
            start = not talk.sent or data.draw(st.booleans())
            talk.send(1, start=start, end=data.draw(st.booleans()))
        elif move == "work" and house.host.busy():
            house.host.work(data.draw(st.sampled_from(house.host.busy())))
        elif move == "cancel" and talk.calls:
            data.draw(st.sampled_from(talk.calls)).cancel()
        elif move == "hang up" and talk.owner in house.connections:
            house.hang_up(talk.owner)
        elif move == "end":
            house.runtimes["e"].end_sequence(
                talk.key, EndReason.CLIENT_END, drain=data.draw(st.booleans())
            )
        elif move == "reserve":
            with suppress(StreamGateError):  # It may live.
                talk.reserve()
                reservations += 1
        elif move == "sleep":
            house.host.sleep(data.draw(st.sampled_from([1, IDLE_NS // 2, IDLE_NS])))
        if data.draw(st.booleans()):
            house.host.settle()
    house.host.finish()
    house.host.sleep(10 * IDLE_NS)
    house.host.finish()
    for talk in talks:
        assert sorted(talk.finals) == list(range(len(talk.sent)))
    assert sum(len(talk.reserved) for talk in talks) == reservations
    house.check_empty()


def test_another_sequence_is_not_touched_by_a_failing_one() -> None:
    house = open_chain(first=Plan({("first_0", 2): Fail("broken", row=0)}))
    one, two = Talk(house, 1), Talk(house, 2)
    for value in range(4):
        one.send(value, start=value == 0, end=value == 3)
        house.host.finish()
        two.send(value, start=value == 0, end=value == 3)
        house.host.finish()
    told = one.hashes[1]
    assert told == Failure(Code.INTERNAL, "in ensemble 'e', broken")
    assert two.hashes == two.expected()
    house.check_empty()


def test_start_reaches_a_model_with_the_first_request_that_does() -> None:
    house = open_chain(middle=Plan({("middle_0", 0): Fail("broken")}))
    talk = Talk(house, 7)
    talk.send(1, start=True)
    house.host.finish()
    assert house.asked("first", "last") == [1, 0]
    talk.send(2)
    talk.send(3, end=True)
    house.host.finish()
    assert [isinstance(answer, Failure) for answer in talk.hashes] == [True, False, False]
    assert house.ended == [(7, EndReason.CLIENT_END)]
    house.check_empty()


def test_end_reaches_all_models_from_a_request_that_fails() -> None:
    house = open_chain(middle=Plan({("middle_1", 0): Fail("broken")}))
    talk = Talk(house, 7)
    talk.send(1, start=True)
    house.host.finish()
    assert house.asked("first", "last") == [1, 1]
    talk.send(2, end=True)
    house.host.finish()
    assert talk.hashes[1] == Failure(Code.INTERNAL, "in ensemble 'e', broken")
    assert house.ended == [(7, EndReason.CLIENT_END)]
    house.check_empty()


def test_a_start_that_reaches_no_model_begins_nothing() -> None:
    models = (stateless("middle", 1), stateful("last"))
    chain = ensemble(step("middle", "INPUT", "b"), step("last", "b", "HASH"))
    house = EnsembleHouse.open(models, chain, middle=Plan({("middle_0", 0): Fail("broken")}))
    talk = Talk(house, 7)
    talk.send(1, start=True)
    house.host.finish()
    assert house.ended == [(7, EndReason.ERROR)]
    talk.send(2)
    house.host.finish()
    assert talk.hashes[1] == Failure(
        Code.INVALID_ARG,
        "in ensemble 'e', inference request for sequence 7 to model 'last' must specify the START "
        "flag on the first request of the sequence",
    )
    house.check_empty()


def test_a_model_that_ends_it_ends_it_in_all() -> None:
    models = (oldest("first", scheduling=stateful("x").scheduling), *CHAIN_MODELS[1:])
    house = EnsembleHouse.open(models, CHAIN)
    talk = Talk(house, 7)
    talk.send(1, start=True)
    house.host.finish()
    house.runtimes["last"].end_sequence(7, EndReason.PREEMPTED, drain=True)
    house.host.finish()
    assert house.ended == [(7, EndReason.PREEMPTED)]
    house.check_empty()


def test_an_idle_sequence_ends_in_all_models_and_is_told_once() -> None:
    house = open_chain()
    talk = Talk(house, 7)
    talk.send(1, start=True)
    house.host.finish()
    house.host.sleep(IDLE_NS + 1)
    assert house.ended == [(7, EndReason.IDLE)]
    house.check_empty()
    talk.send(2)
    house.host.finish()
    assert isinstance(talk.hashes[1], Failure)


def test_a_sequence_is_idle_in_no_model_while_another_is_at_work() -> None:
    house = open_chain()
    talk = Talk(house, 7)
    talk.send(1, start=True)
    house.host.settle()
    house.host.work(house.host.workers[0])
    # The first model is done with it, the second takes three times the idle limit.
    for _ in range(30):
        house.host.sleep(IDLE_NS // 10)
    house.host.finish()
    assert house.ended == []
    house.host.sleep(IDLE_NS - 1)
    talk.send(2, end=True)
    house.host.finish()
    assert talk.hashes == talk.expected()
    house.check_empty()


def test_idleness_is_looked_after_through_an_inner_ensemble() -> None:
    outer = ensemble(step("e", "INPUT", "t"), step("slow", "t", "HASH"), name="outer")
    house = EnsembleHouse.open((*CHAIN_MODELS, stateless("slow", 1)), CHAIN, outer)
    talk = Talk(house, 7, model="outer")
    talk.send(1, start=True)
    house.host.settle()
    slow = next(worker for worker in house.host.workers if worker.name == "stepper-slow_0")
    while not slow.jobs:
        house.host.work(house.host.busy()[0])
    for _ in range(30):
        house.host.sleep(IDLE_NS // 10)
    assert house.asked("first", "last") == [1, 1]
    house.host.finish()
    house.host.sleep(IDLE_NS + 1)
    assert house.ended == [(7, EndReason.IDLE)]
    house.check_empty()


def test_a_lost_connection_ends_its_sequences_in_all_models() -> None:
    house = open_chain()
    lost, kept = Talk(house, 1, owner=1), Talk(house, 2, owner=2)
    for talk in (lost, kept):
        talk.send(1, start=True)
    house.host.finish()
    lost.send(2)
    house.host.settle()
    house.hang_up(1)
    house.host.finish()
    assert house.asked("first", "last") == [1, 1]
    assert lost.hashes[1] == Failure(Code.CANCELLED, "")
    kept.send(2, end=True)
    house.host.finish()
    assert kept.hashes == kept.expected()
    house.check_empty()


def test_a_sequence_goes_on_over_another_connection() -> None:
    house = open_chain()
    talk = Talk(house, 7, owner=1)
    talk.send(1, start=True)
    house.host.finish()
    talk.owner = 2
    talk.send(2)
    house.host.finish()
    house.hang_up(1)
    talk.send(3, end=True)
    house.host.finish()
    assert talk.hashes == talk.expected()


def test_a_cancelled_request_holds_up_nobody_behind_it() -> None:
    house = open_chain()
    talk = Talk(house, 7)
    for value in range(3):
        talk.send(value, start=value == 0)
    house.host.settle()
    first = house.host.workers[0]
    while first.jobs:
        house.host.work(first)
    talk.calls[1].cancel()
    assert talk.finals[1].failure == Failure(Code.CANCELLED, "")
    house.host.finish()
    assert talk.order == [1, 0, 2]
    talk.send(9, end=True)
    house.host.finish()
    house.check_empty()


def test_start_on_a_live_sequence_begins_anew() -> None:
    house = open_chain()
    old = Talk(house, 7)
    old.send(1, start=True)
    house.host.finish()
    new = Talk(house, 7)
    new.send(2, start=True)
    new.send(3, end=True)
    house.host.finish()
    assert old.hashes == old.expected()
    assert new.hashes == new.expected()
    assert house.ended == [(7, EndReason.SUPERSEDED), (7, EndReason.CLIENT_END)]
    house.check_empty()


def test_an_id_may_be_used_again_before_its_end_has_run() -> None:
    house = open_chain()
    old, new = Talk(house, 7), Talk(house, 7)
    old.send(1, start=True)
    old.send(2, end=True)
    new.send(3, start=True)
    new.send(4, end=True)
    house.host.finish()
    assert old.hashes == old.expected()
    assert new.hashes == new.expected()
    assert house.ended == [(7, EndReason.CLIENT_END)] * 2
    house.check_empty()


@pytest.mark.parametrize("drain", [True, False])
def test_a_sequence_ended_by_its_client_without_a_request(*, drain: bool) -> None:
    house = open_chain()
    talk = Talk(house, 7)
    talk.send(1, start=True)
    talk.send(2)
    house.host.settle()
    house.runtimes["e"].end_sequence(7, EndReason.CLIENT_END, drain=drain)
    house.host.finish()
    if drain:
        assert talk.hashes == talk.expected()
    else:
        assert talk.hashes[1] == Failure(
            Code.CANCELLED, "sequence 7 of model 'e' ended (client_end) before this request ran"
        )
    assert house.ended == [(7, EndReason.CLIENT_END)]
    house.check_empty()
