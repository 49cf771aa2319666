"""The gateway of one process: front ends, sessions and engine on one event loop."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from streamgate.core.ids import OwnerNumber
from streamgate.errors import Code, EndWarning, StreamGateError
from streamgate.model.statistics import ModelStatistics, SlotTable
from streamgate.session.connection import SessionConnection, Takeover
from streamgate.session.gateway import (
    SLOTS_SHOWN,
    ComeSink,
    EndSink,
    GoneSink,
    ModelIndexEntry,
    ModelInfo,
    ServerInfo,
    WarningSink,
)
from streamgate.session.routing import ModelTable, parse_version

EXTENSIONS = (
    "classification",
    "sequence",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)
"""Of Triton's extensions, those that are served: shared memory, trace and logging are not."""


class ModelControl(Protocol):
    """Who loads and unloads models: the server's lifecycle."""

    def names(self) -> Sequence[str]:
        """Every model in the repositories, loaded or not. Reads directories: for a thread."""

    async def load(
        self,
        name: str,
        config: str | None,
        files: Mapping[str, bytes],
        *,
        nested: bool = False,
    ) -> None:
        """`nested`: a model asks, which may itself be loading; so this load takes no turn."""

    async def unload(self, name: str, *, unload_dependents: bool) -> None: ...


class LocalGateway:
    """Implements `streamgate.session.gateway.Gateway` over a model table in this process."""

    def __init__(
        self,
        table: ModelTable,
        control: ModelControl,
        info: ServerInfo,
        *,
        strict: bool = True,
        takeover: Takeover | None = None,
    ) -> None:
        """`takeover` looks for sequences that do not live here."""
        self._takeover = takeover
        self._table = table
        self._control = control
        self._info = info
        self._strict = strict
        self._owners = 0
        self._live = False
        self._stopping = False
        self._draining = False

    def start(self) -> None:
        """All start-up loads are done: live from now on."""
        self._live = True

    def stop_admission(self) -> None:
        """The server is going down: refuse what is new, serve what is under way."""
        self._stopping = True

    def drain(self) -> None:
        """Live as before, but not ready: what is under way goes on, no sequence begins any more."""
        self._draining = True

    def warn(self, warning: EndWarning) -> None:
        """Tell all clients that their sequences will end."""
        self._table.warn(warning)

    def connect(
        self, on_sequence_end: EndSink | None = None, on_warning: WarningSink | None = None
    ) -> SessionConnection:
        self._owners += 1
        owner = OwnerNumber(self._owners)
        return SessionConnection(
            owner,
            self._table,
            on_sequence_end,
            on_warning,
            self._check_accepting,
            self._takeover,
        )

    def of(self, key: str) -> "LocalGateway":
        """All are served alike: limits are for a gateway in front of this one."""
        del key
        return self

    def owe(self, size_bytes: int) -> float:
        del size_bytes
        return 0.0

    def watch_sequences(self, on_gone: GoneSink, on_come: ComeSink) -> None:
        self._table.watch_sequences(on_gone)
        if self._takeover is not None:
            self._takeover.watch(on_come)

    def is_live(self) -> bool:
        return self._live and not self._stopping

    def is_accepting(self) -> bool:
        return self.is_live() and not self._draining

    def is_ready(self) -> bool:
        return self.is_accepting() and (not self._strict or self._table.is_ready())

    async def is_model_ready(self, name: str, version: str) -> bool:
        parse_version(version)
        try:
            route = self._table.route(name, version)
        except StreamGateError:
            return False
        return await route.link.is_ready()

    def server_info(self) -> ServerInfo:
        return self._info

    def model(self, name: str, version: str) -> ModelInfo:
        return self._table.info(name, version)

    async def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        if not name:
            return [route.link.statistics() for route in self._table.routes()]
        state = self._table.get(name)
        ready = state.ready() if state is not None else []
        if not ready:
            raise StreamGateError(Code.INVALID_ARG, f"requested model '{name}' is not available")
        number = parse_version(version)
        if number is not None and number not in ready:
            raise StreamGateError(
                Code.INVALID_ARG, f"requested model version is not available for model '{name}'"
            )
        wanted = ready if number is None else [number]
        return [self._table.route(name, str(number)).link.statistics() for number in wanted]

    async def slots(self, name: str, version: str) -> Sequence[SlotTable]:
        if name:
            tables = self._table.route(name, version).link.slot_tables(SLOTS_SHOWN)
        else:
            # An ensemble's are those of its models, which are shown anyway.
            links = [route.link for route in self._table.routes() if not route.config.ensemble]
            tables = [table for link in links for table in link.slot_tables(SLOTS_SHOWN)]
        left = SLOTS_SHOWN
        shown: list[SlotTable] = []
        for table in tables:
            shown.append(self._shown(table, left))
            left -= len(shown[-1].views)
        return shown

    def _shown(self, table: SlotTable, limit: int) -> SlotTable:
        """With the positions that sequences have come to, and no more than may be shown."""
        route = self._table.route_of(table.name, int(table.version))
        newest_of = route.positions.newest_of if route is not None else lambda _: -1
        views = tuple(
            replace(view, position=newest_of(view.sequence)) for view in table.views[:limit]
        )
        hidden = len(table.views) - len(views)
        return replace(table, views=views, left_out=table.left_out + hidden)

    async def repository_index(self, *, ready_only: bool) -> Sequence[ModelIndexEntry]:
        # What is ready, the table knows; only the others must be looked for, on the disk.
        names = () if ready_only else await asyncio.to_thread(self._control.names)
        return self._table.index(names, ready_only=ready_only)

    async def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        self._check_live()
        await self._control.load(name, config, files)

    async def load_for_model(
        self, name: str, config: str | None, files: Mapping[str, bytes]
    ) -> None:
        """As `load_model`, for a model that may itself be loading."""
        self._check_live()
        await self._control.load(name, config, files, nested=True)

    async def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        self._check_live()
        await self._control.unload(name, unload_dependents=unload_dependents)

    def _check_accepting(self) -> None:
        if self._draining:
            raise StreamGateError(
                Code.UNAVAILABLE, "Server is draining and does not let in new sequences."
            )

    def _check_live(self) -> None:
        if self._stopping:
            raise StreamGateError(
                Code.UNAVAILABLE, "Server is stopping and has stopped accepting new requests."
            )
