"""Fixtures for tests of the server's floor."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamgate.model.config import Execution
from tests.server import calling_models
from tests.server.model_house import Gates, Models, gates_for_models


@pytest.fixture
def gates(tmp_path: Path) -> Iterator[Gates]:
    folder = tmp_path / "gates"
    folder.mkdir()
    with gates_for_models(folder) as gates:
        yield gates


@pytest.fixture(
    params=[
        pytest.param(Execution.THREAD, id="thread"),
        pytest.param(Execution.PROCESS, id="process", marks=pytest.mark.slow),
    ]
)
def execution(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Execution:
    """Where the models run that call others, unless a test says otherwise."""
    chosen: Execution = request.param
    monkeypatch.setattr(calling_models, "default_execution", chosen)
    return chosen


@pytest.fixture
def models(tmp_path: Path, gates: Gates) -> Models:
    del gates
    directory = tmp_path / "models"
    directory.mkdir()
    return Models(directory)
