"""The new states of one request, while they can still be set: until `execute` returns.

Responses may come from any thread, so this is where a late one meets the end of the step.
"""

import threading
from collections.abc import Mapping
from typing import final

from streamgate.model.tensor import Array


@final
class KeptStates:
    """Takes states into what the engine reads when `execute` has returned. `lock` is the
    instance's, that of all its senders."""

    __slots__ = ("_into", "_lock")

    def __init__(self, into: dict[str, Array], lock: threading.Lock) -> None:
        self._into: dict[str, Array] | None = into
        self._lock = lock

    def keep(self, states: Mapping[str, Array]) -> bool:
        """Keep all of one response's states, by output name. False when it is too late."""
        with self._lock:
            if self._into is None:
                return False
            self._into.update(states)
            return True

    def drop(self) -> None:
        """The request failed: its sequence goes on from the old states."""
        with self._lock:
            if self._into is not None:
                self._into.clear()

    def end(self) -> None:
        """`execute` has returned."""
        with self._lock:
            self._into = None
