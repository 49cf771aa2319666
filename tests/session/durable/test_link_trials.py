"""Steps that cost their engine each time they are run: found, and no other is blamed."""

from streamgate.core.ids import OwnerNumber
from streamgate.errors import Code, EndReason
from streamgate.model.request import SequenceKey
from tests.session.durable.fake_place import FakePlace
from tests.session.durable.house import DurableHouse, failure_codes

KILLS = 8
"""The input of a step that costs its engine each time it is run."""


def run_up_to(place: FakePlace, key: SequenceKey, position: int) -> None:
    """Let a sequence's step at this position begin."""
    while place.lives[key][0].position < position:
        place.work(key)


def run_until_it_is_fatal(house: DurableHouse, fatal: int = KILLS) -> None:
    """Let the engines do all there is to do; a step of this input is the last of its engine."""
    for _ in range(10_000):
        house.host.settle()
        ready = [(place, key) for place in house.places for key in place.ready()]
        if not ready:
            return
        for place, key in ready:
            queue = place.lives[key][0].queue if key in place.lives else ()
            if queue and int(queue[0].request.inputs[0].array.item()) == fatal:
                place.work(key)
                place.lose()
                break
        else:
            place, key = ready[0]
            place.work(key)
    raise AssertionError("there is no end to it")


def test_what_always_kills_is_found_at_once_if_it_is_alone() -> None:
    house = DurableHouse(1)
    house.run(7, 1)
    killer = house.send(7, KILLS)
    behind = house.send(7, 2)
    run_until_it_is_fatal(house)
    assert killer.final is not None
    assert killer.final.failure is not None
    assert "2 times" in killer.final.failure.message
    assert failure_codes([killer, behind]) == [Code.INTERNAL, Code.CANCELLED]
    assert house.all[0].ends == [EndReason.ERROR]
    house.come_to_rest()


def test_of_several_suspects_only_the_guilty_one_ends() -> None:
    house = DurableHouse(1)
    keys: list[SequenceKey] = [1, 2, 3, 4]
    for key in keys:
        house.run(key, 1)
    sent = {key: house.send(key, KILLS if key == 3 else 4) for key in keys}
    # All run in one batch, twice.
    (place,) = house.places
    for _ in range(2):
        for key in keys:
            run_up_to(place, key, 1)
        place.lose()
        house.host.settle()
    run_until_it_is_fatal(house)
    assert failure_codes([sent[key] for key in keys]) == [None, None, Code.INTERNAL, None]
    assert [tenancy.ends for tenancy in house.all] == [[], [], [EndReason.ERROR], []]
    assert house.counted.quarantined == 1
    house.come_to_rest()


def test_who_hangs_up_on_trial_holds_nobody_up() -> None:
    house = DurableHouse(1)
    for key in (1, 2):
        house.send(key, 1, start=True, owner=key)
    house.finish()
    sent = {key: house.send(key, 4, owner=key) for key in (1, 2)}
    (place,) = house.places
    for _ in range(2):
        for key in (1, 2):
            run_up_to(place, key, 1)
        place.lose()
        house.host.settle()
    (on_trial,) = place.lives
    assert isinstance(on_trial, int)
    house.link.hang_up(OwnerNumber(on_trial))
    house.finish()
    assert failure_codes([sent[3 - on_trial]]) == [None]
    house.come_to_rest()
