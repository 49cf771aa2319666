"""Models for recording and replay, whose answers depend on all that their sequence has seen."""

from pathlib import Path

from tests.server.test_ensembles_loading import ensemble
from tests.system.server_process import write_fake_model

_CONFIG = """
backend: "python"
max_batch_size: 4
input { name: "IN" data_type: TYPE_INT32 dims: 1 }
output { name: "OUT" data_type: TYPE_INT32 dims: 1 }
instance_group { kind: KIND_CPU }
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 4 }
  state { input_name: "S" output_name: "S_OUT" data_type: TYPE_INT32 dims: 2 }
}
"""
_WEIGHTED = """
import pathlib
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        folder = pathlib.Path(args["model_repository"]) / args["model_version"]
        self.weights = np.frombuffer((folder / "weights.bin").read_bytes(), np.int32)

    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        value = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        if value.min() < 0:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("less than nothing"))
        state = pb_utils.get_input_tensor_by_name(request, "S").as_numpy().copy()
        state[0, 1] += value.item() * self.weights[state[0, 0]]
        state[0, 0] += 1
        out = state[:, 1:]
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("OUT", out), pb_utils.Tensor("S_OUT", state)]
        )
"""
_DECOUPLED = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        for request in requests:
            key = request.correlation_id()
            value = int(pb_utils.get_input_tensor_by_name(request, "IN").as_numpy().item())
            sender = request.get_response_sender()
            self.sums[key] = value + (0 if request.flags() & 1 else self.sums[key])
            for number in range(value):
                out = np.full((1, 1), self.sums[key] * 10 + number, np.int32)
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", out)]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def _write(directory: Path, name: str, config: str, code: str) -> None:
    version = directory / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(code)
    (directory / name / "config.pbtxt").write_text(config)


def write_weighted(directory: Path, name: str) -> None:
    """Adds each IN, times the weight of its step, to a sum, which it answers: its state. Less than
    nothing fails. The weights, of 8 steps, are all 1."""
    _write(directory, name, _CONFIG, _WEIGHTED)
    (directory / name / "1" / "weights.bin").write_bytes(b"\x01\x00\x00\x00" * 8)


def change_weight(directory: Path, name: str, step: int) -> None:
    """One byte of the weights, which counts from this step on."""
    path = directory / name / "1" / "weights.bin"
    data = bytearray(path.read_bytes())
    data[4 * step] = 2
    path.write_bytes(data)


def write_models(directory: Path) -> None:
    """`fake` (running hashes), `sum`, `several` (decoupled: IN responses to a step) and `both` (an
    ensemble of `first` and `second`)."""
    write_fake_model(directory)
    for name in ("sum", "first", "second"):
        write_weighted(directory, name)
    state = _CONFIG.index("  state")
    decoupled = _CONFIG[:state] + "}\nmodel_transaction_policy { decoupled: true }\n"
    _write(directory, "several", decoupled, _DECOUPLED)
    _write(directory, "both", ensemble("first", "second", batches=True), "")
    (directory / "both" / "1" / "model.py").unlink()
