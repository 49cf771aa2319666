"""All front ends of a server, over whatever gateway: opened together and closed together."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from streamgate.errors import StreamGateError
from streamgate.frontends.grpc_resumption import StreamReception
from streamgate.frontends.kserve_grpc import GrpcFrontEnd, GrpcOptions
from streamgate.frontends.kserve_http import HttpFrontEnd, HttpOptions
from streamgate.frontends.lean_http2 import LeanGrpcFrontEnd
from streamgate.frontends.metrics import MetricsEndpoint
from streamgate.frontends.sockets.contract import Dialect
from streamgate.frontends.sockets.http_mount import WebSocketMount
from streamgate.frontends.sockets.reception import Reception
from streamgate.frontends.sockets.relay import socket_path
from streamgate.frontends.sockets.relay_post import RelayPost
from streamgate.frontends.sockets.server import WebSocketServer
from streamgate.frontends.sockets.taped.gateway import WorldlyGateway
from streamgate.frontends.websocket import WebSocketFrontEnd
from streamgate.model.statistics import Histogram, TenantStatistics
from streamgate.observe.resumption import ResumeCounts, together
from streamgate.server.front_end import FrontEnd
from streamgate.server.ports import Ports
from streamgate.server.resuming import resumption_of, stream_resumption_of
from streamgate.server.settings import GrpcTransport, Settings
from streamgate.server.speech import Mounts, speech_mounts
from streamgate.session.gateway import Gateway
from streamgate.session.metered import MeteredGateway, Meters
from streamgate.session.tenants import Tenants
from streamgate.snapshot.contract import SessionStore

PARTING_SECONDS = 2.0
"""How long clients may take to say goodbye once every sequence has ended."""


class FrontEnds:
    """Those that the settings ask for. `shared`: other processes of this server open the same
    ports, `processes` in all, and each has its part of what tenants and models may have; `owner` is
    the name of this one among them, in tokens of sessions, and `directory` is where they find each
    other's sessions; in `store`, sessions outlive this process."""

    def __init__(
        self,
        gateway: Gateway,
        settings: Settings,
        *,
        shared: bool = False,
        processes: int = 1,
        owner: str = "server",
        directory: Path | None = None,
        store: SessionStore | None = None,
    ) -> None:
        self._tenants = Tenants(settings.tenants, processes)
        metered = MeteredGateway(gateway, Meters(self._tenants, processes))
        self._gateway: Gateway = metered if store is None else WorldlyGateway(metered)
        self._settings = settings
        self._shared = shared
        self._resumption = resumption_of(settings.resume, owner, directory, store)
        self._streams = StreamReception(stream_resumption_of(settings.resume))
        self._post_path = None if directory is None else socket_path(directory, owner)
        self._post: RelayPost | None = None
        self._open: list[FrontEnd] = []
        self._mounts: Mounts | None = None

    @property
    def resume_counts(self) -> ResumeCounts | None:
        """What became of sessions whose connection was lost; None where none is kept."""
        if self._resumption is None:
            return None
        return together(self._resumption.counts, self._streams.counts)

    async def open(
        self, ports: Ports, scrape: Callable[[], Awaitable[bytes]] | None = None
    ) -> Ports:
        """Open these ports; returns those that were really bound. `scrape` is what the port of
        metrics, if there is one, serves.

        Raises StreamGateError when one can't be bound; what was opened is to be closed then.
        """
        mounts = self._mounts = speech_mounts(
            self._gateway,
            self._settings.speech,
            self._streams,
            self._resumption,
            self._tenants.knows,
        )
        http = grpc = metrics = websocket = None
        if ports.http is not None:
            http = await self._start("http", self._http(mounts), ports.http)
        if ports.grpc is not None:
            grpc = await self._start("grpc", self._grpc(mounts), ports.grpc)
        if ports.metrics is not None:
            assert scrape is not None, "the port of metrics has something to serve"
            metrics = await self._start("metrics", MetricsEndpoint(scrape), ports.metrics)
        if ports.websocket is not None:
            front_end = WebSocketFrontEnd(
                self._gateway, dialects=mounts.sockets, resumption=self._resumption
            )
            websocket = await self._start("websocket", front_end, ports.websocket)
        dialects = {
            name: await self._start(name, mounts.own_ports[name], port)
            for name, port in ports.dialects.items()
        }
        await self._open_post(mounts)
        return Ports(http, grpc, metrics, websocket, dialects)

    def tenants(self) -> Sequence[TenantStatistics]:
        """What tenants have; nothing where the settings name none."""
        return self._tenants.statistics() if self._settings.tenants else ()

    def speech_lags(self) -> Mapping[str, Histogram]:
        """Seconds of audio that results were behind, by model."""
        return {} if self._mounts is None else self._mounts.context.models.lags.read()

    async def close(self) -> None:
        """Close all ports and their connections. Safe to call twice."""
        if self._resumption is not None:
            self._resumption.stop()
        front_ends, self._open = self._open, []
        post, self._post = self._post, None
        stops = [front_end.stop(PARTING_SECONDS) for front_end in front_ends]
        await asyncio.gather(*stops, *([] if post is None else [post.stop(PARTING_SECONDS)]))

    async def _open_post(self, mounts: Mounts) -> None:
        """Where other processes bring clients whose sessions are here."""
        if self._resumption is None or self._post_path is None:
            return
        dialects: dict[str, Dialect] = {each.name: each for each in mounts.sockets}
        for front_end in self._open:
            if isinstance(front_end, WebSocketServer | WebSocketFrontEnd):
                dialects |= {each.name: each for each in front_end.dialects}
        self._post = RelayPost(dialects, Reception(self._gateway.is_accepting, self._resumption))
        await self._post.start(self._post_path)

    def _http(self, mounts: Mounts) -> FrontEnd:
        options = HttpOptions(
            input_bytes_max=self._settings.http_input_bytes_max,
            forward_headers=self._settings.http_forward_headers,
        )
        sockets = WebSocketMount(
            mounts.sockets, self._gateway.is_accepting, resumption=self._resumption
        )
        return HttpFrontEnd(self._gateway, options, mounts.services, sockets)

    def _grpc(self, mounts: Mounts) -> FrontEnd:
        options = GrpcOptions(forward_headers=self._settings.grpc_forward_headers)
        is_lean = self._settings.grpc_transport is GrpcTransport.LEAN
        return (LeanGrpcFrontEnd if is_lean else GrpcFrontEnd)(
            self._gateway, options, services=mounts.grpc_services, reception=self._streams
        )

    async def _start(self, name: str, front_end: FrontEnd, port: int) -> int:
        try:
            bound = await front_end.start(self._settings.host, port, shared=self._shared)
        except StreamGateError as error:
            raise StreamGateError(
                error.code, f"{error.message} (change it with --{name}-port or --host)"
            ) from error
        self._open.append(front_end)
        return bound
