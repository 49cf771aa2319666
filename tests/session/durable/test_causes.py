"""Why engines were lost counts when a step is blamed for it."""

from collections.abc import Sequence

import pytest

from streamgate.errors import Code
from streamgate.link.losses import Cause, Loss
from streamgate.session.durable.trials import Trials
from tests.session.durable.house import DurableHouse, Sent, failure_codes
from tests.session.durable.test_link_trials import run_up_to

OWN, UNEXPLAINED, OUTSIDE = Cause.ITS_OWN, Cause.UNEXPLAINED, Cause.OUTSIDE
KEY = 7


def begun(trials: Trials | None = None) -> tuple[DurableHouse, Sent]:
    """A sequence whose second step is to be under way when its engine is lost."""
    house = DurableHouse(1, trials=trials)
    house.run(KEY, 1)
    return house, house.send(KEY, 4)


def lose(house: DurableHouse, loss: Loss, key: int = KEY) -> None:
    """The engine goes while the step is under way, and another comes."""
    house.host.settle()
    (place,) = house.places
    run_up_to(place, key, 1)
    house.places.clear()
    house.add()
    house.link.remove_place(place, loss)
    house.host.settle()


@pytest.mark.parametrize(
    ("causes", "is_guilty"),
    [
        ([OUTSIDE] * 5, False),
        ([OWN], False),
        ([OWN, OWN], True),
        ([OWN, OUTSIDE], False),
        ([OWN, OUTSIDE, OWN], True),
        ([UNEXPLAINED, UNEXPLAINED], False),
        ([UNEXPLAINED, OUTSIDE, UNEXPLAINED], False),
        ([UNEXPLAINED, OWN], True),
        ([UNEXPLAINED] * 3, True),
    ],
)
def test_how_often_an_engine_may_be_lost(causes: Sequence[Cause], is_guilty: bool) -> None:
    house, sent = begun()
    for cause in causes:
        assert sent.final is None
        lose(house, Loss(cause))
    house.finish()
    assert failure_codes([sent]) == [Code.INTERNAL if is_guilty else None]
    assert house.counted.quarantined == int(is_guilty)
    house.come_to_rest()


def test_a_place_that_goes_for_no_fault_of_its_own_blames_nobody() -> None:
    house, sent = begun()
    for _ in range(4):
        house.host.settle()
        (place,) = house.places
        run_up_to(place, KEY, 1)
        house.places.clear()
        house.add()
        house.link.remove_place(place)
    house.finish()
    assert failure_codes([sent]) == [None]


@pytest.mark.parametrize("is_own", [False, True])
def test_nobody_is_judged_before_it_is_known_why(is_own: bool) -> None:
    house, sent = begun()
    first, second = Loss(None), Loss(None)
    lose(house, first)
    # Whoever is suspected of nothing does not wait.
    assert KEY in house.places[0].lives
    lose(house, second)
    assert KEY not in house.places[0].lives
    second.explain(OWN)
    house.host.settle()
    assert KEY not in house.places[0].lives
    first.explain(OWN if is_own else OUTSIDE)
    first.explain(OWN)
    house.finish()
    assert failure_codes([sent]) == [Code.INTERNAL if is_own else None]
    house.come_to_rest()


def test_who_ends_meanwhile_is_judged_no_more() -> None:
    house, sent = begun()
    losses = Loss(OWN), Loss(None)
    for loss in losses:
        lose(house, loss)
    house.link.cancel(sent.number)
    house.finish()
    losses[1].explain(OWN)
    house.finish()
    assert failure_codes([sent]) == [Code.CANCELLED]
    house.come_to_rest()


def test_models_that_are_lost_together_have_one_court() -> None:
    """Both steps were under way each time: one after the other is tried, the second one fails."""
    trials = Trials()
    (one, innocent), (other, fatal) = begun(trials), begun(trials)
    for _ in range(2):
        loss = Loss(OWN)
        for house in (one, other):
            house.host.settle()
            run_up_to(house.places[0], KEY, 1)
        places = one.places.pop(), other.places.pop()
        for house, place in zip((one, other), places, strict=True):
            house.add()
            house.link.remove_place(place, loss)
        one.host.settle()
        other.host.settle()
    assert KEY in one.places[0].lives
    assert KEY not in other.places[0].lives, "it waits for its trial"
    one.finish()
    assert failure_codes([innocent, fatal]) == [None, None]
    assert innocent.final is not None
    assert fatal.final is None
    lose(other, Loss(OWN))
    other.finish()
    assert failure_codes([fatal]) == [Code.INTERNAL]
    assert (one.counted.quarantined, other.counted.quarantined) == (0, 1)
    one.come_to_rest()
    other.come_to_rest()
