"""One place of the server's tree: a process that is kept running until the server stops."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.link.losses import Cause, is_stopped
from streamgate.server.processes.child import Beginning
from streamgate.server.processes.launch import ChildProcess
from streamgate.server.processes.messages import Peer, PeerLostError
from streamgate.server.processes.restarts import Restarts
from streamgate.server.processes.spare import Spare

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.1
"""How often a process that says nothing is looked at."""

START_SILENCE_SECONDS: Final = 60.0
"""How long a process may be silent that begins: its interpreter and libraries are read from a disk.
"""


STACKS_SECONDS: Final = 1.0
"""How long a process that hangs may take to begin to write where it does."""

STACKS_PAUSE_SECONDS: Final = 0.05
"""It has written all once nothing has come for so long."""

HANGING_SECONDS: Final = 1.0
"""How long a process may be there that has hung up."""


@dataclass(frozen=True, slots=True)
class Place:
    """What runs at a place: `command` starts it, `beginning` is what it is told first. `has_spare`:
    another process is kept that takes over when it ends."""

    command: Sequence[str]
    beginning: Beginning
    log_level: str
    silence_seconds: float
    has_spare: bool = False

    def told(self) -> dict[str, Any]:
        return {"beginning": asdict(self.beginning), "log_level": self.log_level}


@final
class Keeper:
    """Starts a process, sees that it lives, and starts it again when it does not.

    `settle` is awaited after each beginning, with the new process to talk to: only then it counts
    as begun. `show_line` gets the lines of its log.
    """

    def __init__(
        self,
        place: Place,
        settle: Callable[[Peer], Awaitable[None]],
        show_line: Callable[[str], None],
    ) -> None:
        self.kind = place.beginning.kind
        self.name = place.beginning.name
        self.child: ChildProcess | None = None
        self.restarts = Restarts()
        self.last_reason = ""
        self.has_begun = False
        self.begun = asyncio.Event()
        self.on_end: Callable[[int, Cause], None] = lambda *_: None
        """Told of the end of each of its processes: the number, and why."""
        self._place = place
        self._settle = settle
        self._show_line = show_line
        self._failed: StreamGateError | None = None
        self._begun_at = 0.0
        self._is_stopping = False
        self._wanted_end = ""
        self._running: asyncio.Task[None] | None = None
        self._spare = Spare(place.command, place.told(), show_line) if place.has_spare else None

    def start(self) -> None:
        """Start it for the first time; `wait_first` tells what came of it."""
        self._running = asyncio.create_task(self._run(), name=f"keeper-{self.name}")

    @property
    def pids(self) -> list[int]:
        """The numbers of its processes."""
        pids = [each.pid for each in (self.child, self._spare) if each is not None]
        return [pid for pid in pids if pid]

    async def wait_first(self) -> None:
        """Until it has begun for the first time. Raises StreamGateError when it could not."""
        await self.begun.wait()
        if self._failed is not None:
            raise self._failed

    async def restart(self, reason: str, seconds: float) -> None:
        """End the process, because it was `reason` ("drained"), and wait until a new one has begun.
        Raises TimeoutError when that takes longer."""
        self._wanted_end = reason
        self.begun.clear()
        self._end(f"it was {reason}")
        async with asyncio.timeout(seconds):
            await self.begun.wait()

    async def ask(self, what: str, value: Any = None, *, seconds: float) -> Any:
        """Ask the process that runs now. Raises what `Peer.ask` does."""
        if self.child is None:
            raise PeerLostError(f"{self.name} does not run just now")
        return await self.child.peer.ask(what, value, seconds=seconds)

    def stop_keeping(self) -> None:
        """From now on it is not started again."""
        self._is_stopping = True
        if self._spare is not None:
            self._spare.kill()
        if self.child is None and self._running is not None:
            self._running.cancel()

    async def stop(self, seconds: float) -> None:
        """Let the process end by itself, at most so long; then it is killed."""
        self.stop_keeping()
        child = self.child
        if child is not None:
            child.peer.tell("exit")
            try:
                async with asyncio.timeout(seconds):
                    await child.ended.wait()
            except TimeoutError:
                log.warning("%s did not end within %.0f s and was killed", self.name, seconds)
                child.kill()
                await child.ended.wait()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        if self._spare is not None:
            await self._spare.stop()

    def kill(self) -> None:
        """End it at once, for good."""
        self.stop_keeping()
        self._end("")

    def _end(self, why: str) -> None:
        if self.child is not None:
            self.child.kill(why)

    # -- the life of its processes

    async def _run(self) -> None:
        while True:
            try:
                child = await self._next_child()
            except OSError as error:
                reason = f"it could not be started: {error}"
            else:
                self.child = child
                reason = await self._live_through(child)
                self.child = None
                self.on_end(child.pid, child.cause)
            if self._is_stopping:
                return
            now = time.monotonic()
            ready_seconds = now - self._begun_at if self.has_begun else 0.0
            self.has_begun = False
            self.begun.clear()
            if not self._begun_at:
                self._give_up(child, reason)
                return
            if self._wanted_end:
                delay, self._wanted_end = 0.0, ""
                self.restarts.count += 1
            else:
                has_served = child.report.answers > 0
                delay = self.restarts.next_delay(now, ready_seconds, has_served=has_served)
            self.last_reason = reason
            when = f"in {delay:g} s" if delay else "at once"
            log.warning("%s (pid %d): %s; starting it again %s", self.name, child.pid, reason, when)
            await asyncio.sleep(delay)

    async def _next_child(self) -> ChildProcess:
        """Raises OSError where none can be started."""
        spare = self._spare.take() if self._spare is not None else None
        if spare is not None:
            return spare
        child = ChildProcess(self._show_line)
        await child.start(self._place.command)
        return child

    async def _live_through(self, child: ChildProcess) -> str:
        """From its start to its end. Returns why it ended."""
        beginning = asyncio.create_task(self._begin(child))
        try:
            await self._watch(child)
        finally:
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
        return child.fate

    async def _begin(self, child: ChildProcess) -> None:
        """Tell it what to be. One that can't is ended."""
        try:
            await child.peer.ask("begin", self._place.told())
            await self._settle(child.peer)
        except StreamGateError as error:
            if not self._begun_at:
                self._failed = error
            child.kill(f"it could not begin: {error.message.strip()}")
        except TimeoutError:
            child.kill("it took too long to begin")
        except PeerLostError:
            # It is ending, and how says more than that it hung up.
            await asyncio.sleep(HANGING_SECONDS)
            child.kill("it hung up")
        else:
            self.has_begun = True
            self._begun_at = time.monotonic()
            self.begun.set()
            if self._spare is not None:
                self._spare.make_soon()

    async def _watch(self, child: ChildProcess) -> None:
        """Until it has ended. A process that is silent for too long is killed."""
        looked = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await child.ended.wait()
                return
            except TimeoutError:
                now = time.monotonic()
            limit = self._place.silence_seconds if self.has_begun else START_SILENCE_SECONDS
            if now - looked > LOOK_SECONDS + limit / 2:
                # We were stopped ourselves, and have not read yet what it has said meanwhile.
                child.heard = now
            elif now - child.heard > limit:
                why = f"it was frozen: no sign of life for {now - child.heard:.1f} s"
                stopped = is_stopped(child.pid)
                cause = Cause.OUTSIDE if stopped else Cause.UNEXPLAINED
                await self._end_hanging(child, why, cause)
            elif child.report.stuck:
                why = f"it was stuck: {child.report.stuck}"
                await self._end_hanging(child, why, Cause.ITS_OWN)
            looked = now

    @staticmethod
    async def _end_hanging(child: ChildProcess, why: str, cause: Cause) -> None:
        """End it, but let it say before where it hangs, if it can say anything."""
        if child.has_spoken and not is_stopped(child.pid):
            limit = time.monotonic() + STACKS_SECONDS
            begin = known = child.lines
            child.show_stacks()
            while time.monotonic() < limit:
                await asyncio.sleep(STACKS_PAUSE_SECONDS)
                if child.lines > begin and child.lines == known:
                    break
                known = child.lines
        child.kill(why, cause)

    def _give_up(self, child: ChildProcess, reason: str) -> None:
        """It never began: the server can't start."""
        if self._failed is None:
            words = "".join(f"\n  {line}" for line in child.last_lines)
            self._failed = StreamGateError(
                Code.INTERNAL, f"{self.name} could not start: {reason}{words}"
            )
        self.begun.set()
