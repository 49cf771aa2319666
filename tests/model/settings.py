"""How long the model tests look: the same short run each time, or a long and random one.

`STREAMGATE_TEST_LONG=1` asks for the long one.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

LONG = bool(os.environ.get("STREAMGATE_TEST_LONG"))

ONLY_LONG = pytest.mark.skipif(
    not LONG, reason="takes long: STREAMGATE_TEST_LONG=1, make test-long"
)
"""For tests that take many seconds and prove little that others don't."""

MODEL = settings(
    derandomize=not LONG,
    max_examples=5_000 if LONG else 150,
    stateful_step_count=80 if LONG else 30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# Whether a seeded bug is found matters, not its smallest example.
SEEDED = settings(MODEL, derandomize=True, max_examples=2_000, phases=[Phase.generate])

CAUGHT = (AssertionError, LookupError, ValueError)
"""What a seeded bug shows as: the audit's word, or the code's own over something missing or
negative. Which comes first is a matter of the example."""
