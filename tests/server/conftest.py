"""Fixtures for tests of the server's floor."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.model_house import Gates, Models, gates_for_models


@pytest.fixture
def gates() -> Iterator[Gates]:
    with gates_for_models() as gates:
        yield gates


@pytest.fixture
def models(tmp_path: Path, gates: Gates) -> Models:
    del gates
    directory = tmp_path / "models"
    directory.mkdir()
    return Models(directory)
