"""A process of a server from its own side: begins as it is told, says that it lives, and ends with
its supervisor."""

import asyncio
import faulthandler
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol, final

from streamgate.errors import Code, StreamGateError
from streamgate.server.logs import log_to_stderr
from streamgate.server.processes.hardware import Hardware, keep_to
from streamgate.server.processes.messages import Peer, attach
from streamgate.server.processes.orphan import die_with
from streamgate.server.settling import leave_threads

log = logging.getLogger(__name__)

BEAT_SECONDS: Final = 0.25
"""How often a process says that it lives, from its event loop: one whose loop hangs says nothing.
"""

STACKS_SIGNAL: Final = signal.SIGUSR1
"""Has a process write to its log what all of its threads do, whatever they do."""

UNSENT_BYTES_MAX: Final = 64 * 1024
"""A supervisor that takes no more than this is stopped, and need not be told that we live."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a process is told first. `settings` are the server's, as text; `engines` the names of
    all engines, whose sockets are in `directory`; there are so many `front_ends`. `gpus` and `cpus`
    are those of `Hardware`."""

    kind: str
    name: str
    settings: str
    directory: str
    engines: list[str]
    front_ends: int = 1
    gpus: str | None = None
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What a process says about itself with each beat.

    `is_ready`: it serves; `is_accepting`: also what is new. `sequences` live in it or go through
    it, and so many `slots` it has for them; `waiting` sequences have none; of those whose log is
    here, so many have `stalled`. `stuck` says why it is to be ended and started anew, if it is.
    So many `answers` of models have left it.
    """

    is_ready: bool = False
    is_accepting: bool = False
    sequences: int = 0
    slots: int = 0
    waiting: int = 0
    stalled: int = 0
    stuck: str = ""
    answers: int = 0


class Role(Protocol):
    """What a process does."""

    async def begin(self) -> None:
        """Get ready. Raises StreamGateError when it can't: the process is ended then."""

    def report(self) -> Report: ...

    async def answer(self, what: str, value: Any) -> Any:
        """Do what the supervisor asks. Raises StreamGateError."""

    def hear(self, what: str, value: Any) -> None:
        """Take note of what the supervisor tells."""


MakeRole = Callable[[Beginning, Callable[[], None]], Role]
"""The role for a beginning. It calls the second argument when its report has changed."""


Prepare = Callable[[str], None]
"""Reads the libraries of a kind."""


def run_child(
    descriptor: int, supervisor: int, make_role: MakeRole, prepare: Prepare = lambda _: None
) -> int:
    """Live as a child of the `supervisor` (its process's number), which speaks over an inherited
    socket. Returns the exit status."""
    die_with(supervisor)
    # Ctrl-C and `systemctl stop` reach all processes at once: the supervisor says what to do. What
    # we start in turn gets these signals as it is used to, which it would not if we ignored them.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_it_to_the_supervisor)
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL, all_threads=True)
    os.set_inheritable(descriptor, False)
    asyncio.run(_Child(make_role, prepare).live(socket.socket(fileno=descriptor)))
    leave_threads()
    return 0


def _leave_it_to_the_supervisor(*_: object) -> None:
    """See above."""


@final
class _Child:
    def __init__(self, make_role: MakeRole, prepare: Prepare) -> None:
        self._make_role = make_role
        self._prepare = prepare
        self._role: Role | None = None
        self._peer = Peer(self._answer, self._hear, self._on_lost)
        self._over = asyncio.Event()

    async def live(self, end: socket.socket) -> None:
        await attach(end, self._peer)
        while not self._over.is_set():
            self._beat()
            try:
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._over.wait()
            except TimeoutError:
                continue

    def _beat(self) -> None:
        if self._peer.unsent_bytes < UNSENT_BYTES_MAX:
            report = Report() if self._role is None else self._role.report()
            self._peer.tell("beat", asdict(report))

    def _hear(self, what: str, value: Any) -> None:
        if what == "exit":
            self._over.set()
        elif self._role is not None:
            self._role.hear(what, value)

    async def _answer(self, what: str, value: Any) -> Any:
        if what in {"begin", "prepare"}:
            beginning = Beginning(**value["beginning"])
            log_to_stderr(value["log_level"])
            keep_to(Hardware(beginning.gpus, tuple(beginning.cpus)))
            if what == "prepare":
                self._prepare(beginning.kind)
                return None
            self._role = self._make_role(beginning, self._beat)
            await self._role.begin()
            self._beat()
            return None
        if self._role is None:
            raise StreamGateError(Code.UNAVAILABLE, f"'{what}' is asked before the beginning")
        return await self._role.answer(what, value)

    def _on_lost(self) -> None:
        """Nobody is there to serve for: whatever is under way can't be told to anybody."""
        if not self._over.is_set():
            os._exit(1)
