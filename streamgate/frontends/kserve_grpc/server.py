"""The gRPC front end: its address, its options, its start and its graceful stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar, final

import grpc
import grpc.aio

from streamgate._proto.descriptors import INFERENCE_SERVICE
from streamgate.errors import Code, StreamGateError
from streamgate.frontends.grpc_resumption import StreamReception, StreamResumption
from streamgate.frontends.grpc_service import GrpcService
from streamgate.frontends.header_forwarding import HeaderForwarding
from streamgate.frontends.kserve_grpc.access import (
    RestrictedKey,
    restricted_methods,
)
from streamgate.frontends.kserve_grpc.aio import Handler, InferHandlers, guarded, unary_handler
from streamgate.frontends.kserve_grpc.control import ControlMethods
from streamgate.frontends.kserve_grpc.health import HEALTH_SERVICE, Health, add_reflection
from streamgate.frontends.kserve_grpc.stream import StreamLimits
from streamgate.session.gateway import Gateway

MESSAGE_BYTES_MAX: Final = 2**31 - 1
PARTING_SECONDS: Final = 1.0
"""How long answers on their way out, and calls that never end (`Watch`), hold up a stop."""

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """How the front end listens and what it allows.

    `calls_max` bounds the RPCs under way, a stream being one; further ones are refused with
    RESOURCE_EXHAUSTED. A client that sends nothing is pinged every `keepalive_ms` and given up
    when it doesn't answer for `keepalive_timeout_ms`, so that a lost peer's sequences end. Clients
    may ping us every `client_ping_ms`. `restricted` maps categories of RPCs to the key that they
    need. `credentials` None listens without TLS. `resumption` says what clients are promised that
    want to resume streams.
    """

    credentials: grpc.ServerCredentials | None = None
    compression: grpc.Compression = grpc.Compression.NoCompression
    calls_max: int = 20_000
    keepalive_ms: int = 30_000
    keepalive_timeout_ms: int = 10_000
    client_ping_ms: int = 500
    stream_limits: StreamLimits = field(default_factory=StreamLimits)
    forward_headers: str = ""
    restricted: Mapping[str, RestrictedKey] = field(default_factory=dict)
    resumption: StreamResumption = field(default_factory=StreamResumption)

    def channel_arguments(self, *, shared: bool = False) -> list[tuple[str, int]]:
        """The options of grpc-core's server; `shared`: its port is others' too."""
        return [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            # Otherwise a second server on the port would silently take half of the connections.
            ("grpc.so_reuseport", int(shared)),
            ("grpc.keepalive_time_ms", self.keepalive_ms),
            ("grpc.keepalive_timeout_ms", self.keepalive_timeout_ms),
            # grpc-core gives up a silent peer by this one; its own default is a minute.
            ("grpc.http2.ping_timeout_ms", self.keepalive_timeout_ms),
            ("grpc.http2.min_ping_interval_without_data_ms", self.client_ping_ms),
            ("grpc.keepalive_permit_without_calls", 1),
        ]


@final
class GrpcFrontEnd:
    """Serves KServe v2 over gRPC from a gateway, and further services beside it.

    Started and stopped once, on its event loop.
    """

    def __init__(
        self,
        gateway: Gateway,
        options: GrpcOptions | None = None,
        services: Sequence[GrpcService] = (),
        reception: StreamReception | None = None,
    ) -> None:
        """`reception` lets clients resume streams, as the options say where there is none. Raises
        ConfigError for options that can't be."""
        self._gateway = gateway
        self._services = services
        self._options = options or GrpcOptions()
        self._reception = reception or StreamReception(self._options.resumption)
        self._forwarding = HeaderForwarding(self._options.forward_headers)
        self._restricted = restricted_methods(self._options.restricted)
        self._server: grpc.aio.Server | None = None
        self._infer: InferHandlers | None = None

    async def start(self, host: str, port: int, *, shared: bool = False) -> int:
        """Listen and serve; returns the bound port, which port 0 leaves to the system.

        Raises StreamGateError (UNAVAILABLE) that names the address when it can't be had.
        """
        assert self._server is None, "a front end starts once"
        server = grpc.aio.server(
            options=self._options.channel_arguments(shared=shared),
            compression=self._options.compression,
            maximum_concurrent_rpcs=self._options.calls_max,
        )
        self._infer = InferHandlers(
            self._gateway,
            self._options.stream_limits,
            self._forwarding,
            self._reception,
        )
        server.add_generic_rpc_handlers(self._handlers(self._infer))
        add_reflection(server, [service.name for service in self._services])
        bound = self._bind(server, host, port)
        await server.start()
        self._server = server
        return bound

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, let those under way finish, and cut them off after the grace time.

        Open streams may finish what is in flight and the sequences that they have begun.
        """
        if self._server is None or self._infer is None:
            return
        self._infer.drain()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._infer.wait_idle()
            await self._server.stop(min(PARTING_SECONDS, grace_seconds))
        except TimeoutError:
            await self._server.stop(0)
        self._server = None

    def _handlers(self, infer: InferHandlers) -> tuple[grpc.GenericRpcHandler, ...]:
        control = ControlMethods(self._gateway, lambda: infer.is_draining)
        health = Health(control.is_ready)
        unary = {name: unary_handler(method) for name, method in control.methods().items()}
        unary["ModelInfer"] = infer.infer
        inference = {name: self._unary(name, handler) for name, handler in unary.items()}
        inference["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._guarded("ModelStreamInfer", infer.stream)
        )
        return (
            grpc.method_handlers_generic_handler(INFERENCE_SERVICE, inference),
            grpc.method_handlers_generic_handler(
                HEALTH_SERVICE,
                {
                    "Check": self._unary("Check", health.check),
                    "Watch": grpc.unary_stream_rpc_method_handler(
                        self._guarded("Watch", health.watch)
                    ),
                },
            ),
            *(
                grpc.method_handlers_generic_handler(
                    service.name,
                    {
                        name: grpc.stream_stream_rpc_method_handler(infer.of_service(open_call))
                        for name, open_call in service.methods.items()
                    },
                )
                for service in self._services
            ),
        )

    def _unary(self, name: str, handler: Handler[bytes]) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._guarded(name, handler))

    def _guarded(self, name: str, handler: Handler[ResultT]) -> Handler[ResultT]:
        key = self._restricted.get(name)
        return handler if key is None else guarded(handler, key)

    def _bind(self, server: grpc.aio.Server, host: str, port: int) -> int:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = self._options.credentials
        try:
            if credentials is None:
                bound: int = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, credentials)
        except RuntimeError:
            bound = 0
        if not bound:
            raise StreamGateError(
                Code.UNAVAILABLE,
                f"the gRPC front end can't listen on {address}: {_why_not(host, port)}",
            )
        return bound


def _why_not(host: str, port: int) -> str:
    """What the system says about this address; grpc-core keeps it to itself."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return "the address could not be bound"
