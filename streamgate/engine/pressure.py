"""Holds up the threads of decoupled models where their responses would pile up.

A model that sends from a thread of its own can be faster than the engine takes its responses in,
or than their client reads them. `send` then waits: that is all the pressure there can be on such a
model. It must not wait where others would have to wait, too: not on the session's own thread for
a client, as other sequences' steps run there, nor on a thread that runs an event loop or was seen
to answer several requests by turns, and never on the engine's.
"""

import asyncio
import threading
from collections.abc import Iterable
from typing import Final, final

from streamgate.engine.live import LiveRequest

AHEAD_MAX: Final = 256
"""Responses of one request that the engine has not taken in yet."""

SEND_WAIT_SECONDS: Final = 60.0
"""The longest that one `send` is held up. What bounds memory after that is the front end."""


@final
class Pressure:
    """Where one decoupled model's threads wait. Made on the engine's thread.

    `waits_for_clients`: whether a thread that is not the session's own can be taken for one that
    serves a single request. Those that pass on what another process sends are not: that process
    asks `LiveRequest.is_held_up`.
    """

    def __init__(self, *, waits_for_clients: bool) -> None:
        self._waits_for_clients = waits_for_clients
        self._engine = threading.get_ident()
        self._changed = threading.Condition()
        self._waiting = 0
        self._threads = _ThreadMarks()

    def enter(self, live: LiveRequest) -> None:
        """On a model's thread: count one more response to come, when there is room for it."""
        thread = threading.get_ident()
        is_shared = self._threads.note(live) or thread == live.stepper or _has_loop()
        with self._changed:
            if thread != self._engine:
                for_client = self._waits_for_clients and not is_shared
                if self._is_full(live, for_client=for_client):
                    self._waiting += 1
                    self._changed.wait_for(
                        lambda: not self._is_full(live, for_client=for_client), SEND_WAIT_SECONDS
                    )
                    self._waiting -= 1
            live.ahead += 1

    def take(self, live: LiveRequest) -> None:
        """The engine has taken in a response of this request."""
        with self._changed:
            live.ahead -= 1
            self._tell()

    def pause(self, lives: Iterable[LiveRequest]) -> None:
        """The client of these requests does not read."""
        with self._changed:
            for live in lives:
                live.paused = True

    def resume(self, lives: Iterable[LiveRequest]) -> None:
        """It reads again."""
        with self._changed:
            for live in lives:
                live.paused = False
            self._tell()

    def give_up(self) -> None:
        """A request was closed or cancelled: its threads need not wait any more."""
        with self._changed:
            self._tell()

    def _is_full(self, live: LiveRequest, *, for_client: bool) -> bool:
        if live.closed or live.cancelled:
            return False
        return live.ahead >= AHEAD_MAX or (for_client and live.paused)

    def _tell(self) -> None:
        if self._waiting:
            self._changed.notify_all()


class _ThreadMarks(threading.local):
    """What is known of the thread that asks."""

    def __init__(self) -> None:
        self._unanswered: LiveRequest | None = None
        self._is_shared = False

    def note(self, live: LiveRequest) -> bool:
        """It sends for this request. Returns whether it has done so for several by turns."""
        before = self._unanswered
        if before is not None and before is not live and not before.answered:
            self._is_shared = True
        self._unanswered = None if live.answered else live
        return self._is_shared


def _has_loop() -> bool:
    """Whether this thread runs an event loop, and so more than one request."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
