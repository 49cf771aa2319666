"""A Redis server and a repository of running hashes, for all tests here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durable.models import (
    write_decoupled,
    write_ensemble,
    write_graph,
    write_objects,
    write_pinned,
)
from tests.snapshot.redis_server import RedisServer

OFTEN = {"streamgate.snapshot_steps": "3"}
SELDOM = {"streamgate.snapshot_steps": "100000", "streamgate.snapshot_ms": "100000000"}


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_graph(folder, "often", parameters=OFTEN)
    write_graph(folder, "seldom", parameters=SELDOM)
    write_objects(folder, "objects", parameters=OFTEN)
    write_pinned(folder, "pinned")
    mortal = {"streamgate.max_sequence_lifetime_seconds": "600"}
    write_graph(folder, "mortal", parameters=OFTEN | mortal)
    write_pinned(folder, "mortal_pinned", parameters=mortal)
    write_decoupled(folder, "decoupled", parameters=OFTEN)
    write_ensemble(folder, "ensemble", ("often", "objects"), parameters=OFTEN)
    return folder
