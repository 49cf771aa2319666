"""A process that has read its libraries already, for the day that another one ends.

Half a second of an engine's start are imports. Whoever waits for it waits for its models alone
where a spare takes over.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

from streamgate.errors import StreamGateError
from streamgate.server.processes.launch import ChildProcess
from streamgate.server.processes.messages import PeerLostError

log = logging.getLogger(__name__)

DELAY_SECONDS: Final = 2.0
"""How long after a beginning the next spare is made: what has just begun has work to do."""

SILENCE_SECONDS: Final = 1.0
"""A spare that has said nothing for so long is none: perhaps it is frozen."""


@final
class Spare:
    """At most one process. `command` starts it, `told` says what it is to get ready for."""

    def __init__(
        self, command: Sequence[str], told: Mapping[str, Any], show_line: Callable[[str], None]
    ) -> None:
        self._command = command
        self._told = told
        self._show_line = show_line
        self._child: ChildProcess | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None
        self._getting_ready: asyncio.Task[None] | None = None
        self._is_over = False
        self.is_ready = False
        """Whether it has read all that it can read before it is told to begin."""

    @property
    def pid(self) -> int:
        """Its number; 0 while there is none."""
        return 0 if self._child is None else self._child.pid

    def make_soon(self) -> None:
        """If there is none yet."""
        lives = self._child is not None and not self._child.ended.is_set()
        if not (lives or self._timer or self._starting or self._is_over):
            self._timer = asyncio.get_running_loop().call_later(DELAY_SECONDS, self._make)

    def _make(self) -> None:
        self._timer = None
        self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        child = ChildProcess(self._show_line)
        try:
            await child.start(self._command)
        except OSError as error:
            log.warning("no spare process can be started: %s", error)
            return
        finally:
            self._starting = None
        self._child = child
        if self._is_over:
            child.kill()
        self._getting_ready = asyncio.create_task(self._get_ready(child))

    async def _get_ready(self, child: ChildProcess) -> None:
        try:
            await child.peer.ask("prepare", self._told)
        except (StreamGateError, PeerLostError) as error:
            if self._child is child and not self._is_over:
                log.warning("a spare process (pid %d) could not get ready: %r", child.pid, error)
                child.kill()
        else:
            self.is_ready = self._child is child

    def take(self) -> ChildProcess | None:
        """The spare, if there is one that is ready: it is the caller's from now on."""
        child, is_ready = self._child, self.is_ready
        self._child, self.is_ready = None, False
        if child is None or child.ended.is_set():
            return None
        now = time.monotonic()
        if not is_ready or now - child.heard > SILENCE_SECONDS:
            child.kill()
            return None
        child.started = child.heard = now
        return child

    def kill(self) -> None:
        """End it, and make no other."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._child is not None:
            self._child.kill()

    async def stop(self) -> None:
        """As `kill`, and wait until it has ended."""
        self.kill()
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._child is not None:
            self._child.kill()
            await self._child.ended.wait()
