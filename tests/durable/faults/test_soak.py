"""A short soak (`make soak` is the long one)."""

import random
from pathlib import Path

import pytest

from tests.durable.faults.soak import soak
from tests.model.settings import ONLY_LONG

SECONDS = 20.0


@ONLY_LONG
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    assert await soak(tmp_path, SECONDS, random.SystemRandom().randrange(10**9)) == {}
