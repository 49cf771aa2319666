"""Iterative sequences on a whole server: a model that sends requests through the scheduler again,
over unary calls and streams, with and without ids. Facts 4.9."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as tritongrpc
import tritonclient.http as tritonhttp

from streamgate.server.settings import GrpcTransport
from tests.frontends.grpc_client import Stub, infer_request, values_of
from tests.system.running_server import WAIT_SECONDS, RunningServer, running
from tests.waiting import wait

# Runs a request as often as WANTED says. The decoupled one answers each time.
_CODE = """
import model_gates
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.counts = {}
        self.decoupled = args["model_name"] == "streaming"
        self.name = args["model_name"]

    def execute(self, requests):
        model_gates.enter(f"{self.name} {len(requests)} together")
        answers = [self.step(request) for request in requests]
        return None if self.decoupled else answers

    def step(self, request):
        wanted = int(pb_utils.get_input_tensor_by_name(request, "WANTED").as_numpy().ravel()[0])
        key = request.correlation_id()
        started = bool(request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START)
        if started != (key not in self.counts):
            raise ValueError(f"START is {started} at pass {self.counts.get(key, 0)}")
        count = self.counts[key] = self.counts.get(key, 0) + 1
        over = count >= wanted
        if over:
            del self.counts[key]
        else:
            request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
        answer = pb_utils.Tensor("COUNT", np.array([[count]], np.int32))
        answer = pb_utils.InferenceResponse([answer])
        if not self.decoupled:
            return answer if over else None
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if over else 0
        request.get_response_sender().send(answer, flags=final)
"""
_CONFIG = """
backend: "python"
max_batch_size: 4
input { name: "WANTED" data_type: TYPE_INT32 dims: 1 }
output { name: "COUNT" data_type: TYPE_INT32 dims: 1 }
instance_group { kind: KIND_CPU }
sequence_batching {
  iterative_sequence: true
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 4 }
}
"""


@pytest.fixture(params=GrpcTransport)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    for name in ("counting", "streaming"):
        version = tmp_path / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(_CODE)
        policy = "model_transaction_policy { decoupled: true }\n" if name == "streaming" else ""
        (tmp_path / name / "config.pbtxt").write_text(_CONFIG + policy)
    with running(tmp_path, request.param) as server:
        yield server


def wanted(count: int, library: Any = tritongrpc) -> Any:
    tensor = library.InferInput("WANTED", [1, 1], "INT32")
    tensor.set_data_from_numpy(np.array([[count]], np.int32))
    return tensor


FLAGS = [
    pytest.param({}, id="no id"),
    pytest.param({"sequence_id": 7, "sequence_start": True}, id="started"),
    # The pass with both flags is not the last one (issue 8167: there, the client froze).
    pytest.param(
        {"sequence_id": 7, "sequence_start": True, "sequence_end": True},
        id="8167 started and ended",
    ),
]


@pytest.mark.parametrize("flags", FLAGS)
def test_calls(server: RunningServer, flags: dict[str, Any]) -> None:
    with closing(tritongrpc.InferenceServerClient(server.grpc)) as client:
        result = client.infer("counting", [wanted(5)], client_timeout=WAIT_SECONDS, **flags)
        assert result.as_numpy("COUNT").tolist() == [[5]]
    with closing(tritonhttp.InferenceServerClient(server.http)) as client:
        result = client.infer("counting", [wanted(3, tritonhttp)], **flags)
        assert result.as_numpy("COUNT").tolist() == [[3]]
    assert server.ended("counting", "client_end") == 2
    server.assert_at_rest("counting")


@pytest.mark.parametrize("flags", FLAGS[:1] + FLAGS[2:])
def test_a_stream(server: RunningServer, flags: dict[str, Any]) -> None:
    with Stub(server.grpc) as stub:
        for model, expected in (("counting", [4]), ("streaming", [1, 2, 3, 4])):
            stream = stub.stream()
            request = infer_request(model, 4, dtype="INT32", tensor="WANTED", **flags)
            request.inputs[0].shape[:] = [1, 1]
            stream.send(request)
            stream.half_close()
            messages = stream.rest()
            assert [values_of(each.infer_response, "int32")[0] for each in messages] == expected
            finals = [
                each.infer_response.parameters["triton_final_response"].bool_param
                for each in messages
            ]
            assert finals == [index == len(expected) - 1 for index in range(len(expected))]
            server.assert_at_rest(model)


def test_requests_join_those_that_are_under_way(server: RunningServer) -> None:
    """Continuous batching: whoever comes shares the passes of those who are there."""
    server.gates.close("counting 1 together")
    with (
        closing(tritongrpc.InferenceServerClient(server.grpc)) as client,
        ThreadPoolExecutor(4) as pool,
    ):

        def ask(count: int) -> int:
            result = client.infer("counting", [wanted(count)], client_timeout=WAIT_SECONDS)
            return int(result.as_numpy("COUNT").ravel()[0])

        first = pool.submit(ask, 20)
        assert server.gates.is_entered("counting 1 together", WAIT_SECONDS)
        others = [pool.submit(ask, count) for count in (5, 8, 11)]
        wait(lambda: server.pending("counting") == 3)
        server.gates.open("counting 1 together")
        assert [each.result(WAIT_SECONDS) for each in (first, *others)] == [20, 5, 8, 11]
    # The first was alone at its first pass; then all shared five, and three of them three more.
    assert server.gates.count("counting 4 together") == 5
    assert server.gates.count("counting 3 together") == 3
    server.assert_at_rest("counting")


@pytest.mark.parametrize("model", ["counting", "streaming"])
def test_a_cancelled_request_is_not_run_again(server: RunningServer, model: str) -> None:
    gate = f"{model} 1 together"
    server.gates.close(gate)
    with Stub(server.grpc) as stub:
        stream = stub.stream()
        request = infer_request(model, 1000, dtype="INT32", tensor="WANTED")
        request.inputs[0].shape[:] = [1, 1]
        stream.send(request)
        assert server.gates.is_entered(gate, WAIT_SECONDS)
        stream.call.cancel()
        wait(lambda: server.metric("nv_inference_request_failure", model, reason="CANCELED") == 1)
        server.gates.open(gate)
        wait(lambda: server.ended(model, "client_abort") == 1)
    assert server.gates.count(gate) == 1
    server.assert_at_rest(model)


def test_who_waits_for_a_slot_gets_it_when_another_is_done(server: RunningServer) -> None:
    """Ten at once on four slots."""
    counts = list(range(1, 11))
    results: dict[int, int] = {}
    with closing(tritongrpc.InferenceServerClient(server.grpc)) as client:

        def ask(count: int) -> None:
            result = client.infer("counting", [wanted(count)], client_timeout=WAIT_SECONDS)
            results[count] = int(result.as_numpy("COUNT").ravel()[0])

        threads = [threading.Thread(target=ask, args=(count,)) for count in counts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_SECONDS)
    assert results == {count: count for count in counts}
    server.assert_at_rest("counting")
