"""The supervisor of a server: its processes, started and stopped in order, and kept running.

    supervisor ── socket pair ── engine-0 ...   the models, behind a Unix socket each
               └─ socket pair ── front-0 ...    the ports, shared; each speaks to all engines

It serves nothing itself but the metrics of all and the control socket, and imports no library of
models or of gRPC: little in it can break, and it starts its children at once.
"""

import asyncio
import logging
import os
import secrets
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final, final

import streamgate
from streamgate.errors import Code, StreamGateError
from streamgate.link.losses import Cause
from streamgate.server.ports import Ports, wanted_ports
from streamgate.server.processes.adopted import bury_adopted
from streamgate.server.processes.child import Beginning
from streamgate.server.processes.control import ControlSocket
from streamgate.server.processes.hardware import Hardware
from streamgate.server.processes.keeper import Keeper, Place
from streamgate.server.processes.launch import own_command
from streamgate.server.processes.log_lines import show_line
from streamgate.server.processes.messages import Peer, PeerLostError
from streamgate.server.processes.names import ENGINE, ENGINE_ENDED, FRONT_END
from streamgate.server.processes.none_left import until_none
from streamgate.server.processes.placeholders import Placeholders
from streamgate.server.processes.runtime_directory import (
    CONTROL,
    clear_runtime_directory,
    create_runtime_directory,
)
from streamgate.server.processes.settings_text import write_settings
from streamgate.server.processes.topology import Topology
from streamgate.server.processes.tree import (
    ServerView,
    view_of,
    view_of_supervisor,
)
from streamgate.server.settings import Settings

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 2.0
"""How long a process may take over a small question."""

OPEN_SECONDS: Final = 30.0
"""How long a front end may take to open its ports."""

GOODBYE_SECONDS: Final = 15.0
"""How long a process may take over its end beyond what its sequences are given: clients say
goodbye, models close, recordings are written."""

RESTART_SECONDS: Final = 600.0
"""How long a drained engine may take to load its models again, until `drain` does not wait."""

CHILD_COMMAND: Final = "process"


