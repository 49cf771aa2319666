"""The gateway of a front-end process: the same checks and connections, engines elsewhere.

It mirrors the tables of its engines in one of its own. Positions and checks are made here, once,
and here are the logs of sequences: what an engine loses goes on at another, or when it is back.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from streamgate.engine.host import AsyncioHost
from streamgate.errors import Code, EndWarning, StreamGateError
from streamgate.link.channel import Heartbeat
from streamgate.link.client import EngineLink
from streamgate.link.contract import ModelLink
from streamgate.model.config import ModelConfig
from streamgate.model.statistics import DurabilityStatistics, ModelStatistics, SlotTable
from streamgate.session.connection import Takeover
from streamgate.session.durable.link import DurableLink
from streamgate.session.durable.observer import OpenObserver
from streamgate.session.durable.trials import Trials
from streamgate.session.forwarding import Forwarding, ForwardingConnection
from streamgate.session.gateway import (
    SLOTS_SHOWN,
    ComeSink,
    Connection,
    EndSink,
    GoneSink,
    ModelIndexEntry,
    ModelInfo,
    ServerInfo,
    WarningSink,
)
from streamgate.session.local import LocalGateway
from streamgate.session.mirror import Mirror, is_better
from streamgate.session.peers import PeerLinks, PeerServer
from streamgate.session.routing import ModelTable, Route
from streamgate.session.sums import join_slot_tables, sum_durability, sum_statistics

T = TypeVar("T")


class RemoteGateway:
    """Implements `streamgate.session.gateway.Gateway` over the engines that are linked here."""

    def __init__(
        self,
        engines: Sequence[EngineLink],
        info: ServerInfo,
        *,
        strict: bool = True,
        open_observer: OpenObserver | None = None,
        takeover: Takeover | None = None,
        front: Callable[[ModelLink], ModelLink] | None = None,
        keeps_log: bool = True,
    ) -> None:
        """`takeover` looks for sequences that do not live here; `front` gives the link through
        which a version is served, in place of its own. Without `keeps_log`, a sequence ends where
        its engine is lost."""
        self._engines = engines
        self._strict = strict
        self._open_observer = open_observer
        self._keeps_log = keeps_log
        self._trials = Trials()
        self._forwarding: Forwarding | None = None
        self._peer_server: PeerServer | None = None
        self._table = table = ModelTable()
        self._mirror = Mirror(engines, table, self._make_link, front)
        control = _Engines(self)
        self._local = LocalGateway(table, control, info, strict=strict, takeover=takeover)
        for engine in engines:
            engine.on_change = self._mirror.renew
        self._mirror.renew()

    def _make_link(self, config: ModelConfig, version: str) -> DurableLink:
        host = AsyncioHost(asyncio.get_running_loop())
        return DurableLink(
            config,
            version,
            host,
            keeps_log=self._keeps_log,
            open_observer=self._open_observer,
            trials=self._trials,
        )

    def start(self) -> None:
        """Live from now on."""
        self._local.start()

    def stop_admission(self) -> None:
        """Refuse what is new, serve what is under way."""
        self._local.stop_admission()

    def route(self, name: str, version: str) -> Route:
        """The ready version of a model. Raises StreamGateError as `model` does."""
        return self._table.route(name, version)

    def warn(self, warning: EndWarning) -> None:
        """Tell all clients that their sequences will end."""
        self._local.warn(warning)

    def join_peers(self, path: Path, heartbeat: Heartbeat | None = None) -> None:
        """There are other front ends of these engines: they reach this one at this Unix socket, and
        each hands requests on whose sequences another holds. Before the engines are connected.
        Raises StreamGateError when it can't be listened there."""
        incarnation = secrets.token_hex(8)
        self._peer_server = PeerServer(self._local, self._table.lives, incarnation, heartbeat)
        self._peer_server.listen_unix(path)
        for engine in self._engines:
            engine.peer_path = str(path)
        peers = PeerLinks(incarnation, heartbeat)
        self._forwarding = Forwarding(self._engines, self._table, peers, str(path))

    async def close(self) -> None:
        """End what waits for an engine, recover nothing any more, and leave the other front ends.
        Idempotent."""
        self._mirror.close()
        if self._forwarding is not None:
            self._forwarding.close()
        if self._peer_server is not None:
            await self._peer_server.stop()

    def sequences(self) -> int:
        """How many go through here just now."""
        return self._mirror.sequences()

    def stalled(self) -> int:
        """How many of them have stalled, and not got on yet."""
        return self._mirror.stalled()

    def durability(self) -> Mapping[tuple[str, str], DurabilityStatistics]:
        """What was recovered here and what is kept for it, by model and version."""
        return self._mirror.durability()

    def connect(
        self, on_sequence_end: EndSink | None = None, on_warning: WarningSink | None = None
    ) -> Connection:
        here = self._local.connect(on_sequence_end, on_warning)
        return here if self._forwarding is None else ForwardingConnection(here, self._forwarding)

    def of(self, key: str) -> "RemoteGateway":
        """All are served alike: limits are for a gateway in front of this one."""
        del key
        return self

    def owe(self, size_bytes: int) -> float:
        return self._local.owe(size_bytes)

    def watch_sequences(self, on_gone: GoneSink, on_come: ComeSink) -> None:
        self._local.watch_sequences(on_gone, on_come)

    def drain(self) -> None:
        """Live as before, but not ready: no sequence begins any more."""
        self._local.drain()

    def is_accepting(self) -> bool:
        return self._local.is_accepting()

    def is_live(self) -> bool:
        return self._local.is_live()

    def is_ready(self) -> bool:
        """Live, and each model that should be ready is, on one engine at least."""
        return (
            self._local.is_ready()
            and any(engine.is_live for engine in self._engines)
            and (not self._strict or all(service.is_served for service in self._mirror.services()))
        )

    async def is_model_ready(self, name: str, version: str) -> bool:
        return await self._local.is_model_ready(name, version)

    def server_info(self) -> ServerInfo:
        return self._local.server_info()

    def model(self, name: str, version: str) -> ModelInfo:
        return self._local.model(name, version)

    async def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        """As the engines count, with what was recovered here."""
        found = await self._of_all(lambda engine: engine.statistics(name, version))
        here = self._mirror.durability()
        return [
            replace(
                each,
                durability=sum_durability(each.durability, here.get((each.name, each.version))),
            )
            for each in sum_statistics(statistics for _, statistics in found)
        ]

    async def slots(self, name: str, version: str) -> Sequence[SlotTable]:
        found = await self._of_all(lambda engine: engine.slots(name, version))
        return join_slot_tables(((engine.name, tables) for engine, tables in found), SLOTS_SHOWN)

    async def repository_index(self, *, ready_only: bool) -> Sequence[ModelIndexEntry]:
        found = await self._of_all(lambda engine: engine.index(ready_only=ready_only))
        best: dict[tuple[str, str], ModelIndexEntry] = {}
        for entry in (entry for _, entries in found for entry in entries):
            key = entry.name, entry.version
            known = best.get(key)
            if known is None or is_better(entry.state, known.state):
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

    async def _of_all(
        self, ask: Callable[[EngineLink], Awaitable[T]]
    ) -> list[tuple[EngineLink, T]]:
        """The answers of all engines that are connected. Raises StreamGateError when none has
        one."""
        engines = self._connected()
        found = await asyncio.gather(*(ask(engine) for engine in engines), return_exceptions=True)
        answers: list[tuple[EngineLink, T]] = []
        failures: list[BaseException] = []
        for engine, each in zip(engines, found, strict=True):
            if isinstance(each, BaseException):
                failures.append(each)
            else:
                answers.append((engine, each))
        if failures and not answers:
            raise failures[0]
        return answers

    def _connected(self) -> list[EngineLink]:
        engines = [engine for engine in self._engines if engine.is_connected]
        if not engines:
            raise StreamGateError(Code.UNAVAILABLE, "no engine is connected just now")
        return engines


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
