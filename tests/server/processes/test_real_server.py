"""`streamgate serve` with processes: what clients notice of them, and that nothing is left."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamgate.errors import StreamGateError
from streamgate.server.processes.control import ask_server
from streamgate.server.processes.runtime_directory import CONTROL
from tests.frontends.websocket_client import connected
from tests.system.server_process import (
    ROOT,
    ServerProcess,
    serving,
    started,
    write_fake_model,
    write_python_model,
)
from tests.waiting import until_so

WAIT_SECONDS = 30.0
KINDS = ("engine", "front")

IN_A_PROCESS = """
name: "worker"
backend: "python"
input { name: "INPUT" data_type: TYPE_INT16 dims: 1 }
output { name: "OUTPUT" data_type: TYPE_INT16 dims: 1 }
parameters { key: "streamgate.execution" value { string_value: "process" } }
"""

NOTHING = """
class TritonPythonModel:
    def execute(self, requests):
        return []
"""

WHERE = """
import os, sys

class TritonPythonModel:
    def initialize(self, args):
        print("it sees", os.environ["CUDA_VISIBLE_DEVICES"], file=sys.stderr)

    def execute(self, requests):
        return []
"""

BROKEN = "raise ValueError('no such luck')\n"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    directory.mkdir()
    write_fake_model(directory)
    return directory


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime directory. pytest's own have too long names."""
    with TemporaryDirectory(prefix="sg-") as name:
        yield Path(name)


@dataclass
class Running:
    """A server with a client, and its control socket."""

    server: ServerProcess
    runtime: Path
    session: aiohttp.ClientSession
    calls: int = field(default=0)

    async def ask(self, what: str, value: Any = None) -> Any:
        return await asyncio.to_thread(
            ask_server, self.runtime / CONTROL, what, value, seconds=WAIT_SECONDS
        )

    async def process(self, name: str) -> dict[str, Any]:
        processes = (await self.ask("status"))["processes"]
        (found,) = (each for each in processes if each["name"] == name)
        return dict(found)

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill((await self.process(name))["pid"], number)

    async def is_back(self, name: str, restarts: int) -> bool:
        process = await self.process(name)
        return bool(process["is_accepting"]) and process["restarts"] == restarts

    async def status_of(self, path: str, **body: Any) -> int:
        """Over a connection of its own: whichever front end gets it."""
        url = f"http://{self.server.addresses['http']}{path}"
        method = "POST" if body else "GET"
        headers = {"Connection": "close"}
        async with self.session.request(method, url, json=body or None, headers=headers) as answer:
            return answer.status

    async def step(self, key: int, *, start: bool = False, end: bool = False) -> int:
        flags = {"sequence_id": key, "sequence_start": start, "sequence_end": end}
        tensor = {"name": "INPUT", "datatype": "INT16", "shape": [1, 1], "data": [[1]]}
        return await self.status_of("/v2/models/fake/infer", inputs=[tensor], parameters=flags)

    async def is_grpc_ready(self) -> bool:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.server.addresses["grpc"], options) as channel:
            ready = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
            return bool(await ready(b"") == b"\x08\x01")

    async def metrics(self) -> dict[tuple[str, str], float]:
        """Values by name and process, or model."""
        url = f"http://{self.server.addresses['metrics']}/metrics"
        async with self.session.get(url) as answer:
            text = await answer.text()
        families = text_string_to_metric_families(text)
        samples = [sample for family in families for sample in family.samples]
        whose = [each.labels.get("process", each.labels.get("model", "")) for each in samples]
        return {(each.name, whom): each.value for each, whom in zip(samples, whose, strict=True)}


@asynccontextmanager
async def running(models: Path, runtime: Path, *flags: str) -> AsyncIterator[Running]:
    """One that is ready. At its end, no process of it is left."""
    async with (
        serving(models, "--runtime-directory", str(runtime), *flags) as server,
        aiohttp.ClientSession() as session,
    ):
        everybody = everybody_of(server)
        yield Running(server, runtime, session)
        everybody += everybody_of(server)
        if server.process.returncode is None:
            server.terminate()
        assert await server.exit_status() == 0
        assert left_of(everybody) == []
        assert names_in(runtime) == []


def everybody_of(server: ServerProcess) -> list[psutil.Process]:
    """The supervisor and all that descend from it."""
    try:
        supervisor = psutil.Process(server.process.pid)
    except psutil.NoSuchProcess:
        return []
    return [supervisor, *supervisor.children(recursive=True)]


