"""How models come and go: reads the repository, loads on the engine, keeps the model table.

A reload builds the new versions beside the old ones and swaps when all are there; a load that fails
leaves what was serving as it was. What goes out of service answers the requests that it has, ends
its sequences (drained) and closes. Message texts and states are Triton's (facts 7.3 to 7.5, 7.9);
where Triton hides the reason of a failure, it follows Triton's text.
"""

import asyncio
import enum
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from weakref import WeakValueDictionary

from streamgate.backend.contract import Backend
from streamgate.engine.host import Host
from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import Code, ConfigError, ConfigPhase, EndReason, StreamGateError
from streamgate.repository.repository import ModelRepository, ModelSource
from streamgate.server.loading import LoadedVersions, load_versions, reason_of
from streamgate.session.model_server import ModelServers
from streamgate.session.routing import (
    LOADING,
    READY,
    UNAVAILABLE,
    UNLOADED,
    UNLOADING,
    ModelTable,
    Route,
    VersionState,
)

log = logging.getLogger(__name__)

LOADS_AT_A_TIME = 4
"""Triton's default of --model-load-thread-count."""
CLOSE_SECONDS = 2.0
"""How long a step that runs may hold up the closing of its model, once waiting is over."""


class ControlMode(enum.Enum):
    """Who decides which models are loaded: everything at start-up, or load and unload calls."""

    NONE = "none"
    EXPLICIT = "explicit"


@dataclass(frozen=True, slots=True)
class _Served:
    """A version in service. Its source is held for as long as the runtime may read its files."""

    runtime: ModelRuntime
    source: ModelSource


