"""The whole house in one process: repository, engine, gateway and front ends on one event loop."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

import streamgate
from streamgate.backend import registry
from streamgate.engine.host import AsyncioHost
from streamgate.errors import Code, StreamGateError
from streamgate.frontends.kserve_grpc import GrpcFrontEnd
from streamgate.frontends.kserve_http import HttpFrontEnd
from streamgate.frontends.metrics import MetricsEndpoint
from streamgate.frontends.websocket import WebSocketFrontEnd
from streamgate.repository.repository import ModelRepository
from streamgate.server.gpus import look_for_gpus
from streamgate.server.lifecycle import Lifecycle
from streamgate.server.settings import Settings
from streamgate.session.gateway import ServerInfo
from streamgate.session.local import EXTENSIONS, LocalGateway
from streamgate.session.routing import ModelTable

log = logging.getLogger(__name__)


class FrontEnd(Protocol):
    """Something that listens on a port."""

    async def start(self, host: str, port: int) -> int: ...

    async def stop(self, grace_seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that are really bound."""

    http: int
    grpc: int
    metrics: int
    websocket: int


class Server:
    """A StreamGate server in this process. Start it once, on a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._table = ModelTable()
        self._lifecycle: Lifecycle | None = None
        self._gateway: LocalGateway | None = None
        self._front_ends: list[FrontEnd] = []
        self.ports: Ports | None = None

    async def start(self) -> Ports:
        """Load the models, open the ports.

        Raises StreamGateError when a model failed to load and `exit_on_error` is set, or when a
        port can't be bound; nothing is left running then.
        """
        settings = self._settings
        repository = await asyncio.to_thread(
            ModelRepository,
            settings.model_repositories,
            auto_complete=settings.auto_complete_config,
            gpu_count=len(look_for_gpus().gpus),
        )
        self._lifecycle = Lifecycle(
            repository,
            registry.find,
            self._table,
            AsyncioHost(asyncio.get_running_loop()),
            settings.control_mode,
            settings.exit_timeout_seconds,
        )
        info = ServerInfo(settings.server_id, streamgate.__version__, EXTENSIONS)
        self._gateway = LocalGateway(
            self._table, self._lifecycle, info, strict=settings.strict_readiness
        )
        failures = await self._lifecycle.start(settings.load_models)
        if failures and settings.exit_on_error:
            await self._lifecycle.stop(settings.exit_timeout_seconds)
            names = ", ".join(sorted(failures))
            raise StreamGateError(
                Code.INTERNAL,
                f"failed to load all models ({names}); --exit-on-error=false serves the others",
            )
        try:
            self.ports = await self._open_ports(self._gateway)
        except BaseException:
            await self.stop()
            raise
        self._gateway.start()
        return self.ports

    async def stop(self) -> None:
        """Refuse what is new, let what is under way end, close everything. Safe to call twice."""
        if self._gateway is None or self._lifecycle is None:
            return
        gateway, self._gateway = self._gateway, None
        gateway.stop_admission()
        timeout = self._settings.exit_timeout_seconds
        await self._lifecycle.stop(timeout)
        front_ends, self._front_ends = self._front_ends, []
        await asyncio.gather(*(front_end.stop(2.0) for front_end in front_ends))

    async def _open_ports(self, gateway: LocalGateway) -> Ports:
        settings = self._settings
        return Ports(
            http=await self._open(HttpFrontEnd(gateway), settings.http_port),
            grpc=await self._open(GrpcFrontEnd(gateway), settings.grpc_port),
            metrics=await self._open(MetricsEndpoint(gateway), settings.metrics_port),
            websocket=await self._open(WebSocketFrontEnd(gateway), settings.websocket_port),
        )

    async def _open(self, front_end: FrontEnd, port: int) -> int:
        bound = await front_end.start(self._settings.host, port)
        self._front_ends.append(front_end)
        return bound
