"""When clients are warned of an end that the server brings about: early, and once more late."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LAST_SECONDS: Final = 5.0
"""So long before the end is told of it for the second time, where there was time enough before."""


@contextmanager
def warned(seconds: float, warn: Callable[[float], None]) -> Iterator[None]:
    """What happens inside may take so long, then sequences are ended: `warn` is called with the
    time that is left. With 0 s nobody is told: there is nothing left to be done."""
    if seconds <= 0.0:
        yield
        return
    last: asyncio.TimerHandle | None = None
    warn(seconds)
    if seconds >= 2 * LAST_SECONDS:
        loop = asyncio.get_running_loop()
        last = loop.call_later(seconds - LAST_SECONDS, warn, LAST_SECONDS)
    try:
        yield
    finally:
        if last is not None:
            last.cancel()
