"""Python models in worker processes behind a whole server, driven by the unmodified client."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.system.running_server import RunningServer, running
from tests.waiting import wait

WAIT_SECONDS = 30.0

CONFIG = """
backend: "python"
input { name: "IN" data_type: TYPE_INT32 dims: 1 }
output { name: "OUT" data_type: TYPE_INT32 dims: 1 }
"""
PROCESS = 'parameters { key: "streamgate.execution" value { string_value: "process" } }\n'
SEQUENCES = (
    CONFIG
    + PROCESS
    + "sequence_batching { max_sequence_idle_microseconds: 60000000 "
    + "oldest { max_candidate_sequences: 4 } }\n"
)

FRAGILE = """
import os
import model_gates
import numpy as np
import triton_python_backend_utils as pb_utils

STEP, CRASH, HOLD = 0, 1, 2


class TritonPythonModel:
    def initialize(self, args):
        self.instance = args["model_instance_name"]
        self.totals = {}

    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        asked = int(pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()[0])
        if asked == CRASH:
            os.abort()
        if asked == HOLD:
            model_gates.enter(f"hold {self.instance}")
        key = request.correlation_id()
        self.totals[key] = self.totals.get(key, 0) + 1
        told = self.totals[key] if key else os.getpid()
        tensor = pb_utils.Tensor("OUT", np.array([told], np.int32))
        return pb_utils.InferenceResponse([tensor])
"""
STEP, CRASH, HOLD = 0, 1, 2

STATEFUL_CONFIG = (
    CONFIG
    + PROCESS
    + """
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 4 }
  state { input_name: "SUM" output_name: "SUM_NEXT" data_type: TYPE_INT32 dims: 1 }
}
"""
)
STATEFUL = """
import os
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        step, total = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in ("IN", "SUM")
        )
        if step[0] == 1:
            os.abort()
        total += 10
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("OUT", total), pb_utils.Tensor("SUM_NEXT", total)]
        )
"""


def write(folder: Path, name: str, config: str, code: str = FRAGILE) -> None:
    version = folder / name / "1"
    version.mkdir(parents=True)
    (folder / name / "config.pbtxt").write_text(config)
    (version / "model.py").write_text(code)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    write(tmp_path, "fragile", CONFIG + PROCESS)
    write(tmp_path, "sums", SEQUENCES)
    write(tmp_path, "several", CONFIG + "instance_group { kind: KIND_CPU count: 2 }\n")
    write(tmp_path, "kept", STATEFUL_CONFIG, STATEFUL)
    # What becomes of sequences without logs in front: tests/durable has the rest.
    with running(tmp_path, durable=False) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.grpc) as client:
        yield client


def made(asked: int) -> list[triton.InferInput]:
    tensor = triton.InferInput("IN", [1], "INT32")
    tensor.set_data_from_numpy(np.array([asked], np.int32))
    return [tensor]


def ask(client: triton.InferenceServerClient, name: str, asked: int = STEP, **more: object) -> int:
    result = client.infer(name, made(asked), client_timeout=WAIT_SECONDS, **more)
    return int(result.as_numpy("OUT")[0])


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def test_a_crash_fails_its_request_and_the_model_is_loaded_again(
    server: RunningServer, client: triton.InferenceServerClient
) -> None:
    first = ask(client, "fragile")
    assert first != os.getpid()
    for _ in range(2):
        with pytest.raises(InferenceServerException) as caught:
            ask(client, "fragile", CRASH)
        assert caught.value.message() == "Stub process 'fragile_0' is not healthy."
        assert caught.value.status() == "StatusCode.INTERNAL"
        # It waits for the instance, and is then served by it.
        again = ask(client, "fragile")
        assert again not in {first, os.getpid()}
    assert ask(client, "sums", sequence_id=1, sequence_start=True, sequence_end=True) == 1
    assert client.is_server_live()


def test_one_that_is_killed_while_idle_comes_back(
    server: RunningServer, client: triton.InferenceServerClient
) -> None:
    pid = ask(client, "fragile")
    os.kill(pid, signal.SIGKILL)

    def is_another() -> bool:
        try:
            return ask(client, "fragile") != pid
        except InferenceServerException:
            return False

    wait(is_another)


def test_sequences_of_a_lost_instance_end_and_others_begin(
    server: RunningServer, client: triton.InferenceServerClient
) -> None:
    assert ask(client, "sums", sequence_id=5, sequence_start=True) == 1
    assert ask(client, "sums", sequence_id=5) == 2
    with pytest.raises(InferenceServerException, match="is not healthy"):
        ask(client, "sums", CRASH, sequence_id=6, sequence_start=True)
    with pytest.raises(InferenceServerException, match="5"):
        ask(client, "sums", sequence_id=5)
    assert ask(client, "sums", sequence_id=5, sequence_start=True) == 1
    assert ask(client, "sums", sequence_id=5, sequence_end=True) == 2
    wait(lambda: server.ended("sums", "engine_lost") == 2)
    server.assert_at_rest("sums")


def test_states_that_the_gateway_keeps_outlive_the_process(
    server: RunningServer, client: triton.InferenceServerClient
) -> None:
    assert ask(client, "kept", sequence_id=5, sequence_start=True) == 10
    with pytest.raises(InferenceServerException, match="is not healthy"):
        ask(client, "kept", CRASH, sequence_id=6, sequence_start=True)
    assert ask(client, "kept", sequence_id=5) == 20
    assert ask(client, "kept", sequence_id=5, sequence_end=True) == 30


def test_several_instances_work_at_the_same_time(
    server: RunningServer, client: triton.InferenceServerClient
) -> None:
    held = ["hold several_0_0", "hold several_0_1"]
    for gate in held:
        server.gates.close(gate)
    waiting = [client.async_infer("several", made(HOLD), print) for _ in held]
    del waiting
    for gate in held:
        assert server.gates._entered[gate].wait(WAIT_SECONDS), gate
    server.gates.open_all()


SERVE = """
import sys
from pathlib import Path
from tests.system.running_server import running

with running(Path(sys.argv[1])) as server:
    print(server.grpc, flush=True)
    sys.stdin.read()
"""


def test_no_process_outlives_its_server(tmp_path: Path) -> None:
    write(tmp_path, "several", CONFIG + "instance_group { kind: KIND_CPU count: 2 }\n")
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'backends'}"},
    )
    with process:
        assert process.stdout is not None
        assert re.match(rb"127.0.0.1:\d+", process.stdout.readline())
        workers = children_of(process.pid)
        assert len(workers) == 2
        process.kill()
    wait(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
