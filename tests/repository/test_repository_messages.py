"""Every reason for which a configuration is refused, with Triton's text where it has one."""

import re

import pytest

from streamgate.errors import Code, ConfigError, ConfigPhase
from tests.repository.conftest import ONE_VERSION, Models

POLL, LOAD = ConfigPhase.POLL, ConfigPhase.LOAD

PYTHON = 'backend: "python" '
BATCHED = PYTHON + "max_batch_size: 4 "
START = "CONTROL_SEQUENCE_START"
CORRID = "CONTROL_SEQUENCE_CORRID"


def dynamic(body: str) -> str:
    return BATCHED + "dynamic_batching { " + body + " }"


def sequence(body: str) -> str:
    return BATCHED + "sequence_batching { " + body + " }"


def control(body: str, name: str = "C") -> str:
    return sequence(f'control_input {{ name: "{name}" control {{ {body} }} }}')


def state(body: str, dims: str = "1", head: str = BATCHED) -> str:
    return (
        head + 'sequence_batching { state { input_name: "S" output_name: "T" '
        f"data_type: TYPE_FP32 dims: [ {dims} ] {body} }} }}"
    )


def initial(body: str, dims: str = "1", state_dims: str = "1") -> str:
    return state(
        f'initial_state {{ name: "z" data_type: TYPE_FP32 dims: [ {dims} ] {body} }}', state_dims
    )


def tensor(body: str, role: str = "input") -> str:
    return f"{PYTHON} {role} {{ {body} }}"


def group(body: str) -> str:
    return PYTHON + "instance_group { " + body + " }"


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }} '


INPUT_A = 'name: "A" data_type: TYPE_FP32 '
LISTS = "'int32_false_true', 'fp32_false_true' or 'bool_false_true'"