def left_of(everybody: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(everybody, timeout=WAIT_SECONDS)
    return list(alive)


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def test_whatever_is_lost_comes_back_and_clients_find_the_same_server(
    models: Path, runtime: Path
) -> None:
    flags = ("--front-ends", "2", "--model-control-mode", "explicit", "--freeze-limit-secs", "2")
    async with running(models, runtime, *flags) as run:
        assert await run.status_of("/v2/repository/models/fake/load", x=0) == 200
        for _ in range(8):
            assert await run.step(7, start=True, end=True) == 200
        assert await run.is_grpc_ready()
        async with connected(f"ws://{run.server.addresses['websocket']}/v1/sequence") as client:
            await client.open("fake")
            await client.frame(b"\1\0")
            assert (await client.hear())["type"] == "response"
        before = await run.ask("status")
        assert before["state"] == "accepting"
        assert before["addresses"] == run.server.addresses
        # A front end: the other serves on.
        await run.kill("front-0")
        await until_so(lambda: run.is_back("front-0", 1))
        for _ in range(8):
            assert await run.status_of("/v2/health/ready") == 200
        # The engine: front ends stay, and are not ready until it is back, with the model that a
        # client had loaded.
        assert await run.step(7, start=True) == 200
        await until_so(lambda: has_sequences(run, 1))
        await run.kill("engine-0")
        assert await run.status_of("/v2/health/live") == 200
        await until_so(lambda: run.is_back("engine-0", 1))
        await until_so(lambda: is_ok(run.status_of("/v2/models/fake/ready")))
        await until_so(lambda: is_ok(run.step(8, start=True, end=True)))
        await until_so(lambda: is_ok(run.step(7, end=True)))
        # And one that is frozen, not dead.
        await run.kill("engine-0", signal.SIGSTOP)
        await until_so(lambda: run.is_back("engine-0", 2))
        assert "it was frozen" in (await run.process("engine-0"))["last_reason"]
        await until_so(lambda: is_ok(run.step(9, start=True, end=True)))
        metrics = await run.metrics()
        assert metrics["streamgate_process_restarts_total", "engine-0"] == 2
        assert metrics["streamgate_process_restarts_total", "front-1"] == 0
        assert metrics["streamgate_process_up", "front-0"] == 1
        assert metrics["streamgate_sequences_recovered_total", "fake"] >= 1
        assert metrics["streamgate_recovery_seconds_count", "fake"] >= 1
        assert metrics["process_resident_memory_bytes", "front-1"] > 2**20
        assert metrics["streamgate_sequence_slots", "fake"] == 4
        assert any(line.startswith("engine-0   | ") for line in run.server.errors)


async def has_sequences(run: Running, count: int) -> bool:
    """Both in the engine and in whichever front end they go through."""
    processes = (await run.ask("status"))["processes"]
    found = [sum(each["sequences"] for each in processes if each["kind"] == kind) for kind in KINDS]
    return found == [count, count]


async def is_ok(status: Awaitable[int]) -> bool:
    return await status == 200


async def test_a_server_that_drains_is_live_and_not_ready(models: Path, runtime: Path) -> None:
    async with running(models, runtime, "--engines", "2") as run:
        assert (await run.metrics())["streamgate_sequence_slots", "fake"] == 8
        outcome = await run.ask("drain", {"name": "engine-1", "seconds": 5.0})
        assert outcome == {"left": 0, "pid": (await run.process("engine-1"))["pid"]}
        assert (await run.process("engine-1"))["last_reason"] == "it was drained"
        with pytest.raises(StreamGateError, match="expected one of: engine-0, engine-1"):
            await run.ask("drain", {"name": "engine-2", "seconds": 5.0})
        assert await run.step(7, start=True) == 200
        draining = asyncio.ensure_future(run.ask("drain", {"name": "", "seconds": WAIT_SECONDS}))
        await until_so(lambda: is_not(run.status_of("/v2/health/ready")))
        assert await run.status_of("/v2/health/live") == 200
        assert await run.step(8, start=True) != 200
        assert await run.step(7) == 200
        assert not draining.done()
        assert await run.step(7, end=True) == 200
        assert await draining == {"left": 0}
        assert (await run.ask("status"))["state"] == "draining"


async def is_not(status: Awaitable[int]) -> bool:
    return await status != 200


async def test_nothing_outlives_a_supervisor_that_is_killed(models: Path, runtime: Path) -> None:
    write_python_model(models, "worker", NOTHING)
    (models / "worker" / "config.pbtxt").write_text(IN_A_PROCESS)
    async with serving(models, "--runtime-directory", str(runtime)) as server:
        everybody = everybody_of(server)
        assert len(everybody) == 4, "a supervisor, an engine, its worker and a front end"
        everybody[0].kill()
        await server.process.wait()
        assert left_of(everybody) == []


async def test_models_that_fail_end_the_start(models: Path, runtime: Path) -> None:
    write_python_model(models, "broken", BROKEN)
    async with started(models, "--runtime-directory", str(runtime)) as server:
        everybody = everybody_of(server)
        assert await server.exit_status() == 1
        assert left_of(everybody) == []
    assert server.errors[-1] == (
        "streamgate: failed to load all models (broken); --exit-on-error=false serves the others"
    )
    assert [line for line in server.errors if "no such luck" in line]


def test_the_commands(models: Path, runtime: Path, tmp_path: Path) -> None:
    """`status` and `drain` as a user types them, while no server runs."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}",
        "XDG_RUNTIME_DIR": str(runtime),
        "TMPDIR": str(tmp_path),
    }
    for command in (["status"], ["status", "--json"], ["drain", "engine-0"]):
        done = subprocess.run(
            [sys.executable, "-m", "streamgate", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("streamgate: no server of this user runs here: none in ")


async def test_an_engine_keeps_to_its_part_of_the_machine(models: Path, runtime: Path) -> None:
    write_python_model(models, "where", WHERE)
    cpu = min(os.sched_getaffinity(0))
    flags = ("--engine-gpus", "MIG-a", "--engine-cpus", str(cpu))
    async with running(models, runtime, *flags) as run:
        engine = psutil.Process((await run.process("engine-0"))["pid"])
        assert {tuple(os.sched_getaffinity(each.id)) for each in engine.threads()} == {(cpu,)}
        await run.server.read_error("it sees MIG-a")
