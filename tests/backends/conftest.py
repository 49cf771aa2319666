"""Runs the tests of the Python backend's behaviour in the gateway's process and in a worker."""

from collections.abc import Callable, Iterator

import pytest

from streamgate.model.config import Execution
from streamgate_python.process.session import ProcessSession
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


@pytest.fixture
def opened() -> Iterator[Callable[[Model], ProcessSession]]:
    """Loads models into processes of their own, which end with the test."""
    sessions: list[ProcessSession] = []

    def load(model: Model) -> ProcessSession:
        session = model.load()
        assert isinstance(session, ProcessSession)
        sessions.append(session)
        return session

    yield load
    for session in sessions:
        session.close()
