"""Whatever clients, models and time do: the whole engine keeps its promises."""

import pytest

from tests.model.settings import LONG, MODEL
from tests.simulation.house_machine import (
    Ask,
    HouseMachine,
    MovingHouseMachine,
    ReservingHouseMachine,
    plot,
)

TestHouse = HouseMachine.TestCase
TestHouse.settings = MODEL
TestHouse = pytest.mark.timeout(1800 if LONG else 120)(TestHouse)

TestReservingHouse = ReservingHouseMachine.TestCase
TestReservingHouse.settings = MODEL
TestReservingHouse = pytest.mark.timeout(1800 if LONG else 120)(TestReservingHouse)

TestMovingHouse = MovingHouseMachine.TestCase
TestMovingHouse.settings = MODEL
TestMovingHouse = pytest.mark.timeout(1800 if LONG else 120)(TestMovingHouse)


def test_what_an_instance_owes_that_has_left_is_lost_with_it() -> None:
    """It ran steps whose answers come later, left when there were to be fewer instances, and was
    lost then: nobody waits for those answers until the model is closed."""
    state = HouseMachine()
    state.set_up(
        plot=plot(
            direct=True,
            tensors=False,
            slots=1,
            batches=True,
            instances=2,
            delay_ns=0,
            backlog=0,
            pending=0,
            inline=False,
            mixed=False,
            answers="later",
            lifetime_ns=150,
            warning_ns=0,
            end_on_error=False,
            grows=True,
        ),
        lateness_ns=0,
    )
    state.ask_for_all(connection=2, settles=False)
    state.ask(requests=[Ask(0, 0, "step", 1, 0)] * 4, settles=True)
    state.work(picks=[2, 2], settles=False)
    state.wait(duration_ns=100)
    state.resize(count=1, failing_loads=0)
    state.wait(duration_ns=60)
    state.work(picks=[1, 1, 2, 1], settles=True)
    state.make_trouble(failing_loads=1, instance=1, settles=True, steps_survive=False, trouble=None)
    state.stop(closes=True)
    state.teardown()
