"""The processes of a server as values: what `streamgate status` shows and metrics tell."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from streamgate.server.processes.keeper import Keeper
from streamgate.server.processes.names import SUPERVISOR
from streamgate.server.processes.proc import usage_of

SILENT_SECONDS = 1.5
"""From here on a process is shown as silent."""


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One process. `state` is the furthest that it has come: `down` (it waits to be started again),
    `starting`, `silent`, `alive`, `ready`, `accepting`; or `draining`. `last_reason` says why the
    one before it ended. `sequences` live in it (an engine) or go through it (a front
    end), of which so many have `stalled`."""

    kind: str
    name: str
    pid: int
    state: str
    is_alive: bool
    is_ready: bool
    is_accepting: bool
    uptime_seconds: float
    restarts: int
    last_reason: str
    sequences: int
    slots: int
    waiting: int
    cpu_seconds: float
    memory_bytes: int
    descriptors: int
    threads: int
    stalled: int = 0


@dataclass(frozen=True, slots=True)
class ServerView:
    """The whole server: the supervisor first, then its children."""

    server_id: str
    version: str
    state: str
    addresses: dict[str, str]
    processes: list[ProcessView] = field(default_factory=list)

    def as_message(self) -> dict[str, Any]:
        return asdict(self)


def server_view(message: dict[str, Any]) -> ServerView:
    """What `as_message` gave."""
    processes = [ProcessView(**each) for each in message.pop("processes")]
    return ServerView(**message, processes=processes)


def view_of(keeper: Keeper, *, draining: bool) -> ProcessView:
    """A child, as it is now."""
    child = keeper.child
    now = time.monotonic()
    is_silent = child is not None and now - child.heard > SILENT_SECONDS
    is_alive = child is not None and not is_silent
    is_ready = is_alive and keeper.has_begun and child is not None and child.report.is_ready
    is_accepting = is_ready and child is not None and child.report.is_accepting
    if child is None:
        state = "down"
    elif is_silent and keeper.has_begun:
        state = "silent"
    elif not keeper.has_begun:
        state = "starting"
    elif draining:
        state = "draining"
    else:
        state = "accepting" if is_accepting else "ready" if is_ready else "alive"
    report = child.report if child is not None else None
    usage = usage_of(child.pid if child is not None else 0)
    return ProcessView(
        keeper.kind,
        keeper.name,
        child.pid if child is not None else 0,
        state,
        is_alive,
        is_ready,
        is_accepting,
        now - child.started if child is not None else 0.0,
        keeper.restarts.count,
        keeper.last_reason,
        report.sequences if report is not None else 0,
        report.slots if report is not None else 0,
        report.waiting if report is not None else 0,
        usage.cpu_seconds,
        usage.memory_bytes,
        usage.descriptors,
        usage.threads,
        report.stalled if report is not None else 0,
    )


def view_of_supervisor(
    pid: int, state: str, uptime_seconds: float, children: Sequence[ProcessView]
) -> ProcessView:
    """The supervisor: it is what its children are together."""
    usage = usage_of(pid)
    return ProcessView(
        SUPERVISOR,
        SUPERVISOR,
        pid,
        state,
        True,
        all(child.is_ready for child in children),
        all(child.is_accepting for child in children),
        uptime_seconds,
        0,
        "",
        0,
        0,
        0,
        usage.cpu_seconds,
        usage.memory_bytes,
        usage.descriptors,
        usage.threads,
    )
