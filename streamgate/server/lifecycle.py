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
            # A failed version is cleared too: it no longer keeps the server unready.
            self._retire_all_but(name, frozenset())

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
            unchanged = source.fingerprint == self._fingerprints.get(name)
            if unchanged and self._table.is_served(name):
                return
            reasons = await self._load_versions(name, source)
            if reasons:
                errors = "".join(
                    f"version {number} is at UNAVAILABLE state: {reason};\n"
                    for number, reason in sorted(reasons.items())
                )
                raise StreamGateError(Code.INVALID_ARG, f"load failed for model '{name}': {errors}")
            self._fingerprints[name] = source.fingerprint
            self._sources[name] = source
            served = frozenset(int(version.version) for version in source.versions)
            self._retire_all_but(name, served)

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
        if self._table.get(name) is None:
            self._table.set(name, 1, VersionState(UNAVAILABLE, _reason(error)))

    async def _load_versions(self, name: str, source: ModelSource) -> dict[int, str]:
        """Load all versions of a source. Returns the reasons of those that failed.

        Where one fails, the version that serves under its number goes on.
        """
        reasons = {int(number): _reason(error) for number, error in source.failures.items()}
        for version in source.versions:
            number = int(version.version)
            if self._table.route_of(name, number) is None:
                self._table.set(name, number, VersionState(LOADING))
            try:
                await self._load_version(name, version)
            except StreamGateError as error:
                reasons[number] = _reason(error)
        for number, reason in reasons.items():
            if self._table.route_of(name, number) is None:
                self._table.set(name, number, VersionState(UNAVAILABLE, reason))
        return reasons

    async def _load_version(self, name: str, version: VersionSource) -> None:
        """Load one version and swap it in."""
        runtime = ModelRuntime(version.config, version.version, self._host)
        try:
            backend = await asyncio.to_thread(self._find_backend, version.config.backend)
            await runtime.load(self._loaders(backend, version))
        except StreamGateError:
            runtime.discard()
            raise
        except Exception as error:
            runtime.discard()
            raise BackendError(f"{type(error).__name__}: {error}") from error
        route = Route(runtime)
        self._runtimes[route] = runtime
        number = int(version.version)
        old = self._table.route_of(name, number)
        self._table.set(name, number, VersionState(READY, route=route))
        log.info("model '%s' version %d is ready", name, number)
        if old is not None:
            self._close_later(old)

    def _loaders(self, backend: Backend, version: VersionSource) -> list[Callable[[], Session]]:
        def loader(instance: Instance) -> Callable[[], Session]:
            return lambda: backend.load(LoadContext(version.config, version.files, instance))

        return [loader(instance) for instance in version.config.instances]

    # -- retiring

    def _retire_all_but(self, name: str, kept: frozenset[int]) -> None:
        """Take all other versions of a model out of service."""
        model = self._table.get(name)
        for number, version in list(model.versions.items() if model else ()):
            if number in kept:
                continue
            if version.route is not None:
                self._retire(name, number, version.route)
            elif version.state == UNAVAILABLE:
                version.reason = UNLOADED

    def _retire(self, name: str, number: int, route: Route) -> None:
        """Take a version out of service; it is UNAVAILABLE when what runs on it is done."""
        retired = VersionState(UNLOADING)
        self._table.set(name, number, retired)

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
