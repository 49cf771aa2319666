"""Runs the tests of the Python backend's behaviour in the gateway's process and in a worker."""

import pytest

from streamgate.model.config import Execution
from tests.backends.python_models import Model


@pytest.fixture(
    params=[
        pytest.param(Execution.THREAD, id="thread"),
        pytest.param(Execution.PROCESS, id="process", marks=pytest.mark.slow),
    ]
)
def execution(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Execution:
    """Where the models of a test run, unless it says otherwise."""
    chosen: Execution = request.param
    monkeypatch.setattr(Model, "default_execution", chosen)
    return chosen
