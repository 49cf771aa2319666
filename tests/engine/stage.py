"""One model of a real backend on a real engine, driven sequence by sequence."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from streamgate.backend.contract import Backend, LoadContext, ModelFiles
from streamgate.engine.host import AsyncioHost
from streamgate.engine.runtime import ModelRuntime
from streamgate.errors import EndReason
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType, from_numpy
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.tensor import Array, Tensor
from streamgate.session.connection import SessionConnection
from streamgate.session.gateway import ServerInfo
from streamgate.session.local import LocalGateway
from streamgate.session.routing import READY, ModelTable, Route, VersionState
from tests.engine.house import WAIT_SECONDS, NoModels

Answer = asyncio.Future[Response]


@dataclass
class Stage:
    """One loaded model, and one connection to it."""

    config: ModelConfig
    gateway: LocalGateway
    runtime: ModelRuntime
    ended: list[tuple[SequenceKey, EndReason]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._has_ended = asyncio.Event()
        self.connection = self.connect()

    def connect(self) -> SessionConnection:
        return self.gateway.connect(self._note_end)

    def _note_end(self, _model: str, key: SequenceKey, reason: EndReason) -> None:
        self.ended.append((key, reason))
        self._has_ended.set()

    async def first_end(self) -> tuple[SequenceKey, EndReason]:
        """The first sequence that a connection was told has ended."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._has_ended.wait()
        return self.ended[0]

    def send(
        self,
        key: SequenceKey,
        inputs: Mapping[str, Array],
        *,
        start: bool = False,
        end: bool = False,
        connection: SessionConnection | None = None,
    ) -> Answer:
        """Submit a step, its tensors without batch dimension; its final response is to come."""
        answer: Answer = asyncio.get_running_loop().create_future()

        def sink(response: Response) -> None:
            if response.final:
                answer.set_result(response)

        tensors = [self._tensor(name, array) for name, array in inputs.items()]
        request = Request(self.config.name, inputs=tensors, sequence=key, start=start, end=end)
        (connection or self.connection).submit(request, sink)
        return answer

    async def step(
        self,
        key: SequenceKey,
        inputs: Mapping[str, Array],
        *,
        start: bool = False,
        end: bool = False,
    ) -> dict[str, Array]:
        """Run a step alone; its outputs without batch dimension."""
        return self.outputs(await self.answered(self.send(key, inputs, start=start, end=end)))

    async def answered(self, answer: Answer) -> Response:
        async with asyncio.timeout(WAIT_SECONDS):
            return await answer

    def outputs(self, response: Response) -> dict[str, Array]:
        """What a response holds; fails the test on an error."""
        assert response.failure is None, response.failure
        arrays = {tensor.name: tensor.array for tensor in response.outputs}
        return {name: array[0] for name, array in arrays.items()} if self.config.batches else arrays

    def _tensor(self, name: str, array: Array) -> Tensor:
        datatypes = {spec.name: spec.datatype for spec in self.config.inputs}
        datatype = datatypes.get(name) or from_numpy(array.dtype) or DataType.FP32
        full = array[np.newaxis] if self.config.batches else array
        raw = bytes(Tensor(name, datatype, full.shape, array=np.ascontiguousarray(full)).raw)
        return Tensor(name, datatype, full.shape, raw=raw)


@asynccontextmanager
async def open_stage(
    backend: Backend, config: ModelConfig, files: ModelFiles
) -> AsyncIterator[Stage]:
    """Load the model on this loop; at the end close it, and check that nothing is left."""
    runtime = ModelRuntime(config, "1", AsyncioHost(asyncio.get_running_loop()))
    await runtime.load(
        lambda instance, on_lost: backend.load(
            LoadContext(config, files, instance, on_lost=on_lost)
        )
    )
    table = ModelTable()
    route = Route(runtime)
    table.set(config.name, 1, VersionState(READY, route=route))
    gateway = LocalGateway(table, NoModels(), ServerInfo("test", "0", ()))
    gateway.start()
    try:
        yield Stage(config, gateway, runtime)
    finally:
        await runtime.close(WAIT_SECONDS)
        statistics = runtime.statistics()
        assert statistics.pending == 0
        assert statistics.sequences is not None
        assert statistics.sequences.active == 0
