"""The HTTP front end: its address, its options, its start and its graceful stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from aiohttp import web

from streamgate.frontends.header_forwarding import HeaderForwarding
from streamgate.frontends.http_service import HttpService
from streamgate.frontends.kserve_http.access import (
    RestrictedKey,
    restricted_endpoints,
)
from streamgate.frontends.kserve_http.aio import Handlers
from streamgate.frontends.listening import listen_tcp
from streamgate.frontends.sockets.http_mount import WebSocketMount
from streamgate.session.gateway import Gateway

GRACE_SECONDS_MIN: Final = 0.01


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What the front end allows.

    `input_bytes_max` bounds a request's body, also when it is decompressed. Headers whose whole
    name matches `forward_headers` become parameters of infer requests. `restricted` maps
    categories of end points to the key that they need.
    """

    input_bytes_max: int = 64 * 1024 * 1024
    forward_headers: str = ""
    restricted: Mapping[str, RestrictedKey] = field(default_factory=dict)


@final
class HttpFrontEnd:
    """Serves KServe v2 over HTTP from a gateway, and what else is mounted on its port: further
    services, and WebSocket dialects. Started and stopped once, on its event loop."""

    def __init__(
        self,
        gateway: Gateway,
        options: HttpOptions | None = None,
        services: Sequence[HttpService] = (),
        sockets: WebSocketMount | None = None,
    ) -> None:
        """Raises ConfigError for options that can't be."""
        options = options or HttpOptions()
        self._sockets = sockets
        self._handlers = Handlers(
            gateway,
            options.input_bytes_max,
            HeaderForwarding(options.forward_headers),
            restricted_endpoints(options.restricted),
            services,
            sockets,
        )
        self._connections: web.Server | None = None
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen and serve; returns the bound port, which port 0 leaves to the system.

        Raises StreamGateError (UNAVAILABLE) that names the address when it can't be had.
        """
        listener = listen_tcp(host, port, "HTTP", shared=shared)
        self._connections = web.Server(
            self._handlers,
            # A client that has gone does not want its answer: its handler is cancelled.
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
        )
        self._listening = await asyncio.get_running_loop().create_server(
            self._connections, sock=listener
        )
        bound: int = listener.getsockname()[1]
        return bound

    async def stop(self, grace_seconds: float) -> None:
        """Accept nothing more; let the requests under way end, cancel those that take longer."""
        self._handlers.is_draining = True
        if self._listening is None or self._connections is None:
            return
        listening, self._listening = self._listening, None
        listening.close()
        if self._sockets is not None:
            self._sockets.stop()
        self._connections.pre_shutdown()
        # aiohttp waits twice so long: for the handler, and for its connection. 0 means for ever.
        await self._connections.shutdown(max(grace_seconds / 2, GRACE_SECONDS_MIN))
