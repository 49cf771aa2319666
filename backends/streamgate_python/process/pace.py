"""Holds up threads of a worker's decoupled model for clients that do not read what they are sent.

In the gateway, `send` itself waits. A worker's threads must not fill its one way to the gateway for
others, so each asks now and then whether its request has room, and is answered when it has. As in
the gateway, only threads that serve one request wait: not the one that runs `execute`, none that
runs an event loop, none that was seen to answer several requests by turns.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final, final

from streamgate.backend.contract import ModelRequest, PacedReply

UNASKED_MAX: Final = 8
"""Responses of one request between two questions."""

HELD_SECONDS_MAX: Final = 60.0
"""The longest that one question is left without an answer. What bounds memory after that is the
front end."""


@final
class ThreadMarks(threading.local):
    """In a worker: what is known of the thread that sends."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._is_shared = threading.current_thread() is threading.main_thread()

    def may_wait(self, number: int, *, final: bool) -> bool:
        """It sends for this request. Whether it can be taken for one that serves no other."""
        if self._unanswered not in {0, number}:
            self._is_shared = True
        self._unanswered = 0 if final else number
        return not self._is_shared and not _has_loop()


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@final
class HeldThreads:
    """In the gateway: the threads of one worker that wait for room. For one thread at a time.

    `answer` lets one go on, by the number of its question.
    """

    def __init__(self, answer: Callable[[int], None]) -> None:
        self._answer = answer
        self._held: dict[int, tuple[ModelRequest, float]] = {}

    def ask(self, question: int, request: ModelRequest | None) -> None:
        """A thread asks whether its request, None when it is over, has room."""
        if request is not None and _is_held_up(request):
            self._held[question] = request, time.monotonic() + HELD_SECONDS_MAX
        else:
            self._answer(question)

    def look(self) -> bool:
        """Let those go on that can. Returns whether any still wait."""
        now = time.monotonic()
        for question, (request, until) in list(self._held.items()):
            if now >= until or not _is_held_up(request):
                del self._held[question]
                self._answer(question)
        return bool(self._held)


def _is_held_up(request: ModelRequest) -> bool:
    reply = request.reply
    return isinstance(reply, PacedReply) and reply.is_held_up()