TRITON_TEXTS: list[tuple[str, ConfigPhase, str]] = [
    (
        PYTHON + 'name: "other"',
        POLL,
        "unexpected directory name 'm' for model 'other', directory name must equal model name",
    ),
    (
        "",
        POLL,
        (
            "Invalid model name: Could not determine backend for model 'm' with no backend in "
            "model configuration. Expected model name of the form 'model.<backend_name>'."
        ),
    ),
    (PYTHON + "max_batch_size: -1", POLL, "'max_batch_size' must be non-negative value for m"),
    (
        dynamic("preferred_batch_size: 0"),
        POLL,
        "dynamic batching preferred size must be positive for m",
    ),
    (
        dynamic("preferred_batch_size: [ 2, 5 ]"),
        POLL,
        "dynamic batching preferred size must be <= max batch size for m",
    ),
    (
        dynamic("priority_levels: 3"),
        POLL,
        "default priority level must be in range [1, 3] for m",
    ),
    (
        dynamic("priority_levels: 3 default_priority_level: 4"),
        POLL,
        "default priority level must be in range [1, 3] for m",
    ),
    (
        dynamic(
            "priority_levels: 2 default_priority_level: 1 "
            "priority_queue_policy { key: 3 value { } }"
        ),
        POLL,
        "priority queue policy must have priority level in range [1, 2] for m",
    ),
    (
        dynamic("priority_levels: 2 default_priority_level: 1 preserve_ordering: true"),
        POLL,
        "Only one priority level is allowed when 'preserve_ordering' is true for m",
    ),
    (
        dynamic(
            "preserve_ordering: true default_queue_policy "
            "{ timeout_action: DELAY default_timeout_microseconds: 5 }"
        ),
        POLL,
        "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for m",
    ),
    (
        sequence("") + " response_cache { enable: true }",
        POLL,
        (
            "Response Cache does not currently support model m with sequence batching scheduler. "
            "Please disable the response cache."
        ),
    ),
    (
        PYTHON + "model_transaction_policy { decoupled: true } response_cache { enable: true }",
        POLL,
        (
            "Response Cache does not currently support model m with 'decoupled' transaction "
            "policy. Please disable the response cache."
        ),
    ),
    (
        control(f"kind: {START} int32_false_true: [ 0, 1 ]", name=""),
        POLL,
        "sequence batching control tensor must have a name for m",
    ),
    (
        sequence(
            f'control_input [ {{ name: "A" control {{ kind: {START} int32_false_true: [0, 1] }} }},'
            f'{{ name: "B" control {{ kind: {START} int32_false_true: [0, 1] }} }} ]'
        ),
        POLL,
        f"sequence batching specifies multiple {START} tensors for m",
    ),
    (
        control(f"kind: {START}"),
        POLL,
        f"sequence batching must specify either {LISTS} for {START} for m",
    ),
    (
        control(f"kind: {START} int32_false_true: [ 0, 1 ] fp32_false_true: [ 0, 1 ]"),
        POLL,
        (
            "sequence batching specifies more than one from 'int32_false_true', 'fp32_false_true' "
            f"and 'bool_false_true' for {START} for m"
        ),
    ),
    (
        control(f"kind: {START} int32_false_true: [ 1 ]"),
        POLL,
        (
            "sequence batching control 'int32_false_true' must have exactly 2 entries for "
            f"{START} for m"
        ),
    ),
    (
        control(f"kind: {CORRID} data_type: TYPE_UINT64 bool_false_true: [ false, true ]"),
        POLL,
        f"sequence batching must not specify either {LISTS} for {CORRID} for m",
    ),
    (
        control(f"kind: {CORRID}"),
        POLL,
        (
            f"unexpected data type for control {CORRID} for m. Allowed data types are TYPE_UINT64, "
            "TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING"
        ),
    ),
    (
        control(f"kind: {CORRID} data_type: TYPE_FP32"),
        POLL,
        f"unexpected data type for control {CORRID} for m. Allowed data types are",
    ),
    (
        sequence("oldest { preferred_batch_size: -1 }"),
        POLL,
        "sequence batching preferred batch size must be positive for m",
    ),
    (
        sequence("oldest { preferred_batch_size: 5 }"),
        POLL,
        "sequence batching preferred batch size must be <= max batch size for m",
    ),
    (
        sequence("direct { minimum_slot_utilization: 1.5 }"),
        POLL,
        "sequence batching minimum slot utilization must be in range (0.0, 1.0] for m",
    ),
    (tensor(""), LOAD, "model input must specify 'name' for m"),
    (tensor('name: "A"'), LOAD, "model input 'A' must specify 'data_type' for m"),
    (tensor(INPUT_A), LOAD, "model input 'A' must specify 'dims' for m"),
    (tensor("", "output"), LOAD, "model output must specify 'name' for m"),
    (tensor('name: "A"', "output"), LOAD, "model output 'A' must specify 'data_type' for m"),
    (tensor(INPUT_A, "output"), LOAD, "model output 'A' must specify 'dims' for m"),
    (
        tensor(INPUT_A + "dims: [ 2, 0 ]"),
        LOAD,
        (
            "model input 'A' dimension must be integer >= 1, or -1 to indicate a variable-size "
            "dimension for m"
        ),
    ),
    (
        tensor(INPUT_A + "dims: -2", "output"),
        LOAD,
        (
            "model output 'A' dimension must be integer >= 1, or -1 to indicate a variable-size "
            "dimension for m"
        ),
    ),
    (
        tensor(INPUT_A + "dims: 4 reshape { shape: [ 3 ] }"),
        LOAD,
        "model input 'A' has different size for dims and reshape for m",
    ),
    (
        tensor(INPUT_A + "dims: [ 2, -1 ] reshape { shape: [ -1, 2 ] }"),
        LOAD,
        "model input 'A' has different size for dims and reshape for m",
    ),
    (
        tensor(INPUT_A + "dims: 4 format: FORMAT_NHWC"),
        LOAD,
        "model input NHWC/NCHW require 3 dims for m",
    ),
    (
        group('name: "g" kind: KIND_CPU gpus: 0'),
        LOAD,
        "instance group g of model m has kind KIND_CPU but specifies one or more GPUs",
    ),
    (
        group("kind: KIND_MODEL gpus: 0"),
        LOAD,
        "instance group m_0 of model m has kind KIND_MODEL but specifies one or more GPUs",
    ),
    (
        group('name: "g" kind: KIND_GPU'),
        LOAD,
        "instance group g of model m has kind KIND_GPU but no GPUs are available",
    ),
    (
        state(
            'initial_state { name: "a" data_type: TYPE_FP32 dims: 1 zero_data: true }'
            'initial_state { name: "b" data_type: TYPE_FP32 dims: 1 zero_data: true }'
        ),
        LOAD,
        (
            "initial_state field for state input 'S' must contain exactly one or zero element. "
            "Found '2' elements."
        ),
    ),
    (
        state("initial_state { data_type: TYPE_FP32 dims: 1 zero_data: true }"),
        LOAD,
        "Field 'name' must be set when using initial_state for state input 'S'.",
    ),
    (
        state('initial_state { name: "z" data_type: TYPE_INT32 dims: 1 zero_data: true }'),
        LOAD,
        (
            "The data type used for 'initial_state' field of state 'S' does not match the state "
            "data type."
        ),
    ),
    (
        initial("zero_data: true", dims="1", state_dims="1, 2"),
        LOAD,
        (
            "Number of dimensions in 'initial_state' doesn't match the size of 'state' dimensions "
            "for state input 'S'. 1 != 2"
        ),
    ),
    (
        initial("zero_data: true", dims="-1", state_dims="-1"),
        LOAD,
        "'initial_state' field for state input name 'S' contains variable dimensions.",
    ),
    (
        # Triton 2.51 dies of this one.
        initial("zero_data: true", dims="2", state_dims="1"),
        LOAD,
        "'initial_state' dim for input name 'S' doesn't match 'state' dim description. 2 != 1",
    ),
    (initial(""), LOAD, "initial_state setting expects state'S' to have state_data set"),
]


