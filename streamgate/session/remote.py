"""The gateway of a front-end process: the same checks and connections, engines elsewhere.

It mirrors the tables of its engines in one of its own, with a route for each version that at least
one of them serves. Positions and checks are made here, once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

from streamgate.errors import Code, StreamGateError
from streamgate.link.client import EngineLink
from streamgate.link.contract import ModelLink
from streamgate.link.messages import ModelLine
from streamgate.link.remote_model import RemoteModel
from streamgate.model.statistics import ModelStatistics, SlotTable
from streamgate.session.connection import SessionConnection
from streamgate.session.gateway import (
    EndSink,
    GoneSink,
    IdleSink,
    ModelIndexEntry,
    ModelInfo,
    ServerInfo,
)
from streamgate.session.local import LocalGateway
from streamgate.session.routing import (
    LOADING,
    READY,
    UNAVAILABLE,
    UNLOADING,
    ModelTable,
    Route,
    VersionState,
)

T = TypeVar("T")

_BEST_FIRST: Final = (READY, LOADING, UNLOADING, UNAVAILABLE, "")
"""Which state is shown of a version that has several, on several engines."""


class RemoteGateway:
    """Implements `streamgate.session.gateway.Gateway` over the engines that are linked here."""

    def __init__(
        self,
        engines: Sequence[EngineLink],
        info: ServerInfo,
        *,
        strict: bool = True,
        front: Callable[[ModelLink], ModelLink] | None = None,
    ) -> None:
        self._engines = engines
        self._table = ModelTable()
        self._front = front
        self._local = LocalGateway(self._table, _Engines(self), info, strict=strict)
        self._routes: dict[RemoteModel, Route] = {}
        for engine in engines:
            engine.on_change = self._renew
        self._renew()

    def start(self) -> None:
        """Live from now on."""
        self._local.start()

    def stop_admission(self) -> None:
        """Refuse what is new, serve what is under way."""
        self._local.stop_admission()

    def connect(
        self, on_sequence_end: EndSink | None = None, on_idle_warning: IdleSink | None = None
    ) -> SessionConnection:
        return self._local.connect(on_sequence_end, on_idle_warning)

    def of(self, key: str) -> "RemoteGateway":
        """All are served alike: limits are for a gateway in front of this one."""
        del key
        return self

    def owe(self, size_bytes: int) -> float:
        return self._local.owe(size_bytes)

    def watch_sequences(self, on_gone: GoneSink) -> None:
        self._local.watch_sequences(on_gone)

    def is_live(self) -> bool:
        return self._local.is_live()

    def is_ready(self) -> bool:
        return self._local.is_ready() and any(engine.is_live for engine in self._engines)

    async def is_model_ready(self, name: str, version: str) -> bool:
        return await self._local.is_model_ready(name, version)

    def server_info(self) -> ServerInfo:
        return self._local.server_info()

    def model(self, name: str, version: str) -> ModelInfo:
        return self._local.model(name, version)

    async def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        found = await self._of_all(lambda engine: engine.statistics(name, version))
        return [each for statistics in found for each in statistics]

    async def slots(self, name: str, version: str) -> Sequence[SlotTable]:
        found = await self._of_all(lambda engine: engine.slots(name, version))
        return [each for tables in found for each in tables]

    async def repository_index(self, *, ready_only: bool) -> Sequence[ModelIndexEntry]:
        found = await self._of_all(lambda engine: engine.index(ready_only=ready_only))
        best: dict[tuple[str, str], ModelIndexEntry] = {}
        for entry in (entry for entries in found for entry in entries):
            key = entry.name, entry.version
            known = best.get(key)
            if known is None or _is_better(entry.state, known.state):
                best[key] = entry
        return [best[key] for key in sorted(best)]

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        await self._local.load_model(name, config, files)

    async def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        await self._local.unload_model(name, unload_dependents=unload_dependents)

    async def on_all(self, do: Callable[[EngineLink], Awaitable[None]]) -> None:
        """Do this on each engine that is connected; what the first failure raised is raised when
        all are through."""
        engines = self._connected()
        done = await asyncio.gather(*(do(engine) for engine in engines), return_exceptions=True)
        for outcome in done:
            if outcome is not None:
                raise outcome

    async def _of_all(self, ask: Callable[[EngineLink], Awaitable[T]]) -> list[T]:
        """The answers of all engines that are connected. Raises StreamGateError when none has
        one."""
        engines = self._connected()
        found = await asyncio.gather(*(ask(engine) for engine in engines), return_exceptions=True)
        answers: list[T] = []
        failures: list[BaseException] = []
        for each in found:
            if isinstance(each, BaseException):
                failures.append(each)
            else:
                answers.append(each)
        if failures and not answers:
            raise failures[0]
        return answers

    def _connected(self) -> list[EngineLink]:
        engines = [engine for engine in self._engines if engine.is_connected]
        if not engines:
            raise StreamGateError(Code.UNAVAILABLE, "no engine is connected just now")
        return engines

    # -- the table

    def _renew(self) -> None:
        """Bring the table up to what the engines say."""
        wanted: dict[str, dict[int, VersionState]] = {}
        trouble: dict[str, str] = {}
        for engine in self._engines:
            for line in engine.lines:
                versions = wanted.setdefault(line.name, {})
                self._add(engine, line, versions)
                trouble[line.name] = line.trouble
        for name, versions in wanted.items():
            for number, state in versions.items():
                self._enter(name, number, state)
            if trouble[name] and not any(each.route for each in versions.values()):
                self._table.note_trouble(name, trouble[name])
        for model, route in list(self._routes.items()):
            if not model.is_open:
                route.retired = True
                del self._routes[model]

    def _add(self, engine: EngineLink, line: ModelLine, versions: dict[int, VersionState]) -> None:
        for version in line.versions:
            model = engine.models.get(version.model)
            if model is not None:
                state = VersionState(version.state, version.reason, self._route_of(model))
            elif version.state == READY:
                state = VersionState(UNAVAILABLE, "the engine is lost")
            else:
                state = VersionState(version.state, version.reason)
            known = versions.get(version.number)
            if known is None or _is_better(state.state, known.state):
                versions[version.number] = state

    def _enter(self, name: str, number: int, state: VersionState) -> None:
        model = self._table.get(name)
        known = model.versions.get(number) if model is not None else None
        if known != state:
            self._table.set(name, number, state)

    def _route_of(self, model: RemoteModel) -> Route:
        route = self._routes.get(model)
        if route is None:
            link = model if self._front is None else self._front(model)
            route = self._routes[model] = Route(link)
        elif route.config is not model.config:
            route.renew_config()
        return route


class _Engines:
    """Loads and unloads on all engines. Implements `streamgate.session.local.ModelControl`."""

    def __init__(self, gateway: RemoteGateway) -> None:
        self._gateway = gateway

    def names(self) -> Sequence[str]:
        return ()

    async def load(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        *,
        nested: bool = False,
    ) -> None:
        await self._gateway.on_all(lambda engine: engine.load(name, config, files))

    async def unload(self, name: str, *, unload_dependents: bool) -> None:
        await self._gateway.on_all(
            lambda engine: engine.unload(name, unload_dependents=unload_dependents)
        )


def _is_better(state: str, than: str) -> bool:
    return _BEST_FIRST.index(state) < _BEST_FIRST.index(than)
