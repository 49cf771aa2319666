"""Clients of a model whose worker processes are killed again and again: no step is lost, repeated
or mixed up without a word, and nothing is left over."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.system.running_server import WAIT_SECONDS, RunningServer, running

pytestmark = pytest.mark.slow

CONFIG = """
backend: "python"
max_batch_size: 4
input { name: "IN" data_type: TYPE_INT32 dims: 1 }
output { name: "OUT" data_type: TYPE_INT32 dims: 1 }
output { name: "PID" data_type: TYPE_INT32 dims: 1 }
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 4 }
}
instance_group { kind: KIND_CPU count: 2 }
"""
SUMS = """
import os
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        key = request.correlation_id()
        if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
            self.sums[key] = 0
        value = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        self.sums[key] += int(value[0, 0])
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("OUT", np.array([[self.sums[key]]], np.int32)),
                pb_utils.Tensor("PID", np.array([[os.getpid()]], np.int32)),
            ]
        )
"""
SEQUENCES, STEPS, KILLS = 8, 30, 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    version = tmp_path / "sums" / "1"
    version.mkdir(parents=True)
    (tmp_path / "sums" / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(SUMS)
    with running(tmp_path, durable=False) as server:
        yield server


class Clients:
    """Threads that run one sequence after the other until they are told to stop."""

    def __init__(self, server: RunningServer) -> None:
        self.pids: set[int] = set()
        self.over = 0
        self.lost = 0
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._server = server
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(SEQUENCES)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()

    def _run(self, number: int) -> None:
        with triton.InferenceServerClient(self._server.grpc) as client:
            key = number * 100_000
            while not self._stop.is_set():
                key += 1
                try:
                    self._run_sequence(client, key)
                except InferenceServerException as error:
                    self.lost += 1
                    if not any(
                        known in error.message()
                        for known in ("is not healthy", "was lost", "must specify the START flag")
                    ):
                        self.wrong.append(error.message())

    def _run_sequence(self, client: triton.InferenceServerClient, key: int) -> None:
        total = 0
        for step in range(STEPS):
            tensor = triton.InferInput("IN", [1, 1], "INT32")
            tensor.set_data_from_numpy(np.array([[step + key]], np.int32))
            result = client.infer(
                "sums",
                [tensor],
                sequence_id=key,
                sequence_start=step == 0,
                sequence_end=step == STEPS - 1,
                client_timeout=WAIT_SECONDS,
            )
            total += step + key
            if int(result.as_numpy("OUT")[0, 0]) != total:
                self.wrong.append(f"sequence {key}, step {step}: {result.as_numpy('OUT')}")
            self.pids.add(int(result.as_numpy("PID")[0, 0]))
        self.over += 1


def test_kills_cost_the_sequences_of_their_process_alone(server: RunningServer) -> None:
    chance = random.Random(7)
    before = len([*Path("/proc/self/fd").iterdir()])
    clients = Clients(server)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.05, 0.5))
        alive = [pid for pid in clients.pids.copy() if Path(f"/proc/{pid}").exists()]
        if alive:
            os.kill(chance.choice(sorted(alive)), signal.SIGKILL)
    done = clients.over
    until = time.monotonic() + WAIT_SECONDS
    while clients.over < done + SEQUENCES:
        assert time.monotonic() < until, "no sequence comes to its end any more"
        time.sleep(0.05)
    clients.stop()
    assert clients.wrong == []
    assert clients.lost > 0
    server.assert_at_rest("sums")
    assert sum(Path(f"/proc/{pid}").exists() for pid in clients.pids) <= 2
    assert len([*Path("/proc/self/fd").iterdir()]) <= before + 2 * SEQUENCES
