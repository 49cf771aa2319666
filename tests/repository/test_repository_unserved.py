"""What StreamGate does not serve: refused, or ignored with a warning, never dropped silently."""

import pytest

from streamgate.errors import Code
from tests.repository.conftest import Models
from tests.repository.pieces import INPUT_A, PYTHON, START, control, group, tensor

UNSERVED = [
    (PYTHON + 'batch_input { target_name: "A" }', "inputs made from a batch are not served"),
    (PYTHON + 'batch_output { target_name: "A" }', "scattering by input shape is not served"),
    (PYTHON + 'model_repository_agents { agents { name: "checksum" } }', "repository agents"),
    (group("secondary_devices { }"), "secondary devices are not served"),
    (
        tensor(INPUT_A + "dims: 1 is_shape_tensor: true"),
        "shape tensors are only supported for TensorRT platform",
    ),
    (
        tensor(INPUT_A + "dims: 1 is_non_linear_format_io: true", "output"),
        "shape tensors are only supported for TensorRT platform",
    ),
]


@pytest.mark.parametrize(("config", "text"), UNSERVED)
def test_what_is_not_served_is_refused(models: Models, config: str, text: str) -> None:
    error = models.refused(config)
    assert text in error.message
    assert error.code is Code.UNSUPPORTED


IGNORED = [
    ("response_cache { enable: true }", "response_cache.enable"),
    ('model_warmup { name: "w" batch_size: 1 }', "model_warmup"),
    ("model_metrics { }", "model_metrics"),
    ('runtime: "libtriton_python.so"', "runtime"),
    ('cc_model_filenames { key: "8.6" value: "m.plan" }', "cc_model_filenames"),
    ("optimization { priority: PRIORITY_MAX }", "optimization.priority"),
    (
        "optimization { gather_kernel_buffer_threshold: 1 }",
        "optimization.gather_kernel_buffer_threshold",
    ),
    ("optimization { eager_batching: true }", "optimization.eager_batching"),
    ("instance_group { rate_limiter { priority: 1 } }", "instance_group.rate_limiter"),
    ('instance_group { profile: "0" }', "instance_group.profile"),
    ('instance_group { host_policy: "cpu" }', "instance_group.host_policy"),
    ("instance_group [ { passive: true }, { } ]", "instance_group.passive"),
]


@pytest.mark.parametrize(("config", "field"), IGNORED)
def test_what_is_ignored_is_logged(
    models: Models, caplog: pytest.LogCaptureFixture, config: str, field: str
) -> None:
    models.made(PYTHON + config)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"model 'm': '{field}' is ")


def test_a_plain_configuration_logs_nothing(
    models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    models.made(control(f"kind: {START} int32_false_true: [ 0, 1 ]"))
    assert caplog.records == []
