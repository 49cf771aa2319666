"""What a configuration may leave out, and who fills it in."""

from typing import Any

import pytest

from streamgate.errors import BackendError, Code, ConfigError, ConfigPhase, LoadError
from streamgate.model.config import DynamicBatching, QueuePolicy
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import TensorSpec
from tests.repository.conftest import FakeBackend, Models

PYTHON = 'backend: "python" '


@pytest.mark.parametrize(
    ("config", "file", "backend", "platform"),
    [
        (None, "model.py", "python", ""),
        (None, "model.onnx", "onnxruntime", "onnxruntime_onnx"),
        (None, "model.plan", "tensorrt", "tensorrt_plan"),
        (None, "model.pt", "pytorch", "pytorch_libtorch"),
        (None, "model.xml", "openvino", ""),
        ('platform: "onnxruntime_onnx"', "model.onnx", "onnxruntime", "onnxruntime_onnx"),
        ('platform: "tensorrt_plan"', "model.plan", "tensorrt", "tensorrt_plan"),
        ('platform: "pytorch_libtorch"', "model.pt", "pytorch", "pytorch_libtorch"),
        ('backend: "onnxruntime"', "model.onnx", "onnxruntime", "onnxruntime_onnx"),
        ('default_model_filename: "model.plan"', "model.plan", "tensorrt", "tensorrt_plan"),
    ],
)
def test_backend_platform_and_file(
    models: Models, config: str | None, file: str, backend: str, platform: str
) -> None:
    models.backends = {backend: FakeBackend("unused")}
    models.write("m", config, {f"1/{file}": b""})
    made = models.config()
    assert (made.backend, made.platform) == (backend, platform)
    assert made.default_model_filename == file


def test_backend_from_the_newest_version(models: Models) -> None:
    models.write("m", None, {"9/model.onnx": b"", "10/model.py": b""})
    assert models.config().backend == "python"


def test_backend_from_the_name(models: Models) -> None:
    models.write("m.python", None, {"1/other.txt": b""})
    failure = models.source("m.python").failures["1"]
    assert "'model.py' of backend 'python'" in failure.message


def test_a_file_of_our_own_name_needs_a_backend(models: Models) -> None:
    error = models.refused('default_model_filename: "net.onnx"', {"1/net.onnx": b""})
    assert error.message.startswith("Invalid model name: Could not determine backend")
    assert "net.onnx in the newest version folder" in error.message


def test_unknown_platform(models: Models) -> None:
    error = models.refused('platform: "onnx"')
    assert error.message.startswith("unexpected platform type 'onnx' for m")
    assert isinstance(error, ConfigError)
    assert error.phase is ConfigPhase.POLL


def test_a_backend_that_is_not_installed(models: Models) -> None:
    error = models.refused('backend: "nope"')
    assert isinstance(error, BackendError)
    assert error.message == "unable to find backend library for backend 'nope'"


def test_the_backend_sees_what_was_given_and_no_more(models: Models) -> None:
    models.made(
        PYTHON + 'max_batch_size: 2 input { name: "A" data_type: TYPE_FP32 dims: [ -1, 3 ] } '
        "dynamic_batching { } "
        'parameters { key: "k" value { string_value: "v" } }'
    )
    ((config, files),) = models.backends["python"].seen
    assert config == {
        "name": "m",
        "backend": "python",
        "max_batch_size": 2,
        "input": [{"name": "A", "data_type": "TYPE_FP32", "dims": [-1, 3]}],
        "dynamic_batching": {},
        "default_model_filename": "model.py",
        "parameters": {"k": {"string_value": "v"}},
    }
    assert files.path.name == "model.py"


def test_the_backend_completes(models: Models) -> None:
    models.backends["python"].completion = lambda config: {
        **config,
        "max_batch_size": 8,
        "dynamic_batching": {},
        "input": [{"name": "A", "data_type": "TYPE_STRING", "dims": [2]}],
        "output": [{"name": "B", "data_type": "TYPE_BF16", "dims": [-1]}],
    }
    models.write("m", None)
    made = models.config()
    assert made.max_batch_size == 8
    assert made.inputs == (TensorSpec("A", DataType.BYTES, (2,)),)
    assert made.outputs == (TensorSpec("B", DataType.BF16, (-1,)),)
    assert made.scheduling == DynamicBatching(
        preferred_sizes=(8,), default_policy=QueuePolicy(max_queue_size=10_000)
    )


def test_no_completion_when_switched_off(models: Models) -> None:
    models.write("m", PYTHON)
    models.config(auto_complete=False)
    assert models.backends["python"].seen == []


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"nope": 1}, "failed to read JSON from the completion by backend 'python': ModelConfig"),
        (None, "failed to read JSON from the completion by backend 'python': expected an object"),
        ({"name": "x", "backend": "python"}, "the completion by backend 'python' changes"),
        ({"name": "m"}, "the completion by backend 'python' changes"),
        (
            {"name": "m", "backend": "python", "max_batch_size": -2},
            "'max_batch_size' must be non-negative value for m",
        ),
        (
            {"name": "m", "backend": "python", "input": [{"name": "A"}]},
            "model input 'A' must specify 'data_type' for m",
        ),
    ],
)
def test_a_wrong_completion_is_the_versions_failure(models: Models, answer: Any, text: str) -> None:
    models.backends["python"].completion = lambda config: answer
    error = models.refused(PYTHON)
    assert isinstance(error, ConfigError)
    assert error.message.startswith(text)
    assert error.phase is ConfigPhase.LOAD


def test_a_completion_that_fails(models: Models) -> None:
    def fail(config: Any) -> Any:
        raise ValueError("no such input")

    models.backends["python"].completion = fail
    error = models.refused(PYTHON)
    assert isinstance(error, LoadError)
    assert error.code is Code.INTERNAL
    assert error.message == (
        "the completion by backend 'python' failed for model 'm': ValueError: no such input"
    )


def test_each_version_is_completed_on_its_own(models: Models) -> None:
    sizes = iter([2, 4])
    models.backends["python"].completion = lambda config: {**config, "max_batch_size": next(sizes)}
    models.write("m", "version_policy { all { } }", {"1/model.py": b"", "2/model.py": b""})
    found = [(v.version, v.config.max_batch_size) for v in models.source().versions]
    assert found == [("1", 2), ("2", 4)]
