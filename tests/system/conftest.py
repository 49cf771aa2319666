"""Fixtures of whole servers' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.snapshot.redis_server import RedisServer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A store of its own, which the test may kill."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()
