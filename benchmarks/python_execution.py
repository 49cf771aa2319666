"""What `streamgate.execution` costs and brings: inline, thread and process, through the engine.

A step is one batch of so many requests, from `submit` to the last response, with nothing else
under way: the model of `python_backend.py` in an engine of its own, no wire. CPU is that of all
processes together. Then a model that computes in Python, which holds the interpreter, with 1 to 4
instances: what they answer in a second. The machine is shared, so medians of several rounds count.

    python -m benchmarks.python_execution
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.python_backend import MODEL
from streamgate.backend.contract import LoadContext, ModelFiles, SessionLostError
from streamgate.core.ids import OwnerNumber
from streamgate.engine.host import AsyncioHost
from streamgate.engine.runtime import ModelRuntime
from streamgate.model.config import (
    DefaultScheduling,
    DynamicBatching,
    Execution,
    Instance,
    InstanceKind,
    ModelConfig,
)
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Tensor, TensorSpec
from streamgate_python import create

BUSY_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        total = 0
        for number in range(100_000):
            total += number * number
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("OUT", request.inputs()[0].as_numpy() + total % 2)]
            )
            for request in requests
        ]
"""

OWNER = OwnerNumber(1)
ROUNDS = 5
BUSY_SECONDS = 1.0


def config(execution: Execution, rows: int, instances: int) -> ModelConfig:
    batching = DynamicBatching(preferred_sizes=(rows,), max_delay_ns=1_000_000_000)
    return ModelConfig(
        name="bench",
        backend="python",
        platform="",
        max_batch_size=rows if rows > 1 else 0,
        inputs=(TensorSpec("IN", DataType.FP32, (-1,)),),
        outputs=(TensorSpec("OUT", DataType.FP32, (-1,)),),
        scheduling=batching if rows > 1 else DefaultScheduling(),
        instances=tuple(Instance(f"bench_{n}", InstanceKind.CPU) for n in range(instances)),
        execution=execution,
        json=json.dumps({"name": "bench"}),
    )


@asynccontextmanager
async def engine(
    folder: Path, source: str, config: ModelConfig
) -> AsyncIterator[tuple[ModelRuntime, list[int]]]:
    """A model on this loop, and the numbers of its worker processes."""
    path = folder / "1" / "model.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    files = ModelFiles("bench", "1", folder, path.parent, path)
    backend = create()
    workers: list[int] = []

    def load(instance: Instance, on_lost: object) -> object:
        del on_lost
        session = backend.load(LoadContext(config, files, instance, on_lost=_fail))
        workers.append(getattr(session, "pid", 0))
        return session

    runtime = ModelRuntime(config, "1", AsyncioHost(asyncio.get_running_loop()))
    await runtime.load(load)  # type: ignore[arg-type]
    try:
        yield runtime, [pid for pid in workers if pid]
    finally:
        await runtime.close(10)


def _fail(error: SessionLostError) -> None:
    raise error


def request(rows: int, elements: int) -> Request:
    shape = (1, elements) if rows > 1 else (elements,)
    raw = np.zeros(elements, np.float32).tobytes()
    return Request("bench", inputs=[Tensor("IN", DataType.FP32, shape, raw=raw)])


async def step(runtime: ModelRuntime, requests: list[Request]) -> None:
    """Submit the requests and wait for all their responses."""
    over = asyncio.get_running_loop().create_future()
    left = len(requests)

    def sink(response: Response) -> None:
        nonlocal left
        assert response.failure is None, response.failure
        left -= 1
        if not left:
            over.set_result(None)

    for each in requests:
        runtime.submit(each, sink, OWNER, -1)
    await over


def cpu_ns(workers: list[int]) -> int:
    """CPU time of this process and of these."""
    total = time.process_time_ns()
    for pid in workers:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total


async def cost(execution: Execution, rows: int, elements: int) -> tuple[float, float]:
    """Median wall and CPU time of one step in microseconds."""
    steps = 300 if elements < 10_000 else 60
    walls, cpus = [], []
    with tempfile.TemporaryDirectory() as folder:
        async with engine(Path(folder), MODEL, config(execution, rows, 1)) as (runtime, workers):
            for index in range(ROUNDS + 1):
                batches = [[request(rows, elements) for _ in range(rows)] for _ in range(steps)]
                cpu, begin = cpu_ns(workers), time.perf_counter_ns()
                for batch in batches:
                    await step(runtime, batch)
                if index:  # the first warms up
                    walls.append((time.perf_counter_ns() - begin) / steps / 1000)
                    cpus.append((cpu_ns(workers) - cpu) / steps / 1000)
    return statistics.median(walls), statistics.median(cpus)


async def throughput(execution: Execution, instances: int) -> float:
    """Answers a second of a model that holds the interpreter, with enough requests under way."""
    with tempfile.TemporaryDirectory() as folder:
        async with engine(Path(folder), BUSY_MODEL, config(execution, 1, instances)) as (model, _):
            answered = 0
            begin = time.perf_counter()

            async def keep_asking() -> None:
                nonlocal answered
                while time.perf_counter() - begin < BUSY_SECONDS:
                    await step(model, [request(1, 4)])
                    answered += 1

            await asyncio.gather(*(keep_asking() for _ in range(2 * instances)))
            return answered / (time.perf_counter() - begin)


async def measure() -> None:
    machine = describe()
    print(", ".join(f"{key} {machine[key]}" for key in ("date", "processor", "cores", "python")))
    print(f"load average before: {os.getloadavg()[0]:.1f}\n")
    print(f"{'execution':<10}{'rows':>6}{'floats':>9}{'wall us/step':>14}{'CPU us/step':>13}")
    for rows, elements in ((1, 4), (16, 4), (1, 5_000), (1, 250_000)):
        for execution in (Execution.INLINE, Execution.THREAD, Execution.PROCESS):
            wall, cpu = await cost(execution, rows, elements)
            print(f"{execution.value:<10}{rows:>6}{elements:>9}{wall:>14.0f}{cpu:>13.0f}")
    print(f"\n{'execution':<10}{'instances':>10}{'answers/s':>11}   (median of 3)")
    for execution in (Execution.THREAD, Execution.PROCESS):
        for instances in (1, 2, 4):
            rates = [await throughput(execution, instances) for _ in range(3)]
            print(f"{execution.value:<10}{instances:>10}{statistics.median(rates):>11.0f}")


if __name__ == "__main__":
    asyncio.run(measure())
