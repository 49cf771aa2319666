"""Starting a process of the server, and what is left of one that has ended."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, final

from streamgate.link.losses import Cause
from streamgate.server.processes.child import STACKS_SIGNAL, Report
from streamgate.server.processes.fate import cause_of, fate_of, oom_kills
from streamgate.server.processes.messages import Peer, attach

LAST_LINES: Final = 20
"""Lines of its log that are kept, for who asks why it ended."""

LINE_BYTES_MAX: Final = 16 * 1024
"""A line that is longer is shown as several."""

_READ_BYTES: Final = 64 * 1024


def own_command() -> list[str]:
    """This very program as another process would start it, on the same modules."""
    # `python -m` looks into the current folder first: only if we do, too.
    is_safe = "" not in sys.path and str(Path.cwd()) not in sys.path
    return [sys.executable, *(["-P"] if is_safe else []), "-m", "streamgate"]


@final
class ChildProcess:
    """One process. `show_line` gets each line of its standard error.

    `heard` is when it last said something, in seconds of the monotonic clock; `ended` is set once
    it is over, and then `fate` says how and `cause` whether what it did may be the reason. `lines`
    of its log have been read.
    """

    def __init__(self, show_line: Callable[[str], None]) -> None:
        self.ended = asyncio.Event()
        self.fate = ""
        self.cause = Cause.UNEXPLAINED
        self.report = Report()
        self.started = self.heard = time.monotonic()
        self.has_spoken = False
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.lines = 0
        self.peer = Peer(hear=self._hear)
        self._show_line = show_line
        self._why = ""
        self._why_cause = Cause.OUTSIDE
        self._oom_kills: int | None = None
        self._unfinished = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._output = self._alive = -1

    async def start(self, command: Sequence[str]) -> None:
        """Start it. The number of its socket and our process's are added to the command. Call it on
        the main thread: the process dies with the thread that started it."""
        ours = self._spawn(command)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._output, self._on_output)
        loop.add_reader(self._alive, self._on_end)
        try:
            await attach(ours, self.peer)
        except BaseException:
            # Whoever wanted it wants it no more, and would not know that it is there.
            self._on_end()
            raise

    def _spawn(self, command: Sequence[str]) -> socket.socket:
        """Returns our end of the connection."""
        ours, theirs = socket.socketpair()
        self._output, written = os.pipe()
        os.set_blocking(self._output, False)
        try:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stderr=written,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError:
            os.close(self._output)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(written)
        self._oom_kills = oom_kills()
        self._alive = os.pidfd_open(self._process.pid)
        return ours

    @property
    def pid(self) -> int:
        """Its number, also when it has ended; 0 before it is started."""
        return 0 if self._process is None else self._process.pid

    def kill(self, why: str = "", cause: Cause = Cause.OUTSIDE) -> None:
        """End it at once, and what it has started in its group; `why` becomes its fate."""
        if not self.ended.is_set() and self._process is not None:
            if not self._why:
                self._why, self._why_cause = why, cause
            self._signal_group()

    def show_stacks(self) -> None:
        """Have it write to its log what its threads do; nothing if it is too young to."""
        if self.has_spoken and not self.ended.is_set():
            os.kill(self.pid, STACKS_SIGNAL)

    def _signal_group(self) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # nothing is left of it

    def _hear(self, what: str, value: Any) -> None:
        self.heard = time.monotonic()
        self.has_spoken = True
        if what == "beat":
            self.report = Report(**value)

    def _on_output(self) -> bool:
        """Show what has come; returns whether more may come."""
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            asyncio.get_running_loop().remove_reader(self._output)
            return False
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        if len(self._unfinished) > LINE_BYTES_MAX:
            lines.append(self._unfinished)
            self._unfinished = b""
        for line in lines:
            self._show(line)
        return True

    def _show(self, line: bytes) -> None:
        text = line.decode(errors="replace")
        self.lines += 1
        self.last_lines.append(text)
        self._show_line(text)

    def _on_end(self) -> None:
        assert self._process is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._alive)
        os.close(self._alive)
        # What it started itself is in its group and goes with it. Its number is still its own.
        self._signal_group()
        status = self._process.wait()
        while self._on_output():
            continue
        if self._unfinished:
            self._show(self._unfinished)
        loop.remove_reader(self._output)
        os.close(self._output)
        self.peer.close()
        if self._why:
            self.fate, self.cause = self._why, self._why_cause
        else:
            self.fate = fate_of(status)
            self.cause = cause_of(status, self._oom_kills, oom_kills())
        self.report = Report(answers=self.report.answers)
        self.ended.set()
