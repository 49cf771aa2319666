"""A repository of small Python models in a temporary folder, and a lifecycle that serves it."""

import asyncio
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from streamgate.backend import registry
from streamgate.engine.host import AsyncioHost
from streamgate.errors import EndReason, StreamGateError
from streamgate.link.contract import ModelLink
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.tensor import Tensor
from streamgate.repository.repository import ModelRepository
from streamgate.server.lifecycle import Lifecycle
from streamgate.server.settings import ControlMode
from streamgate.session.connection import SessionConnection
from streamgate.session.gateway import ServerInfo
from streamgate.session.local import LocalGateway
from streamgate.session.model_server import ModelServers
from streamgate.session.routing import ModelTable

WAIT_SECONDS = 20.0

CONFIG = """
backend: "python"
input { name: "IN" data_type: TYPE_INT32 dims: 1 }
output { name: "OUT" data_type: TYPE_INT32 dims: 1 }
instance_group { kind: KIND_CPU }
"""
SEQUENCES = CONFIG + (
    "sequence_batching { max_sequence_idle_microseconds: 60000000 oldest { } }\nmax_batch_size: 4\n"
)
MODEL = """
import numpy as np
import model_gates
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.name = args["model_name"]
        model_gates.enter(f"initialize {self.name} ANSWER")

    def execute(self, requests):
        model_gates.enter(f"execute {self.name} ANSWER")
        responses = []
        for request in requests:
            value = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            tensor = pb_utils.Tensor("OUT", value + np.int32(ANSWER))
            responses.append(pb_utils.InferenceResponse([tensor]))
        return responses

    def finalize(self):
        model_gates.enter(f"finalize {self.name} ANSWER")
"""
BROKEN = "raise ValueError('no such luck')\n"
FAILING = """
class TritonPythonModel:
    def initialize(self, args):
        raise ValueError('no such luck')

    def execute(self, requests):
        return []
"""


class Gates:
    """What models pass on their way: `passed` keeps them in order, and closed ones hold them up."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self._closed: dict[str, threading.Event] = {}
        self._entered: dict[str, threading.Event] = {}

    def close(self, name: str) -> None:
        self._closed[name] = threading.Event()
        self._entered[name] = threading.Event()

    def open(self, name: str) -> None:
        self._closed[name].set()

    def open_all(self) -> None:
        for gate in self._closed.values():
            gate.set()

    async def wait_entered(self, name: str) -> None:
        """Until a model stands at a closed gate."""
        assert await asyncio.to_thread(self._entered[name].wait, WAIT_SECONDS), name

    def is_entered(self, name: str, timeout_seconds: float) -> bool:
        """Whether a model stands at a closed gate within this time."""
        return self._entered[name].wait(timeout_seconds)

    def enter(self, name: str) -> None:
        """For models."""
        if (gate := self._closed.get(name)) is not None:
            self._entered[name].set()
            assert gate.wait(WAIT_SECONDS), name
        self.passed.append(name)

    def count(self, name: str) -> int:
        return self.passed.count(name)


@contextmanager
def gates_for_models(folder: Path) -> Iterator[Gates]:
    """Gates that models find as the module `model_gates`, those in processes of their own, too."""
    gates = Gates()
    module = ModuleType("model_gates")
    module.enter = gates.enter  # type: ignore[attr-defined]
    sys.modules["model_gates"] = module
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "gates"))
        listener.listen()
        (folder / "model_gates.py").write_text(FAR_GATES.format(repr(listener.getsockname())))
        sys.path.append(str(folder))
        accepting = threading.Thread(target=_accept, args=(listener, gates))
        accepting.start()
        try:
            yield gates
        finally:
            gates.open_all()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(WAIT_SECONDS)
            sys.path.remove(str(folder))
            del sys.modules["model_gates"]


FAR_GATES = """
import socket

def enter(name):
    with socket.socket(socket.AF_UNIX) as gate:
        gate.connect({})
        gate.sendall(name.encode())
        gate.shutdown(socket.SHUT_WR)
        assert gate.recv(2) == b"ok", name
"""


def _accept(listener: socket.socket, gates: Gates) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_enter, args=(connection, gates), daemon=True).start()


def _enter(connection: socket.socket, gates: Gates) -> None:
    with connection:
        name = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
        gates.enter(name)
        with suppress(OSError):  # who waited may be gone
            connection.sendall(b"ok")


@dataclass
class Models:
    """Model folders. Each write is news to the fingerprint, however quickly it follows another."""

    directory: Path
    _writes: int = 0

    def write(
        self, name: str, answer: int = 1, *, version: int = 1, config: str = CONFIG, code: str = ""
    ) -> Path:
        folder = self.directory / name
        self._put(folder / "config.pbtxt", config)
        self._put(folder / str(version) / "model.py", code or MODEL.replace("ANSWER", str(answer)))
        return folder

    def write_ensemble(self, name: str, config: str) -> None:
        """A model without files: its version folder is empty."""
        (self.directory / name / "1").mkdir(parents=True, exist_ok=True)
        self._put(self.directory / name / "config.pbtxt", config)

    def _put(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self._writes += 1
        moment = 1_700_000_000 + self._writes
        os.utime(path, (moment, moment))


@dataclass
class Answer:
    """One request's responses; the last is the final one."""

    future: asyncio.Future[Response]

    async def value(self) -> int:
        response = await self.response()
        assert response.failure is None, response.failure
        return int(response.outputs[0].array.ravel()[0])

    async def response(self) -> Response:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.future


