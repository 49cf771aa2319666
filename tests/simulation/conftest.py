"""What all simulated houses need."""

import logging

import pytest


@pytest.fixture(autouse=True)
def no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Instances are lost by the hundred."""
    caplog.set_level(logging.CRITICAL, logger="streamgate")