class Lifecycle:
    """Loads and unloads models. Implements `streamgate.session.local.ModelControl`.

    `drain_seconds` is how long a version that goes out of service may take over the requests that
    it has.
    """

    def __init__(
        self,
        repository: ModelRepository,
        find_backend: Callable[[str], Backend],
        table: ModelTable,
        host: Host,
        mode: ControlMode,
        drain_seconds: float,
        servers: ModelServers,
    ) -> None:
        self._repository = repository
        self._find_backend = find_backend
        self._table = table
        self._host = host
        self._mode = mode
        self._drain_seconds = drain_seconds
        self._servers = servers
        # One load or unload of a model at a time; a lock lives while somebody uses it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._turns = asyncio.Semaphore(LOADS_AT_A_TIME)
        self._fingerprints: dict[str, str] = {}
        self._served: dict[Route, _Served] = {}
        self._loading: set[asyncio.Task[None]] = set()
        self._retiring: dict[asyncio.Task[None], ModelRuntime] = {}

    def names(self) -> Sequence[str]:
        return self._repository.names()

    async def start(self, wanted: Sequence[str]) -> dict[str, StreamGateError]:
        """The loads of start-up: all models, or in explicit mode the `wanted` ones ("*" is all).

        Returns what failed, by model.
        """
        names = list(dict.fromkeys(wanted))
        if self._mode is ControlMode.NONE or "*" in wanted:
            names = list(await asyncio.to_thread(self.names))
        failures = await asyncio.gather(*(self._load_at_start(name) for name in names))
        return {name: error for name, error in zip(names, failures, strict=True) if error}

    async def load(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        *,
        nested: bool = False,
    ) -> None:
        """Load or reload a model. Goes on if its caller does not wait for it."""
        self._check_explicit()
        # A model that loads others while it is loaded holds a turn, and so may all turns be held.
        turn = nullcontext() if nested else self._turns
        task = asyncio.create_task(self._load(name, config, files, turn))
        self._loading.add(task)
        task.add_done_callback(self._on_loaded)
        await asyncio.shield(task)

    async def unload(self, name: str, *, unload_dependents: bool) -> None:
        """Stop serving a model. Returns at once; requests under way still finish."""
        self._check_explicit()
        async with self._lock(name):
            self._fingerprints.pop(name, None)
            # A failed version is cleared too: it no longer keeps the server unready.
            self._table.note_trouble(name, "")
            self._retire_all_but(name, frozenset())

    async def stop(self, timeout_seconds: float) -> None:
        """Let requests and sequences under way end, at most so long, then close everything."""
        for load in self._loading:
            load.cancel()
        runtimes = [served.runtime for served in self._served.values()]
        for runtime in runtimes:
            runtime.drain()
        waiting = {asyncio.create_task(runtime.wait_idle()): runtime for runtime in runtimes}
        waiting |= self._retiring
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=timeout_seconds)
            for task in late:
                log.warning(
                    "model '%s' is not idle after %g s: closing it",
                    waiting[task].config.name,
                    timeout_seconds,
                )
                task.cancel()
            runtimes += [waiting[task] for task in late if task in self._retiring]
        await asyncio.gather(*(runtime.close(CLOSE_SECONDS) for runtime in runtimes))
        self._servers.close()
        self._served.clear()

    # -- loading

    async def _load_at_start(self, name: str) -> StreamGateError | None:
        try:
            await self._load(name, None, {}, self._turns)
        except StreamGateError as error:
            log.error("%s", error.message.strip())
            if self._table.get(name) is None:
                self._table.note_trouble(name, reason_of(error))
            return error
        return None

    async def _load(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        turn: AbstractAsyncContextManager[None],
    ) -> None:
        async with self._lock(name), turn:
            source = await self._read(name, config, files)
            if source.fingerprint == self._fingerprints.get(name) and self._table.is_served(name):
                return
            began = time.monotonic()
            numbers = [int(version.version) for version in source.versions]
            self._enter(name, numbers, LOADING)
            try:
                loaded = await load_versions(source, self._find_backend, self._host, self._servers)
            except asyncio.CancelledError:
                self._enter(name, numbers, UNAVAILABLE, "Unavailable: loading was given up")
                raise
            if loaded.failures:
                raise self._refuse(name, numbers, loaded)
            self._swap(name, source, loaded)
            shown = ", ".join(str(number) for number in numbers)
            seconds = time.monotonic() - began
            log.info("model '%s' version %s is ready after %.2f s", name, shown, seconds)

    async def _read(self, name: str, config: str | None, files: Mapping[str, bytes]) -> ModelSource:
        """The model as the repository has it. Raises StreamGateError with the text for a client."""
        try:
            return await asyncio.to_thread(self._repository.read, name, config, files)
        except StreamGateError as error:
            if isinstance(error, ConfigError) and error.phase is ConfigPhase.POLL:
                raise StreamGateError(
                    Code.INTERNAL,
                    f"failed to load '{name}', failed to poll from model repository: "
                    f"{error.message}",
                ) from error
            if not self._table.is_served(name):
                self._table.note_trouble(name, reason_of(error))
            raise StreamGateError(
                Code.INVALID_ARG, f"load failed for model '{name}': {error.message}\n"
            ) from error

    def _enter(self, name: str, numbers: Sequence[int], state: str, reason: str = "") -> None:
        """Show the state of versions that are being loaded, unless an older one serves on."""
        for number in numbers:
            if self._table.route_of(name, number) is None:
                self._table.set(name, number, VersionState(state, reason))

    def _refuse(self, name: str, numbers: Sequence[int], loaded: LoadedVersions) -> StreamGateError:
        """The load failed: what was loaded goes, what serves stays. Returns the client's error."""
        for runtime in loaded.runtimes.values():
            runtime.discard()
        self._enter(name, numbers, UNAVAILABLE, UNLOADED)
        text = ""
        for number, error in sorted(loaded.failures.items()):
            self._enter(name, [number], UNAVAILABLE, reason_of(error))
            text += f"version {number} is at UNAVAILABLE state: {reason_of(error)};\n"
        return StreamGateError(Code.INVALID_ARG, f"load failed for model '{name}': {text}")

    def _swap(self, name: str, source: ModelSource, loaded: LoadedVersions) -> None:
        """Put the new versions into service and take all others out of it."""
        for number, runtime in loaded.runtimes.items():
            old = self._table.route_of(name, number)
            route = Route(runtime)
            self._served[route] = _Served(runtime, source)
            self._table.set(name, number, VersionState(READY, route=route))
            if old is not None:
                self._retire(old)
        self._fingerprints[name] = source.fingerprint
        self._retire_all_but(name, frozenset(loaded.runtimes))

    def _on_loaded(self, load: asyncio.Task[None]) -> None:
        self._loading.discard(load)
        if not load.cancelled() and (error := load.exception()) is not None:
            # Its caller may be gone.
            log.warning("%s", str(error).strip())

    # -- retiring

    def _retire_all_but(self, name: str, kept: frozenset[int]) -> None:
        """Take all other versions of a model out of service."""
        model = self._table.get(name)
        for number, version in list(model.versions.items() if model else ()):
            if number in kept:
                continue
            if version.route is not None:
                state = VersionState(UNLOADING)
                self._table.set(name, number, state)
                self._retire(version.route, state)
            elif version.state == UNAVAILABLE:
                version.reason = UNLOADED

    def _retire(self, route: Route, state: VersionState | None = None) -> None:
        """Close what nobody is sent to any more: it answers the requests that it has and ends its
        sequences behind them. `state` is UNAVAILABLE then."""
        served = self._served.pop(route)
        served.runtime.drain()
        for key in route.positions.keys():  # noqa: SIM118, it is no dict, and ends change it
            served.runtime.end_sequence(key, EndReason.DRAINED, drain=True)

        async def close() -> None:
            # Here the source lives on until the last step is done.
            await self._close_when_idle(served)
            route.retired = True
            if state is not None:
                state.state, state.reason = UNAVAILABLE, UNLOADED
            log.info("model '%s' version %s is unloaded", route.config.name, route.version)

        task = asyncio.create_task(close())
        self._retiring[task] = served.runtime
        task.add_done_callback(self._retiring.pop)

    async def _close_when_idle(self, served: _Served) -> None:
        runtime = served.runtime
        try:
            async with asyncio.timeout(self._drain_seconds):
                await runtime.wait_idle()
        except TimeoutError:
            log.warning(
                "model '%s' version %s is not idle after %g s: closing it",
                runtime.config.name,
                runtime.version,
                self._drain_seconds,
            )
        await runtime.close(CLOSE_SECONDS)

    def _check_explicit(self) -> None:
        if self._mode is not ControlMode.EXPLICIT:
            # Triton's text, though polling may be off as well.
            raise StreamGateError(
                Code.UNAVAILABLE,
                "explicit model load / unload is not allowed if polling is enabled",
            )

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock
