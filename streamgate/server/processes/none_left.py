"""Waiting until nothing is left of something."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

LOOK_SECONDS: Final = 0.05


async def until_none(count: Callable[[], Awaitable[int]], seconds: float) -> int:
    """Until the count is 0, at most so long. Returns what is left."""
    deadline = time.monotonic() + seconds
    while True:
        left = await count()
        if not left or time.monotonic() >= deadline:
            return left
        await asyncio.sleep(LOOK_SECONDS)
