"""What a model says of its own readiness, asked without holding up whoever wants to know.

The question is put between two steps. A model that is at a step is at work, so its last answer
holds until it gets to the next question; one that takes too long over its answer is not ready.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

log = logging.getLogger(__name__)

BUSY_SECONDS: Final = 1.0
"""How long a question waits for the step before it, until the last answer is given instead."""

ANSWER_SECONDS: Final = 5.0
"""How long a model may take over its answer, as in Triton."""

Ask = Callable[[Callable[[], bool]], "Future[bool]"]


class Readiness:
    """One instance's readiness. `ask` puts a question to the instance's thread."""

    def __init__(self, name: str, ask: Ask) -> None:
        self._name = name
        self._ask = ask
        self._last = True
        self._pending: asyncio.Future[bool] | None = None
        self._began: float | None = None

    async def is_ready(self, question: Callable[[], bool]) -> bool:
        """The model's answer; False where it raised. Takes `BUSY_SECONDS` plus `ANSWER_SECONDS`
        at the most. Call it on the engine's thread."""
        # At most one question is under way: whoever asks meanwhile waits for the same answer.
        answer = self._pending or self._put(question)
        done, _ = await asyncio.wait({answer}, timeout=BUSY_SECONDS)
        if not done:
            if self._began is None:
                return self._last
            late = self._began + ANSWER_SECONDS - time.monotonic()
            done, _ = await asyncio.wait({answer}, timeout=max(0.0, late))
        if not done:
            self._learn(is_ready=False, why=f"it gave no answer within {ANSWER_SECONDS:g} s")
        return self._last

    def _put(self, question: Callable[[], bool]) -> "asyncio.Future[bool]":
        self._began = None

        def begin() -> bool:
            self._began = time.monotonic()
            return question()

        self._pending = answer = asyncio.wrap_future(self._ask(begin))
        # Before those who wait go on, and when nobody does any more.
        answer.add_done_callback(self._take)
        return answer

    def _take(self, answer: "asyncio.Future[bool]") -> None:
        self._pending = None
        error = answer.exception()
        if error is not None:
            self._learn(is_ready=False, why=str(error))
        else:
            self._learn(is_ready=answer.result(), why="it says so")

    def _learn(self, *, is_ready: bool, why: str) -> None:
        if self._last and not is_ready:
            log.warning("model instance '%s' is not ready: %s", self._name, why)
        self._last = is_ready
