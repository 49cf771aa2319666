"""How an engine was lost, as far as that is known: whether what it ran may have been the reason."""

import asyncio
import enum
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Final, final

WORD_SECONDS: Final = 3.0
"""How long the word of a supervisor is waited for."""

KNOWN_MAX: Final = 64
"""Ended processes that are remembered."""


class Cause(enum.Enum):
    """Why an engine is lost."""

    ITS_OWN = "its own"
    """It crashed, ended, hung in a step, or took too much memory."""
    UNEXPLAINED = "unexplained"
    """It was killed, and nobody says why; or it was silent."""
    OUTSIDE = "outside"
    """It was stopped, or ended, for a reason that has nothing to do with what it ran."""


@final
class Loss:
    """One loss. `cause` is None until it is known; `under_way` is what ran there, of all models."""

    def __init__(self, cause: Cause | None) -> None:
        self.cause = cause
        self.under_way: set[Hashable] = set()
        self._waiting: list[Callable[[], None]] = []

    def explain(self, cause: Cause) -> None:
        """The first word counts."""
        if self.cause is None:
            self.cause = cause
            waiting, self._waiting = self._waiting, []
            for told in waiting:
                told()

    def when_explained(self, told: Callable[[], None]) -> None:
        """Call this, at once if the cause is known."""
        if self.cause is None:
            self._waiting.append(told)
        else:
            told()


@final
class Deaths:
    """What a supervisor tells of how its engines ended, by the numbers of their processes. On one
    event loop."""

    def __init__(self) -> None:
        self._known: dict[int, Cause] = {}
        self._unexplained: dict[int, Loss] = {}

    def note(self, pid: int, cause: Cause) -> None:
        """The supervisor has said so."""
        loss = self._unexplained.pop(pid, None)
        if loss is not None:
            loss.explain(cause)
            return
        self._known[pid] = cause
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def loss_of(self, pid: int) -> Loss:
        """Its connection is over. The supervisor may have said why, or will soon."""
        loss = Loss(self._known.pop(pid, None))
        if loss.cause is None:
            self._unexplained[pid] = loss
            loop = asyncio.get_running_loop()
            loop.call_later(WORD_SECONDS, partial(self._give_up, pid, loss))
        return loss

    def _give_up(self, pid: int, loss: Loss) -> None:
        if self._unexplained.get(pid) is loss:
            del self._unexplained[pid]
        loss.explain(Cause.UNEXPLAINED)


def is_stopped(pid: int) -> bool:
    """Whether a process of this machine stands still because somebody stopped it (SIGSTOP)."""
    try:
        # The name, in parentheses, may have any letters; what follows it has none.
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] in {"T", "t"}
