"""Random clients and a random device: stateless models, against the rules said plainly."""

import pytest

from tests.model.settings import LONG, MODEL
from tests.model.stateless_machine import StatelessMachine

TestStateless = StatelessMachine.TestCase
TestStateless.settings = MODEL
TestStateless = pytest.mark.timeout(1800 if LONG else 120)(TestStateless)