@final
class Supervisor:
    """Started and stopped once, on its event loop, which is the main thread's."""

    def __init__(
        self, settings: Settings, topology: Topology, command: Sequence[str] | None = None
    ) -> None:
        """`command` starts a child in place of this very program, with the child's name behind."""
        self._settings = _with_one_secret(settings)
        self._topology = topology
        self._command = [*own_command(), CHILD_COMMAND] if command is None else command
        self._began = time.monotonic()
        self._state = "starting"
        self._draining: set[str] = set()
        self._placeholders = Placeholders(settings.host)
        self._may_open = asyncio.Event()
        self._directory = create_runtime_directory(topology.runtime_directory)
        self._control = ControlSocket(self._directory / CONTROL, self._answer)
        self._metrics: Any = None
        self._ports: Ports | None = None
        self.engines = self._keepers(ENGINE, topology.engines)
        self.front_ends = self._keepers(FRONT_END, topology.front_ends)

    async def start(self) -> Ports:
        """Start everything; returns once all of it serves.

        Raises StreamGateError when a port can't be had or a process can't begin; nothing is left
        running then.
        """
        try:
            self._ports = self._placeholders.take(wanted_ports(self._settings))
            await self._control.open()
            if os.getpid() == 1:
                asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._bury)
            for keeper in self._all:
                keeper.start()
            await self._open_metrics()
            await _all_begun(self.engines, self.front_ends, self._may_open)
        except BaseException:
            await self.end()
            raise
        self._state = "accepting"
        return self._ports

    async def stop(self) -> None:
        """Refuse what is new, let what is under way end, and end all processes: front ends first
        take no more, engines let their sequences end, then front ends say goodbye."""
        self._state = "stopping"
        for keeper in self._all:
            keeper.stop_keeping()
            if not keeper.has_begun:
                keeper.kill()  # it has nothing yet that could end well
        drain_seconds = self._settings.exit_timeout_seconds + GOODBYE_SECONDS
        await _ask_all(self.front_ends, "refuse", ANSWER_SECONDS)
        await _ask_all(self.engines, "finish", drain_seconds)
        await _ask_all(self.front_ends, "close", GOODBYE_SECONDS)
        await asyncio.gather(*(keeper.stop(GOODBYE_SECONDS) for keeper in self._all))
        await self.end()

    async def end(self) -> None:
        """End whatever still runs, at once. Safe to call twice."""
        self.kill()
        await asyncio.gather(*(keeper.stop(GOODBYE_SECONDS) for keeper in self._all))
        if self._metrics is not None:
            await self._metrics.stop(ANSWER_SECONDS)
        self._control.close()
        self._placeholders.close()
        self._remove_directory()

    def kill(self) -> None:
        """Kill all processes. What is to be waited for, `end` does."""
        for keeper in self._all:
            keeper.kill()

    def view(self) -> ServerView:
        """The tree as it is now."""
        children = [view_of(keeper, draining=keeper.name in self._draining) for keeper in self._all]
        uptime = time.monotonic() - self._began
        supervisor = view_of_supervisor(os.getpid(), self._state, uptime, children)
        ports = self._ports.by_name if self._ports is not None else {}
        host = self._settings.host
        shown = f"[{host}]" if ":" in host else host
        return ServerView(
            self._settings.server_id,
            streamgate.__version__,
            self._state,
            {name: f"{shown}:{port}" for name, port in ports.items()},
            [supervisor, *children],
        )

    async def drain(self, name: str, seconds: float) -> dict[str, Any]:
        """Drain an engine and start it anew; or all of the server, for name "", which refuses what
        is new from then on. Returns how many sequences were left, and of an engine its new number.

        Raises StreamGateError for no such engine, and for one that can't be drained now.
        """
        if not name:
            return {"left": await self._drain_all(seconds)}
        keeper = next((each for each in self.engines if each.name == name), None)
        if keeper is None:
            names = ", ".join(each.name for each in self.engines)
            raise StreamGateError(
                Code.NOT_FOUND, f"no engine '{name}' can be drained, expected one of: {names}"
            )
        if name in self._draining or self._draining & {each.name for each in self.front_ends}:
            raise StreamGateError(Code.UNAVAILABLE, f"{name} is being drained already")
        self._draining.add(name)
        try:
            left = await self._drained(keeper, seconds)
            await keeper.restart("drained", RESTART_SECONDS)
        except TimeoutError:
            raise StreamGateError(
                Code.UNAVAILABLE,
                f"{name} was drained, and is not back after {RESTART_SECONDS:.0f} s",
            ) from None
        finally:
            self._draining.discard(name)
        return {"left": left, "pid": keeper.child.pid if keeper.child is not None else 0}

    # -- inside

    @property
    def _all(self) -> list[Keeper]:
        return [*self.engines, *self.front_ends]

    def _keepers(self, kind: str, count: int) -> list[Keeper]:
        engines = [f"{ENGINE}-{number}" for number in range(self._topology.engines)]
        keepers = []
        for number in range(count):
            name = f"{kind}-{number}"
            hardware = Hardware()
            if kind == ENGINE and self._topology.hardware:
                hardware = self._topology.hardware[number]
            place = Place(
                [*self._command, name],
                Beginning(
                    kind,
                    name,
                    write_settings(self._settings),
                    str(self._directory),
                    engines,
                    self._topology.front_ends,
                    hardware.gpus,
                    hardware.cpus,
                ),
                self._settings.log_level,
                self._topology.silence_seconds,
                has_spare=kind == ENGINE and self._topology.spare_engines,
            )
            settle = self._open_ports if kind == FRONT_END else _nothing_more
            keeper = Keeper(place, settle, partial(show_line, name))
            if kind == ENGINE:
                keeper.on_end = self._tell_end
            keepers.append(keeper)
        return keepers

    def _tell_end(self, pid: int, cause: Cause) -> None:
        """Front ends know that an engine is gone; whether its work was to blame, only we do."""
        for keeper in self.front_ends:
            if keeper.child is not None:
                keeper.child.peer.tell(ENGINE_ENDED, [pid, cause.value])

    def _bury(self) -> None:
        bury_adopted([pid for keeper in self._all for pid in keeper.pids])

    async def _open_ports(self, front_end: Peer) -> None:
        """Ports open when there is something to serve behind them."""
        await self._may_open.wait()
        assert self._ports is not None
        shared = replace(self._ports, metrics=None)
        await front_end.ask("open", asdict(shared), seconds=OPEN_SECONDS)

    async def _open_metrics(self) -> None:
        assert self._ports is not None
        if self._ports.metrics is None:
            return
        # Imported here: the children are on their way already.
        from streamgate.frontends.metrics import MetricsEndpoint
        from streamgate.server.processes.scrape import scrape

        metrics = MetricsEndpoint(lambda: scrape(self._all))
        try:
            bound = await metrics.start(self._settings.host, self._ports.metrics)
        except StreamGateError as error:
            raise StreamGateError(
                error.code, f"{error.message} (change it with --metrics-port or --host)"
            ) from error
        self._metrics = metrics
        self._ports = replace(self._ports, metrics=bound)

    async def _drained(self, keeper: Keeper, seconds: float) -> int:
        """Let the sequences of an engine go elsewhere, or end. Returns how many did not."""
        try:
            left: int = await keeper.ask("drain", seconds, seconds=seconds + GOODBYE_SECONDS)
            await keeper.ask("finish", 0.0, seconds=GOODBYE_SECONDS)
        except PeerLostError as error:
            raise StreamGateError(Code.UNAVAILABLE, f"{keeper.name}: {error}") from error
        except TimeoutError:
            log.warning("%s did not drain in time", keeper.name)
            return keeper.child.report.sequences if keeper.child is not None else 0
        return left

    async def _drain_all(self, seconds: float) -> int:
        """Nothing new comes in from now on; wait until all sequences have ended."""
        self._state = "draining"
        self._draining.update(keeper.name for keeper in self._all)
        await _ask_all(self.front_ends, "drain", ANSWER_SECONDS)
        return await until_none(self._sequences, seconds)

    async def _sequences(self) -> int:
        """In all engines, just now. One that does not answer has lost what it had, or will."""
        answers = await asyncio.gather(
            *(keeper.ask("sequences", seconds=ANSWER_SECONDS) for keeper in self.engines),
            return_exceptions=True,
        )
        return sum(answer for answer in answers if isinstance(answer, int))

    async def _answer(self, what: str, value: Any) -> Any:
        """What comes over the control socket."""
        match what:
            case "status":
                return self.view().as_message()
            case "drain":
                return await self.drain(value["name"], value["seconds"])
            case "stacks":
                for keeper in self._all:
                    if keeper.child is not None:
                        keeper.child.show_stacks()
                return None
            case _:
                raise StreamGateError(Code.UNSUPPORTED, f"a server does not know '{what}'")

    def _remove_directory(self) -> None:
        if self._topology.runtime_directory is None:
            shutil.rmtree(self._directory, ignore_errors=True)
        else:
            clear_runtime_directory(self._directory)


