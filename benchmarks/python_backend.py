"""What the Python backend adds to a request: from `Session.execute` to `Reply.send`.

The model does nothing but the calls that every model makes: it fetches one input tensor as numpy,
wraps the array as an output and returns the response. The reply only counts. So the figure is the
backend's own cost plus that of the model's few lines. Times are CPU time of the executing thread;
a busy machine slows it all the same, so the best round counts. Limit: 10 us a request.

    python benchmarks/python_backend.py
"""

import gc
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from streamgate.backend.contract import LoadContext, ModelFiles, ModelRequest
from streamgate.errors import Failure
from streamgate.model.config import DefaultScheduling, Instance, InstanceKind, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import ParameterValue
from streamgate.model.tensor import Tensor, TensorSpec
from streamgate_python import create

MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            data = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            out = pb_utils.Tensor("OUT", data)
            responses.append(pb_utils.InferenceResponse(output_tensors=[out]))
        return responses
"""

SENDER_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            data = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            out = pb_utils.Tensor("OUT", data)
            response = pb_utils.InferenceResponse(output_tensors=[out])
            request.get_response_sender().send(response, flags=1)
"""

LIMIT_US = 10.0


class CountingReply:
    """Counts what is sent."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = 0

    def send(
        self,
        outputs: Sequence[Tensor],
        failure: Failure | None = None,
        *,
        final: bool,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        assert failure is None, failure
        assert final
        assert outputs
        self.sent += 1

    def finish(self) -> None:
        raise AssertionError("the final flag comes with the response")

    def is_cancelled(self) -> bool:
        return False


def load(directory: Path, source: str, *, decoupled: bool) -> Callable[[list[ModelRequest]], None]:
    version = directory / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(source)
    config = ModelConfig(
        name="bench",
        backend="python",
        platform="",
        max_batch_size=64,
        inputs=(TensorSpec("IN", DataType.FP32, (-1,)),),
        outputs=(TensorSpec("OUT", DataType.FP32, (-1,)),),
        scheduling=DefaultScheduling(),
        decoupled=decoupled,
        json=json.dumps({"name": "bench"}),
    )
    files = ModelFiles("bench", "1", directory, version, version / "model.py")
    instance = Instance("bench_0", InstanceKind.CPU)
    return create().load(LoadContext(config, files, instance)).execute


def measure(
    execute: Callable[[list[ModelRequest]], None], batch: int, elements: int
) -> tuple[float, float]:
    """Median and best CPU time of one request in microseconds."""
    raw = np.zeros(elements, np.float32).tobytes()
    reply = CountingReply()
    rounds, calls = 30, max(1, 3000 // batch)
    times: list[float] = []
    for _ in range(rounds):
        batches = [
            [
                ModelRequest(
                    [Tensor("IN", DataType.FP32, (1, elements), raw=raw)],
                    reply,
                    "id",
                    requested_outputs=("OUT",),
                )
                for _ in range(batch)
            ]
            for _ in range(calls)
        ]
        gc.collect()
        begin = time.thread_time_ns()
        for requests in batches:
            execute(requests)
        times.append((time.thread_time_ns() - begin) / (calls * batch) / 1000)
    assert reply.sent == rounds * calls * batch
    return statistics.median(times), min(times)


def main() -> int:
    print(f"python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}")
    print(f"{'model':<22}{'batch':>6}{'floats':>8}{'median us':>12}{'best us':>10}")
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for label, source, decoupled in (
            ("returns responses", MODEL, False),
            ("sends, not decoupled", SENDER_MODEL, False),
            ("sends, decoupled", SENDER_MODEL, True),
        ):
            execute = load(Path(folder) / label, source, decoupled=decoupled)
            for batch, elements in ((1, 4), (8, 4), (32, 4), (32, 1600)):
                median, best = measure(execute, batch, elements)
                slowest = max(slowest, best)
                print(f"{label:<22}{batch:>6}{elements:>8}{median:>12.2f}{best:>10.2f}")
    print(f"slowest best {slowest:.2f} us, limit {LIMIT_US:.0f} us a request")
    return 0 if slowest <= LIMIT_US else 1


if __name__ == "__main__":
    sys.exit(main())
