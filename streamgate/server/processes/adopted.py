"""Dead processes that were others' children: as process 1 of a container, we are to bury them."""

import os
from collections.abc import Collection
from pathlib import Path

_CHILDREN = Path("/proc/thread-self/children")


def bury_adopted(own: Collection[int]) -> list[int]:
    """Bury children that have ended, except for our `own`, which others wait for. Returns which."""
    try:
        children = [int(word) for word in _CHILDREN.read_text().split()]
    except OSError:
        return []
    return [pid for pid in children if pid not in own and _is_buried(pid)]


def _is_buried(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
