"""The backend contract's own kit, run over Python models of every kind we have."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamgate.backend.conformance import Samples, check_backend
from streamgate.backend.contract import Backend
from streamgate.model.config import Execution, ModelConfig
from streamgate.model.tensor import Array, Shape
from streamgate.repository.repository import ModelRepository
from streamgate_python import create
from tests.backends.python_models import Model
from tests.model.settings import LONG

pytestmark = pytest.mark.timeout(600 if LONG else 120)

ROOT = Path(__file__).resolve().parents[2]
REPOSITORIES = {
    "demos": ROOT / "demos" / "models",
    "conformance": ROOT / "tests" / "conformance" / "models",
}

IN_PROCESSES = ("running_sum_python", "decoupled_countdown")
"""The models that are always tried in processes of their own, too: each takes several seconds."""

STATEFUL = """
class TritonPythonModel:
    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        value, total = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("INPUT", "SUM_IN")
        )
        total += value
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("OUTPUT", total), pb_utils.Tensor("SUM_OUT", total)]
        )
"""

STATEFUL_CONFIG = """
backend: "python"
max_batch_size: 4
input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 2 ] } ]
sequence_batching {
  oldest { max_candidate_sequences: 8 }
  state [ {
    input_name: "SUM_IN" output_name: "SUM_OUT" data_type: TYPE_FP32 dims: [ 2 ]
    initial_state: { name: "zero" data_type: TYPE_FP32 dims: [ 2 ] zero_data: true }
  } ]
}
"""


def read(folder: Path, name: str) -> tuple[ModelConfig, Model]:
    """A model's configuration as the repository makes it, through this backend's completion."""
    source = ModelRepository([folder], find_backend=found).read(name)
    assert source.failures == {}
    version = source.versions[-1]
    return version.config, Model(folder, name, version.version)


def found(name: str) -> Backend:
    assert name == "python"
    return create()


def few(generator: np.random.Generator, shape: Shape) -> Array:
    return generator.integers(1, 4, shape).astype(np.int32)


def language(generator: np.random.Generator, shape: Shape) -> Array:
    return generator.choice(np.array([b"de", b"fr", b"es"], dtype=np.object_), shape)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("demos", "running_sum_python"),
        ("demos", "decoupled_countdown"),
        ("demos", "end_of_speech"),
        ("demos", "translate_numbers"),
        ("conformance", "add_sub"),
        ("conformance", "auto_complete"),
        ("conformance", "bytes_echo"),
        ("conformance", "identity_fp32"),
    ],
)
def test_models_keep_the_contract(place: str, name: str, execution: Execution) -> None:
    if execution is Execution.PROCESS and name not in IN_PROCESSES and not LONG:
        pytest.skip("takes long in a process of its own: STREAMGATE_TEST_LONG=1, make test-long")
    config, model = read(REPOSITORIES[place], name)
    config = replace(config, execution=execution)
    makers = {"INPUT": few} if "sum" in name or "count" in name else {"TARGET_LANGUAGE": language}
    samples = Samples(makers=makers)
    report = check_backend(create(), config, model.files, samples=samples)
    report.require()


def test_implicit_state_keeps_the_contract(tmp_path: Path, execution: Execution) -> None:
    Model(tmp_path, "sums").write(STATEFUL).add("config.pbtxt", STATEFUL_CONFIG)
    config, model = read(tmp_path, "sums")
    assert config.states
    config = replace(config, execution=execution)
    report = check_backend(create(), config, model.files)
    report.require()


def test_completion_reaches_the_configuration() -> None:
    config, _ = read(REPOSITORIES["conformance"], "auto_complete")
    assert config.max_batch_size == 4
    assert [spec.name for spec in config.inputs] == ["INPUT"]
    assert [spec.name for spec in config.outputs] == ["OUTPUT"]
