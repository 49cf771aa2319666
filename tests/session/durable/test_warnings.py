"""Warnings of a place that goes: told to whom it concerns, when that is known, and with the time
that is left then."""

from streamgate.errors import EndWarning, WarningCause
from tests.session.durable.house import DurableHouse

DRAIN = EndWarning(WarningCause.DRAIN, 30.0)


def leave(house: DurableHouse, key: int) -> None:
    """Let a sequence go elsewhere, as where its place is drained."""
    house.link._moves.leave(house.link._sequences.lanes[key])


def test_who_has_nowhere_to_go_is_told_at_once() -> None:
    house = DurableHouse(1)
    house.run(7, 1)
    house.places[0].on_warning(7, DRAIN)
    house.host.settle()
    assert house.warned == [(7, DRAIN)]
    house.come_to_rest()
    assert house.warned == [(7, DRAIN)]


def test_who_leaves_is_not_told() -> None:
    house = DurableHouse(2)
    house.run(7, 1)
    place = house.at(7)
    house.link.set_draining(place, draining=True)
    place.on_warning(7, DRAIN)
    house.wait(0.5)
    assert house.warned == []
    leave(house, 7)
    house.finish()
    house.wait(5.0)
    assert house.at(7) is not place
    assert house.warned == []
    house.come_to_rest()


def test_who_turns_out_to_be_pinned_is_told_then() -> None:
    house = DurableHouse(2)
    house.run(7, 1)
    place = house.at(7)
    place.pins = True
    house.link.set_draining(place, draining=True)
    place.on_warning(7, DRAIN)
    house.wait(0.5)
    leave(house, 7)
    house.wait(0.2)
    ((key, warning),) = house.warned
    assert (key, warning.cause) == (7, WarningCause.DRAIN)
    assert 29.2 < warning.seconds_left <= 29.6
    house.come_to_rest()


def test_who_is_busy_all_the_time_is_told_while_there_is_time() -> None:
    house = DurableHouse(2)
    house.run(7, 1)
    place = house.at(7)
    house.link.set_draining(place, draining=True)
    place.on_warning(7, DRAIN)
    place.on_warning(7, EndWarning(WarningCause.DRAIN, 1.0))
    house.wait(0.8)
    ((key, warning),) = house.warned
    assert key == 7
    assert 0.3 < warning.seconds_left <= 0.5
    house.come_to_rest()


def test_who_ends_first_is_not_told() -> None:
    house = DurableHouse(2)
    house.run(7, 1)
    place = house.at(7)
    house.link.set_draining(place, draining=True)
    place.on_warning(7, DRAIN)
    house.run(7, 1, end=True)
    house.run(7, 1)
    house.wait(5.0)
    assert house.warned == []
    house.come_to_rest()


def test_those_that_are_left_are_told_together() -> None:
    house = DurableHouse(2)
    for key in range(1, 9):
        house.run(key, 1)
    first, second = house.places
    house.link.warn_at(first, DRAIN)
    house.host.settle()
    assert second.lives
    assert house.warned == [(key, DRAIN) for key, _ in house.warned]
    assert {key for key, _ in house.warned} == set(first.lives)
    house.come_to_rest()


def test_an_idle_warning_goes_straight_on() -> None:
    house = DurableHouse(2)
    house.run(7, 1)
    idle = EndWarning(WarningCause.IDLE, 0.5)
    house.at(7).on_warning(7, idle)
    assert house.warned == [(7, idle)]
    house.come_to_rest()
