"""The lean gRPC front end: its address, its start and its graceful stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Final, final

import grpc

from streamgate.errors import Code, ConfigError, StreamGateError
from streamgate.frontends.grpc_resumption import StreamReception
from streamgate.frontends.grpc_service import GrpcService
from streamgate.frontends.kserve_grpc.server import PARTING_SECONDS, GrpcOptions
from streamgate.frontends.lean_http2.calls import Calls
from streamgate.frontends.lean_http2.limits import Http2Limits
from streamgate.frontends.lean_http2.protocol import Http2Protocol
from streamgate.session.gateway import Gateway

_BACKLOG: Final = 1024


@final
class LeanGrpcFrontEnd:
    """Serves KServe v2 over gRPC as `GrpcFrontEnd` does, on our own HTTP/2 without TLS.

    Of `GrpcOptions` it knows neither credentials nor compression, and `client_ping_ms` is replaced
    by a budget. Started and stopped once, on its event loop.
    """

    def __init__(
        self,
        gateway: Gateway,
        options: GrpcOptions | None = None,
        limits: Http2Limits | None = None,
        services: Sequence[GrpcService] = (),
        reception: StreamReception | None = None,
    ) -> None:
        """`reception` lets clients resume streams, as the options say where there is none. Raises
        ConfigError for options that can't be."""
        self._options = options or GrpcOptions()
        if self._options.credentials is not None:
            raise ConfigError("the lean gRPC transport has no TLS; grpcio has")
        if self._options.compression is not grpc.Compression.NoCompression:
            raise ConfigError("the lean gRPC transport doesn't compress responses; grpcio does")
        self._limits = limits or Http2Limits()
        reception = reception or StreamReception(self._options.resumption)
        self._calls = Calls(gateway, self._options, services, reception)
        self._server: asyncio.Server | None = None
        self._peers: set[Http2Protocol] = set()
        self._gone = asyncio.Event()

    async def start(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen and serve; returns the bound port, which port 0 leaves to the system.

        Raises StreamGateError (UNAVAILABLE) that names the address when it can't be had.
        """
        assert self._server is None, "a front end starts once"
        listener = _listener(host, port, shared)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._greet, sock=listener, backlog=_BACKLOG)
        bound: int = listener.getsockname()[1]
        return bound

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let those under way finish, and cut them off after the grace time.

        Open streams may finish what is in flight and the sequences that they have begun.
        """
        server, self._server = self._server, None
        if server is None:
            return
        self._calls.drain()
        parting_seconds = min(PARTING_SECONDS, grace_seconds)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._calls.wait_idle()
        except TimeoutError:
            parting_seconds = 0.0
        server.close()
        for peer in tuple(self._peers):
            peer.leave()
        try:
            async with asyncio.timeout(parting_seconds):
                await self._wait_gone()
        except TimeoutError:
            for peer in tuple(self._peers):
                peer.abort()
            await self._wait_gone()

    def _greet(self) -> Http2Protocol:
        options = self._options
        keepalive = (options.keepalive_ms / 1000, options.keepalive_timeout_ms / 1000)
        peer = Http2Protocol(self._limits, self._calls.open, keepalive, self._lost)
        self._peers.add(peer)
        return peer

    def _lost(self, peer: Http2Protocol) -> None:
        self._peers.discard(peer)
        if not self._peers:
            self._gone.set()

    async def _wait_gone(self) -> None:
        while self._peers:
            self._gone.clear()
            await self._gone.wait()


def _listener(host: str, port: int, shared: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise StreamGateError(
            Code.UNAVAILABLE,
            f"the gRPC front end can't listen on {address}: {error.strerror or error}",
        ) from None
    return listener
