"""Whatever clients, models and time do: the whole engine keeps its promises."""

import pytest

from tests.model.settings import LONG, MODEL
from tests.simulation.house_machine import HouseMachine, MovingHouseMachine, ReservingHouseMachine

TestHouse = HouseMachine.TestCase
TestHouse.settings = MODEL
TestHouse = pytest.mark.timeout(1800 if LONG else 120)(TestHouse)

TestReservingHouse = ReservingHouseMachine.TestCase
TestReservingHouse.settings = MODEL
TestReservingHouse = pytest.mark.timeout(1800 if LONG else 120)(TestReservingHouse)

TestMovingHouse = MovingHouseMachine.TestCase
TestMovingHouse.settings = MODEL
TestMovingHouse = pytest.mark.timeout(1800 if LONG else 120)(TestMovingHouse)
