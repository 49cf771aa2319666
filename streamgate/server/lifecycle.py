"""How models come and go: reads the repository, loads on the engine, keeps the model table.

A reload builds the new version beside the old one, swaps, then lets the old one finish. A load
that fails leaves what was serving as it was. Message texts and states are Triton's (facts 7.3 to
7.5, 7.9); where Triton hides the reason of a failure, it follows Triton's text.
"""

import asyncio
import enum
import logging
from collections.abc import Callable, Mapping, Sequence

from streamgate.backend.contract import Backend, LoadContext, Session
from streamgate.engine.host import Host
from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import BackendError, Code, ConfigError, ConfigPhase, StreamGateError
from streamgate.model.config import Instance
from streamgate.repository.repository import ModelRepository, ModelSource, VersionSource
from streamgate.session.routing import (
    LOADING,
    READY,
    UNAVAILABLE,
    UNLOADED,
    UNLOADING,
    ModelState,
    ModelTable,
    Route,
    VersionState,
)

log = logging.getLogger(__name__)

_STATUS_WORDS = {
    Code.UNKNOWN: "Unknown",
    Code.INTERNAL: "Internal",
    Code.NOT_FOUND: "Not found",
    Code.INVALID_ARG: "Invalid argument",
    Code.UNAVAILABLE: "Unavailable",
    Code.UNSUPPORTED: "Unsupported",
    Code.ALREADY_EXISTS: "Already exists",
    Code.CANCELLED: "Cancelled",
}


class ControlMode(enum.Enum):
    """Who decides which models are loaded: everything at start-up, or load and unload calls."""

    NONE = "none"
    EXPLICIT = "explicit"


