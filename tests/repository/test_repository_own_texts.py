"""What is refused beyond Triton's checks: ambiguous names, paths, states, our own parameters."""

import pytest

from streamgate.errors import ConfigError, ConfigPhase
from tests.repository.conftest import Models
from tests.repository.pieces import (
    INPUT_A,
    PYTHON,
    START,
    group,
    initial,
    parameter,
    sequence,
    state,
    tensor,
)


def wrong(name: str, found: str, expected: str) -> str:
    return (
        f"parameter '{name}' of model m is wrong (parameters['{name}'].string_value: found "
        f"'{found}', expected {expected}"
    )


SCALAR = "streamgate.state_scalar.S"
SCALAR_ONLY = "no such parameter unless the state is of numbers and has dims [1], found "

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
        initial("zero_data: true", dims="-2", state_dims="-1"),
        "'initial_state' dim for input name 'S' doesn't match 'state' dim description. -2 != -1",
    ),
    (
        state("use_growable_memory: true"),
        (
            "state input 'S' of m can't use growable memory (sequence_batching.state[0]."
            "use_growable_memory: found true, expected use_same_buffer_for_input_output: true"
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
        parameter(SCALAR, "yes") + state(""),
        wrong(SCALAR, "yes", "'true' or 'false'"),
    ),
    (
        parameter(SCALAR, "true") + state("", dims="2"),
        wrong(SCALAR, "true", SCALAR_ONLY + "TYPE_FP32 and [2]"),
    ),
    (
        parameter(SCALAR, "true") + state("").replace("TYPE_FP32", "TYPE_STRING"),
        wrong(SCALAR, "true", SCALAR_ONLY + "TYPE_STRING and [1]"),
    ),
    (
        parameter(SCALAR, "true") + parameter("streamgate.state_batch_axis.S", "1") + state(""),
        wrong(SCALAR, "true", "no 'streamgate.state_batch_axis.S' beside it: there is one"),
    ),
    (
        parameter("streamgate.complete_states", "a=b") + state(""),
        wrong("streamgate.complete_states", "a=b", "no such parameter unless the backend is"),
    ),
    (
        parameter("streamgate.python_class", "") + state(""),
        wrong("streamgate.python_class", "", "a text"),
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
        parameter("streamgate.pace_ms", "often") + sequence(""),
        wrong("streamgate.pace_ms", "often", "a number of milliseconds from 0.001 to 3600000, or"),
    ),
    (
        parameter("streamgate.pace_ms", "nan") + sequence(""),
        wrong("streamgate.pace_ms", "nan", "a number of milliseconds"),
    ),
    (
        parameter("streamgate.pace_ms", "0") + sequence(""),
        wrong("streamgate.pace_ms", "0", "a number of milliseconds"),
    ),
    (
        parameter("streamgate.pace_ms", "chunk") + sequence(""),
        wrong("streamgate.pace_ms", "chunk", "a number of milliseconds: the model has no AUDIO"),
    ),
    (
        parameter("streamgate.pace_ms", "5")
        + sequence("direct { max_queue_delay_microseconds: 5000 }"),
        wrong("streamgate.pace_ms", "5", "more than max_queue_delay_microseconds, which is 5000"),
    ),
    (
        parameter("streamgate.pace_ms", "5") + sequence("iterative_sequence: true"),
        wrong("streamgate.pace_ms", "5", "no such parameter beside iterative_sequence"),
    ),
    (
        parameter("streamgate.pace_ms", "5") + PYTHON,
        wrong("streamgate.pace_ms", "5", "no such parameter without sequence_batching"),
    ),
    (
        parameter("streamgate.max_streams", "-1") + sequence(""),
        wrong("streamgate.max_streams", "-1", "an integer from 0 to 2147483647"),
    ),
    (
        parameter("streamgate.max_streams", "5") + PYTHON,
        wrong("streamgate.max_streams", "5", "no such parameter for a model without sequences"),
    ),
    (
        parameter("streamgate.deadline_ms", "0") + PYTHON,
        wrong("streamgate.deadline_ms", "0", "a number of milliseconds from 0.001 to 3600000"),
    ),
    (
        parameter("streamgate.deadline_ms", "soon") + sequence(""),
        wrong("streamgate.deadline_ms", "soon", "a number of milliseconds"),
    ),
    (
        parameter("streamgate.max_pending_requests", "many") + sequence(""),
        "parameter 'streamgate.max_pending_requests' of model m is wrong",
    ),
    (
        parameter("streamgate.state_initial_value.S", "9" * 400)
        + state("").replace("TYPE_FP32", "TYPE_INT64"),
        "parameter 'streamgate.state_initial_value.S' of model m is wrong",
    ),
    (
        parameter("streamgate.state_canary", "yes") + state(""),
        (
            "parameter 'streamgate.state_canary' of model m is wrong "
            "(parameters['streamgate.state_canary'].string_value: found 'yes', expected 'true' or "
            "'false')"
        ),
    ),
    (
        parameter("streamgate.state_canary", "true") + sequence(""),
        "parameter 'streamgate.state_canary' of model m is wrong",
    ),
    (
        parameter("streamgate.end_reason_control", "WHY") + PYTHON,
        "parameter 'streamgate.end_reason_control' of model m is wrong",
    ),
    (
        parameter("streamgate.end_reason_control", "") + sequence(""),
        (
            "parameter 'streamgate.end_reason_control' of model m is wrong "
            "(parameters['streamgate.end_reason_control'].string_value: found '', expected the "
            "name of an input of the model)"
        ),
    ),
    (
        parameter("streamgate.end_reason_control", "S") + state(""),
        "model m reads two tensors called 'S' (sequence_batching.state[0]",
    ),
    (
        parameter("streamgate.max_sequence_lifetime_seconds", "-1") + sequence(""),
        (
            "parameter 'streamgate.max_sequence_lifetime_seconds' of model m is wrong "
            "(parameters['streamgate.max_sequence_lifetime_seconds'].string_value: found '-1', "
            "expected a number of seconds from 0 to 1000000000)"
        ),
    ),
    (
        parameter("streamgate.max_sequence_lifetime_seconds", "nan") + sequence(""),
        "parameter 'streamgate.max_sequence_lifetime_seconds' of model m is wrong",
    ),
    (
        parameter("streamgate.max_sequence_lifetime_seconds", "60") + PYTHON,
        (
            "parameter 'streamgate.max_sequence_lifetime_seconds' of model m is wrong "
            "(parameters['streamgate.max_sequence_lifetime_seconds'].string_value: found '60', "
            "expected no such parameter without sequence_batching)"
        ),
    ),
    (
        parameter("streamgate.idle_warning_seconds", "2")
        + sequence("max_sequence_idle_microseconds: 2000000"),
        (
            "parameter 'streamgate.idle_warning_seconds' of model m is wrong "
            "(parameters['streamgate.idle_warning_seconds'].string_value: found '2', expected "
            "less than max_sequence_idle_microseconds, which is 2000000)"
        ),
    ),
    (
        parameter("streamgate.idle_warning_seconds", "soon") + sequence(""),
        "parameter 'streamgate.idle_warning_seconds' of model m is wrong",
    ),
    (
        parameter("streamgate.end_sequence_on_error", "yes") + sequence(""),
        (
            "parameter 'streamgate.end_sequence_on_error' of model m is wrong "
            "(parameters['streamgate.end_sequence_on_error'].string_value: found 'yes', expected "
            "'true' or 'false')"
        ),
    ),
    (
        parameter("streamgate.max_backlog_sequences", "1") + PYTHON,
        "parameter 'streamgate.max_backlog_sequences' of model m is wrong",
    ),
]


@pytest.mark.parametrize(("config", "text"), OWN_TEXTS)
def test_own_text(models: Models, config: str, text: str) -> None:
    error = models.refused(config)
    assert isinstance(error, ConfigError)
    assert error.message.startswith(text)
    assert error.message.endswith("/m/config.pbtxt]")
    assert error.phase is ConfigPhase.LOAD
