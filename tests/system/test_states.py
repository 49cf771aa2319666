"""Implicit state from config.pbtxt to an unmodified client: files, growth, ends, the canary."""

import queue
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as tritongrpc

from tests.system.running_server import WAIT_SECONDS, RunningServer, running
from tests.system.tally import flags_of, setting
from tests.waiting import wait

CONFIG = """
backend: "python"
max_batch_size: 4
input { name: "WORD" data_type: TYPE_STRING dims: 1 }
output [
  { name: "TEXT" data_type: TYPE_STRING dims: 1 },
  { name: "LENGTHS" data_type: TYPE_INT32 dims: -1 },
  { name: "ENDS" data_type: TYPE_STRING dims: 1 }
]
instance_group { kind: KIND_CPU }
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  direct { }
  control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
  state {
    input_name: "TEXT_IN" output_name: "TEXT_OUT" data_type: TYPE_STRING dims: 1
    initial_state { name: "opening" data_type: TYPE_STRING dims: 1 data_file: "opening.bin" }
  }
  state {
    input_name: "LENGTHS_IN" output_name: "LENGTHS" data_type: TYPE_INT32 dims: -1
    use_same_buffer_for_input_output: true use_growable_memory: true
    initial_state { name: "none" data_type: TYPE_INT32 dims: 0 zero_data: true }
  }
}
"""
CODE = """
import numpy as np
import triton_python_backend_utils as pb_utils

def value_of(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

class TritonPythonModel:
    def initialize(self, args):
        self.ends = []

    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        why = value_of(request, "WHY").item()
        if why:
            self.ends.append(f"{value_of(request, 'ID').item()}:{why}")
        word = value_of(request, "WORD")
        text = value_of(request, "TEXT_IN") + word
        new = np.array([[len(word.item())]], np.int32)
        lengths = np.concatenate([value_of(request, "LENGTHS_IN"), new], axis=1)
        ends = np.array([[" ".join(self.ends).encode()]], dtype=object)
        return pb_utils.InferenceResponse([
            pb_utils.Tensor("TEXT", text),
            pb_utils.Tensor("TEXT_OUT", text),
            pb_utils.Tensor("LENGTHS", lengths),
            pb_utils.Tensor("ENDS", ends),
        ])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("models")
    model = directory / "notes"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(CODE)
    (model / "initial_state").mkdir()
    (model / "initial_state" / "opening.bin").write_bytes(struct.pack("<I", 3) + "ß:".encode())
    settings = setting("end_reason_control", "WHY") + setting("state_canary", "true")
    (model / "config.pbtxt").write_text(CONFIG + settings)
    with running(directory) as found:
        yield found


class Notes:
    """One stream that sends words."""

    def __init__(self, server: RunningServer, stack: ExitStack) -> None:
        self.client = tritongrpc.InferenceServerClient(server.grpc)
        stack.callback(self.client.close)
        self.answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self.client.start_stream(lambda result, error: self.answers.put((result, error)))

    def ask(self, key: int, word: str, flags: str = "") -> tuple[str, list[int], str]:
        """Text, lengths and ends after this word."""
        tensor = tritongrpc.InferInput("WORD", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[word.encode()]], dtype=object))
        self.client.async_stream_infer("notes", [tensor], sequence_id=key, **flags_of(flags))
        result, error = self.answers.get(timeout=WAIT_SECONDS)
        assert error is None, error
        text, ends = (result.as_numpy(name).item().decode() for name in ("TEXT", "ENDS"))
        return text, result.as_numpy("LENGTHS").ravel().tolist(), ends


def test_files_growth_and_ends(server: RunningServer) -> None:
    with ExitStack() as stack:
        mine, other = Notes(server, stack), Notes(server, stack)
        assert mine.ask(1, "a", "S") == ("ß:a", [1], "")
        assert other.ask(2, "xyz", "S") == ("ß:xyz", [3], "")
        assert mine.ask(1, "bc") == ("ß:abc", [1, 2], "")
        other.client.stop_stream(cancel_requests=True)
        wait(lambda: server.ended("notes", "client_abort") == 1)
        assert mine.ask(1, "") == ("ß:abc", [1, 2, 0], "2:2")
        assert mine.ask(1, "d", "S") == ("ß:d", [1], "2:2 1:7")
        assert mine.ask(1, "e", "E") == ("ß:de", [1, 1], "2:2 1:7 1:1")
        mine.client.stop_stream()
    assert server.metric("nv_inference_count", "notes") == 6
    assert server.metric("streamgate_state_canary_violations_total", "notes") == 0
    server.assert_at_rest("notes")
