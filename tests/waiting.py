"""Waiting for what has no event of its own.

The limit is far beyond what anything here takes, so that a slow machine fails no test; one that
fails waits so long once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

LIMIT_SECONDS: Final = 60.0
TURN_SECONDS: Final = 0.002


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until the condition holds, which is asked on it.

    Raises TimeoutError after LIMIT_SECONDS.
    """
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(TURN_SECONDS)


async def until_so(condition: Callable[[], Awaitable[object]]) -> None:
    """As `until`, for a condition that has to ask somebody else."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(10 * TURN_SECONDS)


def wait(condition: Callable[[], object]) -> None:
    """Block this thread until the condition holds, which may ask a server over a socket.

    Raises AssertionError after LIMIT_SECONDS.
    """
    limit = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(TURN_SECONDS)
