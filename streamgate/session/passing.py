"""A gateway before another, which passes on what it does not do itself."""

from collections.abc import Mapping, Sequence

from streamgate.model.statistics import ModelStatistics, SlotTable
from streamgate.session.gateway import (
    ComeSink,
    Gateway,
    GoneSink,
    ModelIndexEntry,
    ModelInfo,
    ServerInfo,
)


class PassingGateway:
    """What is asked of `streamgate.session.gateway.Gateway`, but for connections and keys, is asked
    of the gateway behind."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

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