@dataclass
class ModelHouse:
    """A lifecycle and the gateway in front of it."""

    lifecycle: Lifecycle
    gateway: LocalGateway
    table: ModelTable
    ended: list[tuple[str, SequenceKey, EndReason]] = field(default_factory=list)
    _connection: SessionConnection | None = None

    @property
    def connection(self) -> SessionConnection:
        if self._connection is None:
            self._connection = self.gateway.connect(lambda *end: self.ended.append(end))
        return self._connection

    def runtime(self, name: str) -> ModelLink:
        """The newest version of a model."""
        return self.table.route(name, "").link

    def ask(
        self,
        name: str = "m",
        value: int = 0,
        *,
        version: str = "",
        key: SequenceKey = 0,
        start: bool = False,
        end: bool = False,
    ) -> Answer:
        """Submit a request. Raises what the gateway says at once."""
        batches = self.gateway.model(name, version).config.batches
        shape = (1, 1) if batches else (1,)
        tensor = Tensor.of("IN", np.full(shape, value, np.int32), DataType.INT32)
        return self.ask_with(name, tensor, version=version, key=key, start=start, end=end)

    def ask_with(
        self,
        name: str,
        tensor: Tensor,
        *,
        version: str = "",
        key: SequenceKey = 0,
        start: bool = False,
        end: bool = False,
    ) -> Answer:
        """As `ask`, with an input of another kind."""
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

        def sink(response: Response) -> None:
            if response.final:
                future.set_result(response)

        self.connection.submit(
            Request(
                name,
                version,
                inputs=[tensor],
                sequence=key,
                start=start,
                end=end,
            ),
            sink,
        )
        return Answer(future)

    async def ask_many(self, name: str, value: int) -> list[Response]:
        """All responses to a request of a model that does not batch."""
        array = np.full((1,), value, np.int32)
        responses: list[Response] = []
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def sink(response: Response) -> None:
            responses.append(response)
            if response.final:
                over.set_result(None)

        tensor = Tensor.of("IN", array, DataType.INT32)
        self.connection.submit(Request(name, inputs=[tensor]), sink)
        async with asyncio.timeout(WAIT_SECONDS):
            await over
        return responses

    async def load(
        self, name: str = "m", config: str | None = None, files: dict[str, bytes] | None = None
    ) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            await self.gateway.load_model(name, config, files or {})

    async def unload(self, name: str = "m") -> None:
        await self.gateway.unload_model(name, unload_dependents=False)

    async def load_error(self, name: str = "m", *arguments: Any) -> StreamGateError:
        try:
            await self.load(name, *arguments)
        except StreamGateError as error:
            return error
        raise AssertionError(f"model {name} was loaded")

    async def states(self, name: str = "m") -> dict[str, str]:
        """Of the model's versions, with the reason where there is one."""
        entries = await self.gateway.repository_index(ready_only=False)
        return {
            entry.version: " ".join(filter(None, (entry.state, entry.reason)))
            for entry in entries
            if entry.name == name
        }

    async def until_state(self, state: str, name: str = "m", version: str = "1") -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while (await self.states(name))[version] != state:  # noqa: ASYNC110, has no event
                await asyncio.sleep(0.002)


@asynccontextmanager
async def model_house(
    directory: Path,
    mode: ControlMode = ControlMode.EXPLICIT,
    wanted: Sequence[str] = ("*",),
    *,
    drain_seconds: float = WAIT_SECONDS,
) -> AsyncIterator[ModelHouse]:
    """Load the wanted models, and at the end close everything."""
    table = ModelTable()
    host = AsyncioHost(asyncio.get_running_loop())
    servers = ModelServers(host, table)
    lifecycle = Lifecycle(
        ModelRepository([directory]), registry.find, table, host, mode, drain_seconds, servers
    )
    gateway = LocalGateway(table, lifecycle, ServerInfo("test", "0", ()))
    servers.attach(gateway)
    house = ModelHouse(lifecycle, gateway, table)
    failures = await lifecycle.start(wanted)
    gateway.start()
    try:
        yield house
    finally:
        await lifecycle.stop(0)
        del failures
