"""Ensembles whose models lose what they have: lost answers, one end, and sequences that go on from
their last snapshot as if nothing had been."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgate.errors import EndReason, Failure
from streamgate.model.snapshot import Snapshot
from tests.engine.ensemble_house import Talk, ensemble, step
from tests.engine.moving_house import MovingHouse, sent

LOST = "the instance was lost"


@pytest.mark.parametrize("name", ["first", "last"])
def test_a_sequence_that_a_model_loses_is_lost_in_all(name: str) -> None:
    house = MovingHouse.build()
    talk, other = Talk(house, 7), Talk(house, 8, owner=2)
    for each in (talk, other):
        sent(each, 1)
    house.finish()
    sent(talk, 3)
    house.work("first", "middle", "first")
    house.lose(name)
    assert [talk.finals[place].lost for place in range(4)] == [False, True, True, True]
    assert sorted(house.ended) == [(7, EndReason.ENGINE_LOST), (8, EndReason.ENGINE_LOST)]
    house.finish()
    assert house.alive() == {"first": [], "last": []}
    # What belongs to nobody any more is not run, and not answered twice.
    again = Talk(house, 7)
    sent(again, 3, end=True)
    house.finish()
    assert again.hashes == again.expected()
    house.check_nothing_left()


def test_what_the_client_is_told_names_the_model_that_was_lost() -> None:
    house = MovingHouse.build()
    talk = Talk(house, 7)
    sent(talk, 2)
    house.work("first", "middle")
    house.lose("last")
    texts = [str(talk.finals[place].failure) for place in (0, 1)]
    assert f"in ensemble 'e', {LOST}" in texts[0]
    assert "sequence 7 of model 'e' ended (engine_lost) before this request ran" in texts[1]
    house.finish()
    house.check_nothing_left()


def test_an_end_whose_request_is_lost_is_a_loss() -> None:
    house = MovingHouse.build()
    talk = Talk(house, 7)
    sent(talk, 2, end=True)
    house.work("first", "middle", "last", "first", "middle")
    house.lose("last")
    assert [talk.finals[place].lost for place in (0, 1)] == [False, True]
    assert house.ended == [(7, EndReason.ENGINE_LOST)]
    house.finish()
    house.check_nothing_left()


def test_a_step_that_is_lost_between_two_models_loses_a_sequence_with_a_log() -> None:
    house = MovingHouse.build()
    talk = Talk(house, 7)
    sent(talk, 1)
    house.finish()
    sent(talk, 2)
    house.work("first")
    house.lose("middle")
    assert [talk.finals[place].lost for place in range(3)] == [False, True, True]
    assert house.ended == [(7, EndReason.ENGINE_LOST)]
    house.finish()
    house.check_nothing_left()


def test_and_fails_in_one_without() -> None:
    house = MovingHouse.build(watched=False)
    talk = Talk(house, 7)
    sent(talk, 1)
    house.finish()
    sent(talk, 2)
    house.work("first")
    house.lose("middle")
    house.finish()
    assert [talk.finals[place].lost for place in range(3)] == [False, True, False]
    assert house.ended == []
    assert house.alive() == {"first": [7], "last": [7]}


def test_a_request_that_came_to_no_stateful_model_says_so() -> None:
    house = MovingHouse.build()
    talk = Talk(house, 7)
    sent(talk, 1)
    house.finish()
    sent(talk, 3)
    house.work("first")
    for call in talk.calls[1:]:
        call.cancel()
    house.finish()
    assert [talk.finals[place].ran for place in range(4)] == [True, True, False, False]


def test_a_request_of_no_sequence_is_lost_with_what_runs_it() -> None:

    config = ensemble(step("middle", "INPUT", "HASH"))
    house = MovingHouse.build(config=config)
    talk = Talk(house, 0)
    talk.send(1)
    house.host.settle()
    house.lose("middle")
    assert talk.finals[0].lost


class Gateway:
    """A client whose requests are kept, and run again behind the last snapshot when they are lost:
    a session's log as plain as can be. What is answered twice must be answered the same."""

    def __init__(self, house: MovingHouse, key: int, length: int) -> None:
        self.house = house
        self.key = key
        self.length = length
        self.answers: dict[int, int] = {}
        self.sent = 0
        self.talk = Talk(house, key, owner=key)
        self.leaving: list[Snapshot | Failure] | None = None
        self.coming: list[Failure | None] | None = None

    def send(self) -> None:
        place = self.sent
        self.sent += 1
        self.talk.send(place, start=place == 0, end=place == self.length - 1)
        self.house.host.settle()

    @property
    def is_settled(self) -> bool:
        return self.leaving is None and self.coming is None

    def leave(self) -> None:
        self.leaving = self.house.hand_over(self.key)

    def look(self) -> None:
        """Take in what came, and go back to where it was if anything was lost or moved."""
        is_lost = self._take_in()
        if self.leaving is not None:
            if not self.leaving:
                return
            (answer,), self.leaving = self.leaving, None
            if isinstance(answer, Snapshot):
                self.house.snapshots.append((self.key, answer))
                is_lost = True
        if self.coming is not None:
            if not self.coming:
                return
            (failure,), self.coming = self.coming, None
            is_lost = is_lost or failure is not None
        end = (self.key, EndReason.ENGINE_LOST)
        if end in self.house.ended:
            self.house.ended.remove(end)
            is_lost = True
        if is_lost and len(self.answers) < self.length:
            self._recover()

    def _take_in(self) -> bool:
        base = self.sent - len(self.talk.sent)
        for place, response in sorted(self.talk.finals.items()):
            if response.lost:
                return True
            assert response.failure is None, response.failure
            value = int(response.outputs[0].array.ravel()[0])
            assert self.answers.setdefault(base + place, value) == value
        return False

    def _recover(self) -> None:
        newest = [snapshot for key, snapshot in self.house.snapshots if key == self.key]
        self.talk = Talk(self.house, self.key, owner=self.key)
        self.sent = 0
        if newest:
            self.sent = newest[-1].position + 1
            self.coming = self.house.restore(self.key, newest[-1], owner=self.key)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_is_lost_or_moves_results_are_those_of_an_undisturbed_run(
    data: st.DataObject,
) -> None:
    house = MovingHouse.build()
    gateways = {key: Gateway(house, key, data.draw(st.integers(1, 12))) for key in (1, 2)}
    disturbances = data.draw(st.integers(0, 5))
    for _ in range(10_000):
        moves = [f"work {name}" for name in house.busy()]
        moves += [f"send {key}" for key, each in gateways.items() if each.sent < each.length]
        if disturbances:
            moves += ["lose first", "lose middle", "lose last"]
            moves += [f"leave {key}" for key, each in gateways.items() if each.is_settled]
        if not moves:
            break
        verb, _, what = data.draw(st.sampled_from(moves)).partition(" ")
        disturbances -= verb in {"lose", "leave"}
        if verb == "work":
            house.work(what)
        elif verb == "send":
            gateways[int(what)].send()
        elif verb == "leave":
            gateways[int(what)].leave()
        else:
            house.lose(what)
        for gateway in gateways.values():
            gateway.look()
        house.host.settle()
    for key, gateway in gateways.items():
        undisturbed = Talk(house, key)
        undisturbed.sent = [
            (place, place == 0, place == gateway.length - 1) for place in range(gateway.length)
        ]
        assert [gateway.answers[place] for place in range(gateway.length)] == undisturbed.expected()
    house.check_nothing_left()
