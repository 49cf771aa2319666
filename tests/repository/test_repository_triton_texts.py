"""Every reason for which Triton refuses a configuration, in Triton's words and in its phase."""

import re

import pytest

from streamgate.errors import Code, ConfigError, ConfigPhase
from tests.repository.conftest import ONE_VERSION, Models
from tests.repository.pieces import (
    CORRID,
    INPUT_A,
    LISTS,
    PYTHON,
    START,
    control,
    dynamic,
    group,
    initial,
    sequence,
    state,
    tensor,
)

POLL, LOAD = ConfigPhase.POLL, ConfigPhase.LOAD

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
