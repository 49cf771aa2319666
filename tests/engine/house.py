"""A gateway over one fake model on a real engine, without files, ports or clients."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from streamgate.backend.contract import LoadContext, ModelFiles
from streamgate.backend.fake import FakeBackend
from streamgate.backend.fake.hashing import Step, expected_answers
from streamgate.backend.fake.plan import Plan
from streamgate.engine.host import AsyncioHost
from streamgate.engine.instances import RestartPolicy
from streamgate.engine.runtime import DEFAULT_RESTARTS, ModelRuntime
from streamgate.errors import EndReason
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.tensor import Tensor
from streamgate.session.connection import OpenCall, SessionConnection
from streamgate.session.gateway import ServerInfo
from streamgate.session.local import LocalGateway
from streamgate.session.routing import READY, ModelTable, Route, VersionState

WAIT_SECONDS = 10.0
FILES = ModelFiles("fake", "1", Path(), Path(), Path())


class NoModels:
    """Nothing can be loaded here."""

    def names(self) -> list[str]:
        return []

    async def load(
        self, name: str, config: str | None, files: object, *, nested: bool = False
    ) -> None:
        raise AssertionError

    async def unload(self, name: str, *, unload_dependents: bool) -> None:
        raise AssertionError


@dataclass
class House:
    """One loaded model and the way to it."""

    gateway: LocalGateway
    runtime: ModelRuntime
    route: Route
    plan: Plan
    ended: list[tuple[SequenceKey, EndReason]] = field(default_factory=list)

    def connect(self) -> SessionConnection:
        return self.gateway.connect(lambda _, key, reason: self.ended.append((key, reason)))


@asynccontextmanager
async def open_house(
    config: ModelConfig,
    plan: Plan | None = None,
    restarts: RestartPolicy = DEFAULT_RESTARTS,
    backend: FakeBackend | None = None,
) -> AsyncIterator[House]:
    """Load the model on this loop; at the end close it, and check that nothing is left."""
    backend = backend or FakeBackend(plan)
    runtime = ModelRuntime(config, "1", AsyncioHost(asyncio.get_running_loop()), restarts)
    await runtime.load(
        lambda instance, on_lost: backend.load(
            LoadContext(config, FILES, instance, on_lost=on_lost)
        )
    )
    table = ModelTable()
    route = Route(runtime)
    table.set(config.name, 1, VersionState(READY, route=route))
    gateway = LocalGateway(table, NoModels(), ServerInfo("test", "0", ()))
    gateway.start()
    house = House(gateway, runtime, route, backend.plan)
    try:
        yield house
    finally:
        await runtime.close(WAIT_SECONDS)
        statistics = runtime.statistics()
        assert statistics.pending == 0
        if statistics.sequences is not None:
            assert statistics.sequences.active == 0
            assert statistics.sequences.backlog == 0
            # Those that never left the backlog ended without having started.
            assert statistics.sequences.started <= sum(statistics.sequences.ended.values())
        assert len(route.positions) == 0


@dataclass
class Client:
    """Drives one sequence and knows what must come out."""

    connection: SessionConnection
    key: SequenceKey
    model: str = "fake"
    history: list[Step] = field(default_factory=list)
    answers: list[asyncio.Future[Response]] = field(default_factory=list)
    calls: list[OpenCall] = field(default_factory=list)

    def send(self, payload: bytes, *, start: bool = False, end: bool = False) -> None:
        """Submit a step of INT16 samples; its final response comes to `answers`."""
        count = len(payload) // 2
        tensor = Tensor("INPUT", DataType.INT16, (1, count), raw=payload)
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def sink(response: Response) -> None:
            assert not future.done(), "two final responses"
            if response.final:
                future.set_result(response)

        request = Request(
            self.model, inputs=[tensor], sequence=self.key, start=start, end=end, id=str(count)
        )
        self.calls.append(self.connection.submit(request, sink))
        self.answers.append(future)
        self.history.append(Step([payload], start, end, self.key))

    async def collect(self) -> list[Response]:
        """All final responses so far, in order."""
        async with asyncio.timeout(WAIT_SECONDS):
            return [await answer for answer in self.answers]

    def expected(self) -> list[int]:
        """The hash after each step that was sent."""
        return expected_answers(self.history)


def hashes(responses: list[Response]) -> list[int]:
    """The HASH output of each response; fails the test on an error."""
    found = []
    for response in responses:
        assert response.failure is None, response.failure
        by_name = {tensor.name: tensor for tensor in response.outputs}
        found.append(int(by_name["HASH"].array.ravel()[0]))
    return found


def samples(*values: int) -> bytes:
    """INT16 samples as a client sends them."""
    return np.array(values, dtype="<i2").tobytes()
