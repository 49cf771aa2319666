"""How models come and go: reads the repository, loads on the engine, keeps the model table.

A reload builds the new versions beside the old ones and swaps when all are there; a load that fails
leaves what was serving as it was. Where nothing but instance groups is new, what serves is resized
instead. What goes out of service answers the requests that it has, ends
its sequences (drained) and closes. Message texts and states are Triton's (facts 7.3 to 7.5, 7.9);
where Triton hides the reason of a failure, it follows Triton's text.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any
from weakref import WeakValueDictionary

from streamgate.backend.contract import Backend
from streamgate.engine.device_turns import DeviceTurns
from streamgate.engine.host import Host
from streamgate.errors import Code, ConfigError, ConfigPhase, StreamGateError
from streamgate.link.contract import ModelLink
from streamgate.repository.composition import circular
from streamgate.repository.repository import ModelRepository, ModelSource
from streamgate.server.composing import (
    Ensembles,
    find_circle,
    is_ensemble,
    load_ensemble,
    unused_steps,
)
from streamgate.server.durable import durable_link
from streamgate.server.loading import LoadedModel, LoadedVersions, load_versions, reason_of
from streamgate.server.resizing import find_resizings
from streamgate.server.retiring import Retirement, Served
from streamgate.server.settings import ControlMode
from streamgate.session.durable.link import DurableLink
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

_Turn = AbstractAsyncContextManager[Any]
_Tried = dict[str, "asyncio.Task[StreamGateError | None]"]
"""The models that one load or start-up has tried: an ensemble shares its models with others."""


class Lifecycle:
    """Loads and unloads models. Implements `streamgate.session.local.ModelControl`.

    `drain_seconds` is how long a version that goes out of service may take over the requests that
    it has. `front` gives the link through which a model is served, in place of its own. With
    `durable`, sequences outlive the processes that run them, as far as each model says; not
    `alone`, others keep logs of them, too. With `turns`, models take turns on the devices that they
    share.
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
        front: Callable[[ModelLink], ModelLink] | None = None,
        *,
        durable: bool = False,
        alone: bool = True,
        turns: DeviceTurns | None = None,
    ) -> None:
        self._repository = repository
        self._find_backend = find_backend
        self._table = table
        self._host = host
        self._mode = mode
        self._servers = servers
        self._front = front
        self._is_durable = durable
        self._is_alone = alone
        self._device_turns = turns
        # One load or unload of a model at a time; a lock lives while somebody uses it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._turns = asyncio.Semaphore(LOADS_AT_A_TIME)
        self._fingerprints: dict[str, str] = {}
        self._served: dict[Route, Served] = {}
        self._loading: set[asyncio.Task[StreamGateError | None]] = set()
        self._drain_seconds = drain_seconds
        self._retirement = Retirement(drain_seconds, host, table.note_change)
        self._ensembles = Ensembles()
        # Loaded because somebody asked for them, not for an ensemble.
        self._explicit: set[str] = set()

    def names(self) -> Sequence[str]:
        return self._repository.names()

    async def start(self, wanted: Sequence[str]) -> dict[str, StreamGateError]:
        """The loads of start-up: all models, or in explicit mode the `wanted` ones ("*" is all).

        Returns what failed, by model.
        """
        names = list(dict.fromkeys(wanted))
        if self._mode is ControlMode.NONE or "*" in wanted:
            names = list(await asyncio.to_thread(self.names))
        self._explicit.update(names)
        tried: _Tried = {}
        loads = [self._try(name, None, {}, self._turns, tried) for name in names]
        failures = await asyncio.gather(*loads)
        failed = {name: error for name, error in zip(names, failures, strict=True) if error}
        for name, error in failed.items():
            log.error("%s", error.message.strip())
            if self._table.get(name) is None:
                self._table.note_trouble(name, reason_of(error))
        return failed

    async def load(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        *,
        nested: bool = False,
    ) -> None:
        """Load or reload a model, and those that an ensemble is made of. Goes on if its caller does
        not wait for it."""
        self._check_explicit()
        self._explicit.add(name)
        # A model that loads others while it is loaded holds a turn, and so may all turns be held.
        turn = nullcontext() if nested else self._turns
        task = self._try(name, config, files, turn, {})
        task.add_done_callback(_log_failure)
        error = await asyncio.shield(task)
        if error is not None:
            raise error

    async def unload(self, name: str, *, unload_dependents: bool) -> None:
        """Stop serving a model, and the ensembles that stand on it. Returns at once; requests under
        way still finish. `unload_dependents`: also what was loaded for this ensemble only."""
        self._check_explicit()
        self._explicit.discard(name)
        unused = unused_steps(name, self._ensembles, self._explicit) if unload_dependents else ()
        async with self._lock(name):
            self._ensembles.forget(name)
            self._take_out(name)
        for step in unused:
            await self.unload(step, unload_dependents=True)

    async def stop(self, timeout_seconds: float) -> None:
        """Let requests and sequences under way end, at most so long, then close everything."""
        for load in self._loading:
            load.cancel()
        by_name: dict[str, list[Served]] = {}
        for served in self._served.values():
            by_name.setdefault(served.source.name, []).append(served)
        tiers = [
            [served for name in names for served in by_name[name]]
            for names in self._ensembles.tiers(by_name, self._servers.called_by)
        ]
        await self._retirement.stop(tiers, timeout_seconds)
        self._servers.close()
        self._served.clear()

    # -- loading

    def _try(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        turn: _Turn,
        tried: _Tried,
    ) -> "asyncio.Task[StreamGateError | None]":
        """Load a model, unless it was tried. What went wrong is the result."""
        task = tried.get(name)
        if task is None:
            task = asyncio.create_task(self._attempt(name, config, files, turn, tried))
            tried[name] = task
            self._loading.add(task)
            task.add_done_callback(self._loading.discard)
        return task

    async def _attempt(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        turn: _Turn,
        tried: _Tried,
    ) -> StreamGateError | None:
        try:
            failures = await self._load_steps(name, config, turn, tried)
            await self._load(name, config, files, turn, failures)
        except StreamGateError as error:
            return error
        self._recompose(name)
        return None

    async def _load_steps(
        self, name: str, config: str | None, turn: _Turn, tried: _Tried
    ) -> dict[str, StreamGateError]:
        """Load the models that an ensemble names, before it holds anything itself."""
        steps = await asyncio.to_thread(self._repository.step_models, name, config)
        last = await asyncio.to_thread(find_circle, name, steps, self._repository.step_models)
        if last is not None:
            raise self._refuse_ensemble(name, circular(name, last))
        failures = await asyncio.gather(*(self._try(step, None, {}, turn, tried) for step in steps))
        return {step: error for step, error in zip(steps, failures, strict=True) if error}

    async def _load(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        turn: _Turn,
        failures: Mapping[str, StreamGateError],
    ) -> None:
        async with self._lock(name), turn:
            source = await self._read(name, config, files)
            if source.fingerprint == self._fingerprints.get(name) and self._table.is_served(name):
                return
            began = time.monotonic()
            if is_ensemble(source):
                self._compose(source, failures)
            else:
                await self._load_versions(source)
            shown = ", ".join(version.version for version in source.versions)
            seconds = time.monotonic() - began
            log.info("model '%s' version %s is ready after %.2f s", name, shown, seconds)

    async def _load_versions(self, source: ModelSource) -> None:
        name = source.name
        numbers = [int(version.version) for version in source.versions]
        if await self._resize(source, numbers):
            return
        self._enter(name, numbers, LOADING)
        try:
            loaded = await load_versions(
                source, self._find_backend, self._host, self._servers, self._device_turns
            )
        except asyncio.CancelledError:
            self._enter(name, numbers, UNAVAILABLE, "Unavailable: loading was given up")
            raise
        if loaded.failures:
            raise self._refuse(name, numbers, loaded)
        self._ensembles.forget(name)
        self._swap(source, loaded)

    async def _resize(self, source: ModelSource, numbers: Sequence[int]) -> bool:
        """Where nothing but instance groups is new, the versions that serve go on with these, and
        their sequences live on. Returns whether that was so."""
        resizings = find_resizings(source, self._table, self._served)
        failed = LoadedVersions()
        for each in resizings:
            try:
                await each.apply(self._find_backend, self._servers, self._drain_seconds)
            except StreamGateError as error:
                failed.failures[each.number] = error
            else:
                self._served[each.route] = each.served
                self._table.set(source.name, each.number, VersionState(READY, route=each.route))
        if failed.failures:
            raise self._refuse(source.name, numbers, failed)
        if resizings:
            self._fingerprints[source.name] = source.fingerprint
        return bool(resizings)

    def _compose(self, source: ModelSource, failures: Mapping[str, StreamGateError]) -> None:
        """Put an ensemble into service over the models that are ready."""
        name = source.name
        try:
            loaded = load_ensemble(source, self._table, failures, self._host)
        except ConfigError as error:
            if not self._table.is_served(name):
                self._ensembles.want(source)
            raise self._refuse_ensemble(name, error) from error
        self._ensembles.want(source)
        self._swap(source, loaded)

    def _recompose(self, name: str) -> None:
        """A model was loaded: the ensembles that stand on it come back, or have to fit it anew."""
        for source in self._ensembles.standing_on(name):
            try:
                loaded = load_ensemble(source, self._table, {}, self._host)
            except ConfigError as error:
                log.warning("%s", self._refuse_ensemble(source.name, error).message.strip())
                self._take_out(source.name, reason_of(error))
                continue
            routes = {number: self._table.route_of(source.name, number) for number in loaded.models}
            if any(
                route is None or route.config != loaded.models[number].config
                for number, route in routes.items()
            ):
                self._swap(source, loaded)
                log.info("ensemble '%s' is ready over the new '%s'", source.name, name)
                self._recompose(source.name)

    def _refuse_ensemble(self, name: str, error: ConfigError) -> StreamGateError:
        """An ensemble does not fit its models. Returns the client's error."""
        if not self._table.is_served(name):
            self._table.note_trouble(name, reason_of(error))
        return StreamGateError(
            Code.INVALID_ARG, f"load failed for model '{name}': {error.message}\n"
        )

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
        for model in loaded.models.values():
            model.discard()
        self._enter(name, numbers, UNAVAILABLE, UNLOADED)
        text = ""
        for number, error in sorted(loaded.failures.items()):
            self._enter(name, [number], UNAVAILABLE, reason_of(error))
            text += f"version {number} is at UNAVAILABLE state: {reason_of(error)};\n"
        return StreamGateError(Code.INVALID_ARG, f"load failed for model '{name}': {text}")

    def _swap(self, source: ModelSource, loaded: LoadedVersions) -> None:
        """Put the new versions into service and take all others out of it."""
        name = source.name
        for number, model in loaded.models.items():
            old = self._table.route_of(name, number)
            kept = self._log_of(model)
            link: ModelLink = model if kept is None else kept
            route = Route(link if self._front is None else self._front(link))
            self._served[route] = Served(model, source, kept)
            self._table.set(name, number, VersionState(READY, route=route))
            if old is not None:
                self._retire(old, successor=route)
        self._fingerprints[name] = source.fingerprint
        newest = self._table.route_of(name, max(loaded.models, default=0))
        self._retire_all_but(name, frozenset(loaded.models), newest)

    def _log_of(self, model: LoadedModel) -> DurableLink | None:
        if not self._is_durable:
            return None
        return durable_link(model, self._host, alone=self._is_alone)

    # -- retiring

    def _take_out(self, name: str, reason: str = UNLOADED) -> None:
        """Take a model out of service, and before it the ensembles that stand on it."""
        for source in self._ensembles.standing_on(name):
            self._take_out(source.name)
        self._fingerprints.pop(name, None)
        self._retire_all_but(name, frozenset())
        # A failed version is cleared too: it no longer keeps the server unready.
        self._table.note_trouble(name, "" if reason == UNLOADED else reason)

    def _retire_all_but(
        self, name: str, kept: frozenset[int], successor: Route | None = None
    ) -> None:
        """Take all other versions of a model out of service. Their sequences go on with the
        successor, if there is one and they can."""
        model = self._table.get(name)
        for number, version in list(model.versions.items() if model else ()):
            if number in kept:
                continue
            if version.route is not None:
                state = VersionState(UNLOADING)
                self._table.set(name, number, state)
                self._retire(version.route, state, successor)
            elif version.state == UNAVAILABLE:
                version.reason = UNLOADED
                self._table.note_change()

    def _retire(
        self, route: Route, state: VersionState | None = None, successor: Route | None = None
    ) -> None:
        self._retirement.begin(route, self._served.pop(route), state, successor)

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


def _log_failure(load: "asyncio.Task[StreamGateError | None]") -> None:
    """The load's caller may be gone."""
    error = None if load.cancelled() else load.exception() or load.result()
    if error is not None:
        log.warning("%s", str(error).strip())
