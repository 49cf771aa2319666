"""What holds for all tests.

Examples of properties are the same ones each time, so that what is green stays green; those of
`STREAMGATE_TEST_LONG=1` (`make test-long`) are random. How long one takes says nothing here: other
work may want the machine.
"""

from hypothesis import HealthCheck, settings

from tests.model.settings import LONG

settings.register_profile(
    "streamgate",
    derandomize=not LONG,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("streamgate")