class Lifecycle:
    """Loads and unloads models. Implements `streamgate.session.local.ModelControl`."""

    def __init__(
        self,
        repository: ModelRepository,
        find_backend: Callable[[str], Backend],
        table: ModelTable,
        host: Host,
        mode: ControlMode,
        drain_seconds: float,
    ) -> None:
        self._repository = repository
        self._find_backend = find_backend
        self._table = table
        self._host = host
        self._mode = mode
        self._drain_seconds = drain_seconds
        self._locks: dict[str, asyncio.Lock] = {}
        self._fingerprints: dict[str, str] = {}
        self._runtimes: dict[Route, ModelRuntime] = {}
        # What keeps a model's files alive (overrides live in a temporary folder).
        self._sources: dict[str, ModelSource] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def names(self) -> Sequence[str]:
        return self._repository.names()

    async def start(self, wanted: Sequence[str]) -> dict[str, StreamGateError]:
        """The loads of start-up: all models, or in explicit mode the `wanted` ones ("*" is all).

        Returns what failed, by model.
        """
        names = list(self.names())
        if self._mode is ControlMode.EXPLICIT and "*" not in wanted:
            names = list(dict.fromkeys(wanted))
        failures: dict[str, StreamGateError] = {}
        for name in names:
            try:
                await self._load(name, None, {})
            except StreamGateError as error:
                log.error("%s", error.message.strip())
                failures[name] = error
        return failures

    async def load(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        self._check_explicit()
        await self._load(name, config, files)

    async def unload(self, name: str, *, unload_dependents: bool) -> None:
        """Stop serving a model. Returns at once; requests under way still finish."""
        self._check_explicit()
        async with self._lock(name):
            self._fingerprints.pop(name, None)
            state = self._table.get(name)
            if state is None:
                return
            for number, version in list(state.versions.items()):
                if version.route is None:
                    # Clears a failed version too: it no longer keeps the server unready.
                    version.state, version.reason = UNAVAILABLE, UNLOADED
                else:
                    self._retire(name, number, version.route)

    async def stop(self, timeout_seconds: float) -> None:
        """Let requests and sequences under way end, at most so long, then close everything."""
        runtimes = list(self._runtimes.values())
        for runtime in runtimes:
            runtime.drain()
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.gather(*(runtime.wait_idle() for runtime in runtimes))
        except TimeoutError:
            log.warning("models are not idle after %.1f s, closing them", timeout_seconds)
        await asyncio.gather(*(runtime.close(2.0) for runtime in runtimes), *self._closing)

    # -- loading

    async def _load(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        async with self._lock(name):
            source = await self._read(name, config, files)
            state = self._table.get(name)
            unchanged = source.fingerprint == self._fingerprints.get(name)
            if unchanged and state is not None and state.ready():
                return
            if state is None:
                state = self._table.add(name)
            reasons: dict[int, str] = {}
            for unreadable, error in source.failures.items():
                reasons[int(unreadable)] = self._note_unreadable(state, int(unreadable), error)
            for version in source.versions:
                reason = await self._load_version(name, state, version)
                if reason is not None:
                    reasons[int(version.version)] = reason
            if reasons:
                errors = "".join(
                    f"version {number} is at UNAVAILABLE state: {reason};\n"
                    for number, reason in sorted(reasons.items())
                )
                raise StreamGateError(Code.INVALID_ARG, f"load failed for model '{name}': {errors}")
            self._fingerprints[name] = source.fingerprint
            self._sources[name] = source
            served = {int(version.version) for version in source.versions}
            for number, old in list(state.versions.items()):
                if number not in served and old.route is not None:
                    self._retire(name, number, old.route)

    async def _read(self, name: str, config: str | None, files: Mapping[str, bytes]) -> ModelSource:
        """The model as the repository has it. Raises StreamGateError with the text for a client."""
        try:
            return await asyncio.to_thread(self._repository.read, name, config, files)
        except ConfigError as error:
            if error.phase is ConfigPhase.POLL:
                raise StreamGateError(
                    Code.INTERNAL,
                    f"failed to load '{name}', failed to poll from model repository: "
                    f"{error.message}",
                ) from error
            self._note_failure(name, error)
            raise StreamGateError(
                Code.INVALID_ARG, f"load failed for model '{name}': {error.message}\n"
            ) from error
        except StreamGateError as error:
            self._note_failure(name, error)
            raise StreamGateError(
                Code.INVALID_ARG, f"load failed for model '{name}': {error.message}\n"
            ) from error

    def _note_failure(self, name: str, error: StreamGateError) -> None:
        """A model that could not even be read shows in the index, unless it is being served."""
        state = self._table.add(name)
        if not state.versions:
            state.versions[1] = VersionState(UNAVAILABLE, _reason(error))

    def _note_unreadable(self, state: ModelState, number: int, error: StreamGateError) -> str:
        """A version whose configuration or files are wrong; a loaded one keeps serving."""
        reason = _reason(error)
        version = state.versions.get(number)
        if version is None or version.route is None:
            state.versions[number] = VersionState(UNAVAILABLE, reason)
        return reason

    async def _load_versions(
        self, name: str, state: ModelState, source: ModelSource
    ) -> dict[int, str]:
        """Load all versions of a source. Returns the reasons of those that failed."""
        reasons = {}
        for number, error in source.failures.items():
            reasons[int(number)] = _reason(error)
            self._fail_version(state, int(number), _reason(error))
        for version in source.versions:
            reason = await self._load_version(name, state, version)
            if reason is not None:
                reasons[int(version.version)] = reason
        return reasons

    def _fail_version(self, state: ModelState, number: int, reason: str) -> None:
        """A version could not be loaded; the one that serves under its number goes on."""
        old = state.versions.get(number)
        if old is None or old.route is None:
            state.versions[number] = VersionState(UNAVAILABLE, reason)

    async def _load_version(
        self, name: str, state: ModelState, version: VersionSource
    ) -> str | None:
        """Load one version and swap it in. Returns the reason of a failure."""
        number = int(version.version)
        old = state.versions.get(number)
        if old is None or old.route is None:
            state.versions[number] = VersionState(LOADING)
        runtime = ModelRuntime(version.config, version.version, self._host)
        try:
            backend = await asyncio.to_thread(self._find_backend, version.config.backend)
            await runtime.load(self._loaders(backend, version))
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            if not isinstance(error, StreamGateError):
                error = BackendError(f"{type(error).__name__}: {error}")
            runtime.discard()
            self._fail_version(state, number, _reason(error))
            return _reason(error)
        route = Route(runtime)
        self._runtimes[route] = runtime
        state.versions[number] = VersionState(READY, route=route)
        log.info("model '%s' version %d is ready", name, number)
        if old is not None and old.route is not None:
            self._close_later(old.route)
        return None

    def _loaders(self, backend: Backend, version: VersionSource) -> list[Callable[[], Session]]:
        def loader(instance: Instance) -> Callable[[], Session]:
            return lambda: backend.load(LoadContext(version.config, version.files, instance))

        return [loader(instance) for instance in version.config.instances]

    # -- retiring

    def _retire(self, name: str, number: int, route: Route) -> None:
        """Take a version out of service; it is UNAVAILABLE when what runs on it is done."""
        state = self._table.add(name)
        retired = VersionState(UNLOADING)
        state.versions[number] = retired

        def done() -> None:
            retired.state, retired.reason = UNAVAILABLE, UNLOADED
            log.info("model '%s' version %d is unloaded", name, number)

        self._close_later(route, done)

    def _close_later(self, route: Route, done: Callable[[], None] | None = None) -> None:
        runtime = self._runtimes.pop(route)

        async def close() -> None:
            await runtime.close(self._drain_seconds)
            if done is not None:
                done()

        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _check_explicit(self) -> None:
        if self._mode is not ControlMode.EXPLICIT:
            # Triton's text, though polling may be off as well.
            raise StreamGateError(
                Code.UNAVAILABLE,
                "explicit model load / unload is not allowed if polling is enabled",
            )

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())


def _reason(error: StreamGateError) -> str:
    return f"{_STATUS_WORDS[error.code]}: {error.message}"