def _with_one_secret(settings: Settings) -> Settings:
    """Front ends must be able to read each other's tokens, and those of their predecessors."""
    if settings.resume.secret is not None:
        return settings
    return replace(settings, resume=replace(settings.resume, secret=secrets.token_bytes(32)))


async def _nothing_more(_: Peer) -> None:
    return


async def _all_begun(
    engines: Sequence[Keeper], front_ends: Sequence[Keeper], may_open: asyncio.Event
) -> None:
    """Raises StreamGateError for the first that can't begin."""

    async def engines_begun() -> None:
        await asyncio.gather(*(keeper.wait_first() for keeper in engines))
        may_open.set()

    await asyncio.gather(engines_begun(), *(keeper.wait_first() for keeper in front_ends))


async def _ask_all(keepers: Sequence[Keeper], what: str, seconds: float) -> None:
    """Ask all at once. Those that are gone, or don't answer, are ended soon anyway."""
    answers = await asyncio.gather(
        *(keeper.ask(what, seconds=seconds) for keeper in keepers), return_exceptions=True
    )
    for keeper, answer in zip(keepers, answers, strict=True):
        if isinstance(answer, TimeoutError | StreamGateError):
            why = str(answer) or f"no answer for {seconds:g} s"
            log.warning("%s did not %s: %s", keeper.name, what, why)
        elif isinstance(answer, Exception) and not isinstance(answer, PeerLostError):
            raise answer
