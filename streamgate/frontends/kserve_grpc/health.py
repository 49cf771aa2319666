"""The two services beside the inference service: gRPC's health protocol, and reflection.

Health answers from the server's readiness at the time of the call, so that it can never lag
behind; the service that a caller names is ignored, as in Triton. `Watch` looks once a period.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Final, final

import grpc
import grpc.aio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from streamgate._proto.descriptors import INFERENCE_SERVICE, canonical_pool

HEALTH_SERVICE: Final = "grpc.health.v1.Health"
WATCH_PERIOD_SECONDS: Final = 1.0


@final
class Health:
    """`Check` and `Watch` of grpc.health.v1, over one question."""

    def __init__(self, is_serving: Callable[[], bool]) -> None:
        self._is_serving = is_serving

    async def check(self, _data: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        """SERVING or NOT_SERVING, for any service."""
        return self._answer(serving=self._is_serving())

    async def watch(self, _data: bytes, context: grpc.aio.ServicerContext) -> None:
        """The state now and each other state later, until the caller leaves."""
        told: bool | None = None
        while True:
            serving = self._is_serving()
            if serving is not told:
                told = serving
                await context.write(self._answer(serving=serving))
            await asyncio.sleep(WATCH_PERIOD_SECONDS)

    @staticmethod
    def _answer(*, serving: bool) -> bytes:
        status = health_pb2.HealthCheckResponse
        answer = status(status=status.SERVING if serving else status.NOT_SERVING)
        data: bytes = answer.SerializeToString()
        return data


def add_reflection(server: grpc.aio.Server, others: Iterable[str] = ()) -> None:
    """Describe the services under their public names, from a pool that is ours alone."""
    names = (INFERENCE_SERVICE, HEALTH_SERVICE, *others, reflection.SERVICE_NAME)
    files = [_file_of(health_pb2), _file_of(reflection_pb2)]
    reflection.enable_server_reflection(names, server, pool=canonical_pool(files))


def _file_of(module: ModuleType) -> FileDescriptorProto:
    file = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file
