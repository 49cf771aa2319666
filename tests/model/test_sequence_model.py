"""Random clients and a random device: what must hold for sequences, whatever happens."""

import pytest

from tests.model.sequence_machine import (
    MovingMachine,
    PacedMachine,
    PausingMachine,
    ReservingMachine,
    SequenceMachine,
)
from tests.model.settings import LONG, MODEL

TestSequences = SequenceMachine.TestCase
TestSequences.settings = MODEL
TestSequences = pytest.mark.timeout(1800 if LONG else 120)(TestSequences)

TestPausingClients = PausingMachine.TestCase
TestPausingClients.settings = MODEL
TestPausingClients = pytest.mark.timeout(1800 if LONG else 120)(TestPausingClients)

TestReservingClients = ReservingMachine.TestCase
TestReservingClients.settings = MODEL
TestReservingClients = pytest.mark.timeout(1800 if LONG else 120)(TestReservingClients)

TestMovingSequences = MovingMachine.TestCase
TestMovingSequences.settings = MODEL
TestMovingSequences = pytest.mark.timeout(1800 if LONG else 120)(TestMovingSequences)

TestPacedClients = PacedMachine.TestCase
TestPacedClients.settings = MODEL
TestPacedClients = pytest.mark.timeout(1800 if LONG else 120)(TestPacedClients)
