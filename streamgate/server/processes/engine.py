"""What an engine process does: it loads the models, and serves them over a link to front ends."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, final

from prometheus_client import REGISTRY

from streamgate.errors import Code, EndWarning, StreamGateError, WarningCause
from streamgate.link.channel import Heartbeat
from streamgate.link.server import LinkServer
from streamgate.observe.durability import DurabilityCollector, durability_of
from streamgate.observe.families import families_of
from streamgate.observe.metrics import ModelCollector
from streamgate.server.models import ServedModels
from streamgate.server.processes.child import Beginning, Report
from streamgate.server.processes.loads import LoadMemory, RememberedLoads
from streamgate.server.processes.names import engine_socket
from streamgate.server.processes.none_left import until_none
from streamgate.server.processes.runtime_directory import LOADS
from streamgate.server.processes.settings_text import read_settings
from streamgate.server.settling import settle_memory
from streamgate.server.warning import warned
from streamgate.session.local import ModelControl

LOOK_SECONDS: Final = 1.0
"""How often sequences are counted: a beat that comes earlier says the same again."""


@final
class EngineRole:
    """All models of the repositories in one process, without any port."""

    def __init__(self, beginning: Beginning, on_change: Callable[[], None]) -> None:
        directory = Path(beginning.directory)
        self._memory = LoadMemory(directory / LOADS)
        self._loads: RememberedLoads | None = None
        settings = read_settings(beginning.settings)
        self._models = ServedModels(settings, self._remembered, alone=False)
        self._heartbeat = Heartbeat(silence_seconds=settings.link_silence_seconds)
        self._arena_bytes = settings.link_arena_bytes
        self._socket = directory / engine_socket(beginning.name)
        self._on_change = on_change
        self._link: LinkServer | None = None
        self._is_ready = False
        self._is_accepting = False
        self._counted = (0, 0, 0, 0)
        self._counted_at = -LOOK_SECONDS
        self._stuck = ""

    async def begin(self) -> None:
        try:
            await self._models.load()
            if self._loads is not None:
                await self._loads.repeat()
            gateway = self._models.gateway
            gateway.start()
            self._link = LinkServer(
                self._models.table,
                gateway,
                heartbeat=self._heartbeat,
                arena_bytes=self._arena_bytes,
            )
            self._link.listen_unix(self._socket)
            assert self._models.host is not None
            self._models.host.elsewhere_ns = self._link.late_ns
        except StreamGateError:
            await self._models.drain()
            await self._models.close()
            raise
        settle_memory()
        self._is_ready = self._is_accepting = True

    def report(self) -> Report:
        now = asyncio.get_running_loop().time()
        if self._is_ready and now - self._counted_at >= LOOK_SECONDS:
            self._count(now)
        answers = self._link.counts.answers if self._link is not None else 0
        return Report(self._is_ready, self._is_accepting, *self._counted, self._stuck, answers)

    async def answer(self, what: str, value: Any) -> Any:
        match what:
            case "metrics":
                return self._metrics()
            case "drain":
                return await self._drain(value)
            case "sequences":
                return await self._sequences()
            case "finish":
                await self._finish(value)
            case _:
                raise StreamGateError(Code.UNSUPPORTED, f"an engine does not know '{what}'")
        return None

    def hear(self, what: str, value: Any) -> None:
        """Nothing is told to engines."""

    def _remembered(self, control: ModelControl) -> ModelControl:
        self._loads = RememberedLoads(control, self._memory)
        return self._loads

    def _metrics(self) -> dict[str, Any]:
        models = [route.link.statistics() for route in self._models.table.routes()]
        return {
            "summed": [
                *families_of(ModelCollector(lambda: models).collect()),
                *families_of(DurabilityCollector(durability_of(models)).collect()),
            ],
            "process": families_of(REGISTRY.collect()),
        }

    async def _drain(self, seconds: float) -> int:
        """Front ends are told that nothing new is wanted here. Returns the sequences left after
        so long."""
        link = self._link
        assert link is not None
        self._models.gateway.stop_admission()
        link.say_live()
        self._is_accepting = False
        self._on_change()
        with warned(seconds, lambda left: link.warn(EndWarning(WarningCause.DRAIN, left))):
            return await until_none(self._sequences, seconds)

    async def _finish(self, seconds: float | None) -> None:
        """Let what is under way end, for so long or as long as the server's settings allow, and
        close the models. Front ends still hear of it."""
        self._is_ready = self._is_accepting = False
        self._on_change()
        await self._models.drain(seconds)
        await self._models.close()
        self._counted = (0, 0, 0, 0)
        self._on_change()

    async def _sequences(self) -> int:
        self._count(asyncio.get_running_loop().time())
        return self._counted[0] + self._counted[2]

    def _count(self, now: float) -> None:
        """An ensemble's sequences are in its models', too."""
        self._counted_at = now
        models = [
            route.link.statistics()
            for route in self._models.table.routes()
            if not route.config.ensemble
        ]
        hung = sorted({each.name for each in models if each.instances.hung})
        names = ", ".join(f"'{name}'" for name in hung)
        self._stuck = f"a step or hook of model {names} hangs" if hung else ""
        found = [each.sequences for each in models if each.sequences is not None]
        logs = [each.durability for each in models if each.durability is not None]
        self._counted = (
            sum(each.active for each in found),
            sum(each.slots for each in found),
            sum(each.backlog for each in found),
            sum(each.stalled for each in logs),
        )
