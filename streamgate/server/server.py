"""The whole house in one process: repository, engine, gateway and front ends on one event loop."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import streamgate
from streamgate.backend import registry
from streamgate.engine.host import AsyncioHost
from streamgate.errors import Code, StreamGateError
from streamgate.frontends.kserve_grpc import GrpcFrontEnd, GrpcOptions
from streamgate.frontends.kserve_http import HttpFrontEnd, HttpOptions
from streamgate.frontends.lean_http2 import LeanGrpcFrontEnd
from streamgate.frontends.metrics import MetricsEndpoint
from streamgate.frontends.sockets.http_mount import WebSocketMount
from streamgate.frontends.websocket import WebSocketFrontEnd
from streamgate.link.contract import ModelLink
from streamgate.recording.writer import BundleWriter
from streamgate.repository.repository import ModelRepository
from streamgate.server.backend_folders import BackendFolders
from streamgate.server.front_end import FrontEnd
from streamgate.server.gpus import look_for_gpus
from streamgate.server.lifecycle import Lifecycle
from streamgate.server.settings import GrpcTransport, Settings
from streamgate.server.speech import speech_mounts
from streamgate.session.gateway import ServerInfo
from streamgate.session.local import EXTENSIONS, LocalGateway
from streamgate.session.model_server import ModelServers
from streamgate.session.recorded import Recorder
from streamgate.session.routing import ModelTable

log = logging.getLogger(__name__)


PARTING_SECONDS = 2.0
"""How long clients may take to say goodbye once every sequence has ended."""


WRITING_SECONDS = 10.0
"""How long the disk may take over what was recorded last."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports that are really bound; None for a front end that was not asked for. `dialects` are
    those of the speech dialects that have one of their own."""

    http: int | None
    grpc: int | None
    metrics: int | None
    websocket: int | None
    dialects: Mapping[str, int] = field(default_factory=dict)


class Server:
    """A StreamGate server in this process. Start it once, on a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._table = ModelTable()
        self._lifecycle: Lifecycle | None = None
        self._gateway: LocalGateway | None = None
        self._front_ends: list[FrontEnd] = []
        self._writer: BundleWriter | None = None
        self.ports: Ports | None = None

    async def start(self) -> Ports:
        """Load the models, open the ports.

        Raises StreamGateError when a model failed to load and `exit_on_error` is set, or when a
        port can't be bound; nothing is left running then.
        """
        try:
            gateway = await self._load_models()
            self.ports = await self._open_ports(gateway)
        except BaseException:
            await self.stop()
            raise
        gateway.start()
        return self.ports

    async def stop(self) -> None:
        """Refuse what is new, let what is under way end, close everything. Safe to call twice."""
        if self._gateway is None or self._lifecycle is None:
            return
        gateway, self._gateway = self._gateway, None
        gateway.stop_admission()
        await self._lifecycle.stop(self._settings.exit_timeout_seconds)
        front_ends, self._front_ends = self._front_ends, []
        await asyncio.gather(*(front_end.stop(PARTING_SECONDS) for front_end in front_ends))
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.to_thread(writer.close, WRITING_SECONDS)

    @property
    def gateway(self) -> LocalGateway:
        """What front ends see, while the server runs."""
        assert self._gateway is not None, "the server does not run"
        return self._gateway

    async def _load_models(self) -> LocalGateway:
        settings = self._settings
        sight = look_for_gpus()
        log.info("%d GPUs%s", len(sight.gpus), f": {sight.trouble}" if sight.trouble else "")
        find_backend = BackendFolders(
            settings.backend_directory, registry.names, registry.find
        ).find
        repository = await asyncio.to_thread(
            ModelRepository,
            settings.model_repositories,
            auto_complete=settings.auto_complete_config,
            config_name=settings.model_config_name,
            gpu_count=len(sight.gpus),
            find_backend=find_backend,
        )
        host = AsyncioHost(asyncio.get_running_loop())
        servers = ModelServers(host, self._table)
        self._lifecycle = Lifecycle(
            repository,
            find_backend,
            self._table,
            host,
            settings.control_mode,
            settings.exit_timeout_seconds,
            servers,
            await self._recording_front(),
        )
        info = ServerInfo(settings.server_id, streamgate.__version__, EXTENSIONS)
        self._gateway = gateway = LocalGateway(
            self._table, self._lifecycle, info, strict=settings.strict_readiness
        )
        servers.attach(gateway)
        failures = await self._lifecycle.start(settings.load_models)
        if failures and settings.exit_on_error:
            names = ", ".join(sorted(failures))
            raise StreamGateError(
                Code.INTERNAL,
                f"failed to load all models ({names}); --exit-on-error=false serves the others",
            )
        return gateway

    async def _recording_front(self) -> Callable[[ModelLink], ModelLink] | None:
        options = self._settings.recording
        if options is None:
            return None
        self._writer = writer = await asyncio.to_thread(BundleWriter, options)
        log.warning("sequences are recorded: what clients send is stored in %s", options.directory)
        return Recorder(options, writer, streamgate.__version__, self._table.route).front

    async def _open_ports(self, gateway: LocalGateway) -> Ports:
        settings = self._settings
        http = grpc = metrics = websocket = None
        mounts = speech_mounts(gateway, settings.speech)
        if settings.allow_http:
            http_options = HttpOptions(
                input_bytes_max=settings.http_input_bytes_max,
                forward_headers=settings.http_forward_headers,
            )
            sockets = WebSocketMount(mounts.sockets, gateway.is_live)
            http_front_end = HttpFrontEnd(gateway, http_options, mounts.services, sockets)
            http = await self._open("http", http_front_end, settings.http_port)
        if settings.allow_grpc:
            is_lean = settings.grpc_transport is GrpcTransport.LEAN
            grpc_options = GrpcOptions(forward_headers=settings.grpc_forward_headers)
            grpc_front_end = (LeanGrpcFrontEnd if is_lean else GrpcFrontEnd)(
                gateway, grpc_options, services=mounts.grpc_services
            )
            grpc = await self._open("grpc", grpc_front_end, settings.grpc_port)
        if settings.allow_metrics:
            metrics = await self._open("metrics", MetricsEndpoint(gateway), settings.metrics_port)
        if settings.allow_websocket:
            front_end = WebSocketFrontEnd(gateway, dialects=mounts.sockets)
            websocket = await self._open("websocket", front_end, settings.websocket_port)
        dialects = {}
        for name, (port, own) in mounts.own_ports.items():
            dialects[name] = await self._open(name, own, port)
        return Ports(http, grpc, metrics, websocket, dialects)

    async def _open(self, name: str, front_end: FrontEnd, port: int) -> int:
        try:
            bound = await front_end.start(self._settings.host, port)
        except StreamGateError as error:
            raise StreamGateError(
                error.code, f"{error.message} (change it with --{name}-port or --host)"
            ) from error
        self._front_ends.append(front_end)
        return bound