@pytest.mark.parametrize(("config", "phase", "text"), TRITON_TEXTS)
def test_triton_text(models: Models, config: str, phase: ConfigPhase, text: str) -> None:
    error = models.refused(config, {**ONE_VERSION, "1/model.txt": b""} if config else {"1/x": b""})
    assert isinstance(error, ConfigError)
    assert error.message.startswith(text)
    assert error.phase is phase
    assert error.code is Code.INVALID_ARG
    # What Triton leaves out: field, found, expected and the file.
    assert re.search(r" \([\w.\[\]']+: found .+, expected .+\) \[.*config\.pbtxt\]$", error.message)


OWN_TEXTS: list[tuple[str, str]] = [
    (
        tensor(INPUT_A + "dims: 1") + " input { " + INPUT_A + "dims: 2 }",
        "model m reads two tensors called 'A' (input[1]: found 'A', which is also input[0]",
    ),
    (
        tensor(INPUT_A + "dims: 1")
        + f' sequence_batching {{ control_input {{ name: "A" control {{ kind: {START} '
        "int32_false_true: [ 0, 1 ] } } }",
        "model m reads two tensors called 'A' (sequence_batching.control_input[0]",
    ),
    (
        sequence(
            f'control_input {{ name: "A" control [ {{ kind: {START} int32_false_true: [ 0, 1 ] }}, '
            "{ kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] }"
        ),
        "model m reads two tensors called 'A'",
    ),
    (
        tensor(INPUT_A + "dims: 1", "output") + " output { " + INPUT_A + "dims: 2 }",
        "model m writes two tensors called 'A'",
    ),
    (
        sequence('control_input { name: "A" }'),
        "sequence batching control tensor 'A' of m has no 'control'",
    ),
    (
        sequence('state { output_name: "T" data_type: TYPE_FP32 dims: 1 }'),
        "sequence batching state must specify 'input_name' for m",
    ),
    (
        sequence('state { input_name: "S" data_type: TYPE_FP32 dims: 1 }'),
        "sequence batching state must specify 'output_name' for m",
    ),
    (
        sequence('state { input_name: "S" output_name: "T" dims: 1 }'),
        "sequence batching state 'S' must specify 'data_type' for m",
    ),
    (state("", dims=""), "sequence batching state 'S' must specify 'dims' for m"),
    (state("", dims="0"), "sequence batching state 'S' dimension must be integer >= 1, or -1"),
    (
        initial("zero_data: true", dims="0", state_dims="-1"),
        "'initial_state' dimension must be integer >= 1",
    ),
    (
        state("use_growable_memory: true"),
        (
            "state input 'S' of m can't use growable memory (sequence_batching.state[0]."
            "use_growable_memory: found true, expected use_same_buffer_for_input_output: true"
        ),
    ),
    (
        state("use_growable_memory: true use_same_buffer_for_input_output: true"),
        (
            "state input 'S' of m can't use growable memory (sequence_batching.state[0]."
            "use_growable_memory: found true, expected false, or instances of KIND_GPU only"
        ),
    ),
    (
        tensor(INPUT_A + "dims: 4 reshape { shape: [ 4, 0 ] }"),
        "model input 'A' reshape dimension must be integer >= 1",
    ),
    (group("passive: true"), "model m has passive instances only"),
    (
        PYTHON + 'default_model_filename: "../../secret.py"',
        "default_model_filename: '../../secret.py' is no path inside",
    ),
    (
        tensor(INPUT_A + 'dims: 1 label_filename: "../labels.txt"', "output"),
        "output[0].label_filename: '../labels.txt' is no path inside",
    ),
    (initial('data_file: "/etc/passwd"'), "data_file of the initial_state of state 'S'"),
    (
        parameter("streamgate.state_batch_axes.S", "1") + state(""),
        (
            "model m has an unknown parameter 'streamgate.state_batch_axes.S'; did you mean "
            "'streamgate.state_batch_axis.S'?"
        ),
    ),
    (
        parameter("streamgate.state_batch_axis.s", "1") + state(""),
        (
            "parameter 'streamgate.state_batch_axis.s' of model m names no state: found 's', "
            "expected the input_name of a sequence_batching.state; expected one of S"
        ),
    ),
    (
        parameter("streamgate.state_batch_axis.s", "1") + PYTHON,
        (
            "parameter 'streamgate.state_batch_axis.s' of model m names no state: found 's', "
            "expected the input_name of a sequence_batching.state; the model declares no state"
        ),
    ),
    (
        parameter("streamgate.state_batch_axis.S", "2") + state(""),
        (
            "parameter 'streamgate.state_batch_axis.S' of model m is wrong "
            "(parameters['streamgate.state_batch_axis.S'].string_value: found '2', expected an "
            "integer from 0 to 1 (the state has 1 dims))"
        ),
    ),
    (
        parameter("streamgate.state_batch_axis.S", "1") + state("", head=PYTHON),
        "parameter 'streamgate.state_batch_axis.S' of model m is wrong",
    ),
    (
        parameter("streamgate.state_initial_value.S", "minus one") + state(""),
        (
            "parameter 'streamgate.state_initial_value.S' of model m is wrong "
            "(parameters['streamgate.state_initial_value.S'].string_value: found 'minus one', "
            "expected a number)"
        ),
    ),
    (
        parameter("streamgate.state_initial_value.S", "1") + initial("zero_data: true"),
        "parameter 'streamgate.state_initial_value.S' of model m is wrong",
    ),
    (
        parameter("streamgate.state_initial_value.S", "0.5")
        + state("").replace("TYPE_FP32", "TYPE_INT8"),
        "parameter 'streamgate.state_initial_value.S' of model m is wrong",
    ),
    (
        parameter("streamgate.state_initial_value.S", "300")
        + state("").replace("TYPE_FP32", "TYPE_UINT8"),
        "parameter 'streamgate.state_initial_value.S' of model m is wrong",
    ),
    (
        parameter("streamgate.state_initial_value.S", "2")
        + state("").replace("TYPE_FP32", "TYPE_BOOL"),
        "parameter 'streamgate.state_initial_value.S' of model m is wrong",
    ),
    (
        parameter("streamgate.state_initial_value.S", "1")
        + state("").replace("TYPE_FP32", "TYPE_STRING"),
        "parameter 'streamgate.state_initial_value.S' of model m is wrong",
    ),
    (
        parameter("streamgate.state_initial_value.S", "70000")
        + state("").replace("TYPE_FP32", "TYPE_FP16"),
        "parameter 'streamgate.state_initial_value.S' of model m is wrong",
    ),
    (
        parameter("streamgate.max_backlog_sequences", "-1") + sequence(""),
        "parameter 'streamgate.max_backlog_sequences' of model m is wrong",
    ),
    (
        parameter("streamgate.max_pending_requests", "many") + sequence(""),
        "parameter 'streamgate.max_pending_requests' of model m is wrong",
    ),
    (
        parameter("streamgate.max_pending_requests", "1") + PYTHON,
        "parameter 'streamgate.max_pending_requests' of model m is wrong",
    ),
]


@pytest.mark.parametrize(("config", "text"), OWN_TEXTS)
def test_own_text(models: Models, config: str, text: str) -> None:
    error = models.refused(config)
    assert isinstance(error, ConfigError)
    assert error.message.startswith(text)
    assert error.message.endswith("/m/config.pbtxt]")
    assert error.phase is LOAD


UNSERVED = [
    ('platform: "ensemble" ensemble_scheduling { }', "ensembles are not served yet"),
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
