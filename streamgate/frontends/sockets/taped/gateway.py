"""The gateway as conversations see it that may be on a tape."""

from collections.abc import Mapping, Sequence
from typing import final

from streamgate.frontends.world import world
from streamgate.model.statistics import ModelStatistics, SlotTable
from streamgate.session.gateway import (
    ComeSink,
    Connection,
    EndSink,
    Gateway,
    GoneSink,
    ModelIndexEntry,
    ModelInfo,
    ServerInfo,
    WarningSink,
)


@final
class WorldlyGateway:
    """Implements `streamgate.session.gateway.Gateway` over another: each connection is that of the
    world in which it is asked for."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def connect(
        self, on_sequence_end: EndSink | None = None, on_warning: WarningSink | None = None
    ) -> Connection:
        return world().connect(self._gateway, on_sequence_end, on_warning)

    def of(self, key: str) -> "WorldlyGateway":
        gateway = self._gateway.of(key)
        return self if gateway is self._gateway else WorldlyGateway(gateway)

    def owe(self, size_bytes: int) -> float:
        return world().owe(self._gateway, size_bytes)

    def watch_sequences(self, on_gone: GoneSink, on_come: ComeSink) -> None:
        self._gateway.watch_sequences(on_gone, on_come)

    def is_live(self) -> bool:
        return self._gateway.is_live()

    def is_accepting(self) -> bool:
        return self._gateway.is_accepting()

    def is_ready(self) -> bool:
        return self._gateway.is_ready()

    async def is_model_ready(self, name: str, version: str) -> bool:
        return await self._gateway.is_model_ready(name, version)

    def server_info(self) -> ServerInfo:
        return self._gateway.server_info()

    def model(self, name: str, version: str) -> ModelInfo:
        return self._gateway.model(name, version)

    async def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        return await self._gateway.statistics(name, version)

    async def slots(self, name: str, version: str) -> Sequence[SlotTable]:
        return await self._gateway.slots(name, version)

    async def repository_index(self, *, ready_only: bool) -> Sequence[ModelIndexEntry]:
        return await self._gateway.repository_index(ready_only=ready_only)

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        await self._gateway.load_model(name, config, files)

    async def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        await self._gateway.unload_model(name, unload_dependents=unload_dependents)
