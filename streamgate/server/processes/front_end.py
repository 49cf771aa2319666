"""What a front-end process does: it opens the ports, over engines in other processes."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, final

from prometheus_client import REGISTRY

import streamgate
from streamgate.errors import Code, EndWarning, StreamGateError, WarningCause
from streamgate.link.addresses import UnixAddress
from streamgate.link.channel import Heartbeat
from streamgate.link.client import EngineLink
from streamgate.link.contract import ModelLink
from streamgate.link.losses import Cause, Deaths
from streamgate.observe.durability import DurabilityCollector
from streamgate.observe.families import families_of
from streamgate.observe.resumption import ResumeCollector
from streamgate.observe.speech import SpeechCollector
from streamgate.observe.store import StoreCollector
from streamgate.observe.tenants import TenantCollector
from streamgate.server.front_ends import FrontEnds
from streamgate.server.ports import Ports
from streamgate.server.processes.child import Beginning, Report
from streamgate.server.processes.names import ENGINE_ENDED, engine_socket, front_end_socket
from streamgate.server.processes.settings_text import read_settings
from streamgate.server.recordings import Recordings
from streamgate.server.settling import settle_memory
from streamgate.server.storing import STORING_SECONDS, stored_sequences_of
from streamgate.server.warning import warned
from streamgate.session.gateway import ServerInfo
from streamgate.session.local import EXTENSIONS
from streamgate.session.remote import RemoteGateway

CONNECT_SECONDS: Final = 5.0
"""How long engines may take to be connected before ports are opened without them."""


@final
class FrontEndRole:
    """All front ends of the settings in one process, on ports that it shares."""

    def __init__(self, beginning: Beginning, on_change: Callable[[], None]) -> None:
        settings = read_settings(beginning.settings)
        directory = Path(beginning.directory)
        self._on_change = on_change
        self._heartbeat = Heartbeat(silence_seconds=settings.link_silence_seconds)
        self._deaths = Deaths()
        self._settings = settings
        self._recordings = Recordings()
        self._warned = ExitStack()
        self._links = [
            EngineLink(
                UnixAddress(directory / engine_socket(name)),
                heartbeat=self._heartbeat,
                arena_bytes=settings.link_arena_bytes,
                deaths=self._deaths,
            )
            for name in beginning.engines
        ]
        info = ServerInfo(settings.server_id, streamgate.__version__, EXTENSIONS)
        self._stored = stored = stored_sequences_of(settings)
        self._gateway = RemoteGateway(
            self._links,
            info,
            strict=settings.strict_readiness,
            takeover=stored,
            front=self._front,
            keeps_log=settings.durable,
        )
        self._front_ends = FrontEnds(
            self._gateway,
            settings,
            shared=True,
            processes=beginning.front_ends,
            owner=beginning.name,
            directory=directory,
            store=None if stored is None else stored.store,
        )

        self._peer_path = (
            directory / front_end_socket(beginning.name) if beginning.front_ends > 1 else None
        )
        self._is_open = False

    async def begin(self) -> None:
        await self._recordings.begin(self._settings, self._gateway.route)
        if self._stored is not None:
            await self._stored.store.start()
        if self._peer_path is not None:
            self._gateway.join_peers(self._peer_path, self._heartbeat)
        for link in self._links:
            link.start()

    def report(self) -> Report:
        is_ready = self._is_open and self._gateway.is_ready()
        is_accepting = is_ready and self._gateway.is_accepting()
        return Report(
            is_ready,
            is_accepting,
            self._gateway.sequences(),
            stalled=self._gateway.stalled(),
        )

    async def answer(self, what: str, value: Any) -> Any:
        match what:
            case "open":
                await self._open(Ports(**value))
            case "metrics":
                return self._metrics()
            case "refuse":
                self._gateway.stop_admission()
                self._warned.enter_context(warned(self._settings.exit_timeout_seconds, self._warn))
                self._on_change()
            case "drain":
                self._gateway.drain()
                self._on_change()
            case "close":
                self._warned.close()
                await self._front_ends.close()
                await self._gateway.close()
                if self._stored is not None:
                    await self._stored.close(STORING_SECONDS)
                await self._recordings.close()
            case _:
                raise StreamGateError(Code.UNSUPPORTED, f"a front end does not know '{what}'")
        return None

    def hear(self, what: str, value: Any) -> None:
        if what == ENGINE_ENDED:
            pid, cause = value
            self._deaths.note(pid, Cause(cause))

    def _front(self, link: ModelLink) -> ModelLink:
        """What stands in front of each version, as `ServedModels` has it."""
        recorded = self._recordings.front(link)
        return recorded if self._stored is None else self._stored.front(recorded)

    def _warn(self, seconds_left: float) -> None:
        """The server stops, and ends all sequences."""
        self._gateway.warn(EndWarning(WarningCause.STOP, seconds_left))

    def _metrics(self) -> dict[str, Any]:
        counts = self._front_ends.resume_counts
        summed = families_of(DurabilityCollector(self._gateway.durability()).collect())
        if counts is not None:
            summed += families_of(ResumeCollector(lambda: counts).collect())
        if self._stored is not None:
            summed += families_of(StoreCollector(self._stored.figures()).collect())
        lags = self._front_ends.speech_lags()
        if lags:
            summed += families_of(SpeechCollector(lags).collect())
        tenants = self._front_ends.tenants()
        if tenants:
            summed += families_of(TenantCollector(tenants).collect())
        return {"summed": summed, "process": families_of(REGISTRY.collect())}

    async def _open(self, ports: Ports) -> None:
        """Raises StreamGateError when a port can't be had."""
        connecting = [asyncio.create_task(link.wait_connected()) for link in self._links]
        _, late = await asyncio.wait(connecting, timeout=CONNECT_SECONDS)
        for task in late:
            task.cancel()
        # The ports are shared: who comes through the first of them finds us accepting already.
        self._gateway.start()
        try:
            await self._front_ends.open(ports)
        except StreamGateError:
            await self._front_ends.close()
            raise
        self._is_open = True
        settle_memory()
        self._on_change()
