"""A decoupled model that sends what it is told, and the clients that tell it.

PROGRAM is [count, size in bytes, where]: 0 sends from within `execute`, 1 from a thread of the
request's own, 2 too, with an error in place of the response at index 1. Each response has its INDEX
and DATA of that size. The model passes the gates `step KEY`, `sent KEY`, `cancelled KEY` and
`done KEY`.
"""

import queue
import threading
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as tritongrpc

from tests.system.running_server import WAIT_SECONDS

IN_EXECUTE, IN_A_THREAD, WITH_AN_ERROR = 0, 1, 2

_CONFIG = """
backend: "python"
max_batch_size: 4
input { name: "PROGRAM" data_type: TYPE_INT32 dims: 3 }
output { name: "INDEX" data_type: TYPE_INT32 dims: 1 }
output { name: "DATA" data_type: TYPE_UINT8 dims: -1 }
instance_group { kind: KIND_CPU }
model_transaction_policy { decoupled: true }
"""
_SEQUENCES = """
sequence_batching { max_sequence_idle_microseconds: 60000000 oldest { max_candidate_sequences: 4 } }
"""
_CODE = """
import threading
import model_gates
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            program = pb_utils.get_input_tensor_by_name(request, "PROGRAM").as_numpy()
            count, size, where = program.ravel().tolist()
            key = request.correlation_id()
            model_gates.enter(f"step {key}")
            work = self.talk, (request.get_response_sender(), key, count, size, where == 2)
            if where:
                threading.Thread(target=work[0], args=work[1], daemon=True).start()
            else:
                work[0](*work[1])

    def talk(self, sender, key, count, size, fails):
        data = pb_utils.Tensor("DATA", np.zeros((1, size), np.uint8))
        for index in range(count):
            if sender.is_cancelled():
                model_gates.enter(f"cancelled {key}")
                break
            number = pb_utils.Tensor("INDEX", np.array([[index]], np.int32))
            response = pb_utils.InferenceResponse([number, data])
            if fails and index == 1:
                error = pb_utils.TritonError("boom", pb_utils.TritonError.INVALID_ARG)
                response = pb_utils.InferenceResponse(error=error)
            sender.send(response)
            model_gates.enter(f"sent {key}")
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        model_gates.enter(f"done {key}")
"""


def write_talkers(directory: Path, more: str = "") -> None:
    """The model twice: `talker` in sequences, `stateless_talker` without. `more` is configuration
    that both have."""
    common = _CONFIG + more
    for name, config in (("talker", common + _SEQUENCES), ("stateless_talker", common)):
        version = directory / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(_CODE)
        (directory / name / "config.pbtxt").write_text(config)


class Reader:
    """tritonclient's stream, whose callback takes nothing while `stops` is set."""

    def __init__(self, address: str) -> None:
        self.answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self.client = tritongrpc.InferenceServerClient(address)
        self._reads = threading.Event()
        self._reads.set()
        self.client.start_stream(self._take)

    def stop_reading(self) -> None:
        self._reads.clear()

    def go_on(self) -> None:
        self._reads.set()

    def ask(
        self, key: int, *program: int, start: bool = False, end: bool = False, model: str = "talker"
    ) -> None:
        """One step."""
        tensor = tritongrpc.InferInput("PROGRAM", [1, 3], "INT32")
        tensor.set_data_from_numpy(np.array([program], np.int32))
        self.client.async_stream_infer(
            model,
            [tensor],
            sequence_id=key,
            sequence_start=start,
            sequence_end=end,
            enable_empty_final_response=True,
        )

    def answer(self) -> int | None:
        """The next response's INDEX; None for an empty final one."""
        result, error = self.answers.get(timeout=WAIT_SECONDS)
        assert error is None, error
        index = result.as_numpy("INDEX")
        return None if index is None else int(index.ravel()[0])

    def failure(self) -> Any:
        """The error that comes next."""
        result, error = self.answers.get(timeout=WAIT_SECONDS)
        assert result is None, result
        return error

    def leave(self) -> None:
        """End the stream in good order."""
        self._reads.set()
        self.client.stop_stream()
        self.client.close()

    def _take(self, result: Any, error: Any) -> None:
        self._reads.wait(WAIT_SECONDS)
        self.answers.put((result, error))
