"""From configuration text to the value that the rest of the house uses."""

import json
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import Code, ConfigError, EndReason, StreamGateError
from streamgate.model.config import (
    Accelerator,
    ControlInput,
    ControlKind,
    DefaultScheduling,
    DirectStrategy,
    DynamicBatching,
    Instance,
    InstanceKind,
    OldestStrategy,
    QueuePolicy,
    SequenceBatching,
    StateSpec,
    TimeoutAction,
)
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import TensorSpec, pack_bytes
from tests.repository.conftest import ONE_VERSION, FakeBackend, Models

PYTHON = 'backend: "python" '
BATCHED = PYTHON + "max_batch_size: 4 "
STATE = 'state { input_name: "S" output_name: "T" data_type: TYPE_FP32 '
OUR_LIMIT = QueuePolicy(max_queue_size=10_000)
"""Where Triton has no limit, we have one."""


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }} '


def test_tensors(models: Models) -> None:
    made = models.made(
        PYTHON + "input ["
        ' { name: "A" data_type: TYPE_FP32 dims: [ -1, 4 ] optional: true allow_ragged_batch: true '
        "   reshape { shape: [ -1, 2, 2 ] } },"
        ' { name: "B" data_type: TYPE_STRING dims: 1 reshape { shape: [ ] } } ]'
        'output { name: "A" data_type: TYPE_INT64 dims: 3 label_filename: "names.txt" }',
        {**ONE_VERSION, "names.txt": "ja\nnein\r\nweiß nicht\n".encode()},
    )
    assert made.inputs == (
        TensorSpec("A", DataType.FP32, (-1, 4), optional=True, ragged=True, reshape=(-1, 2, 2)),
        TensorSpec("B", DataType.BYTES, (1,), reshape=()),
    )
    assert made.outputs == (
        TensorSpec("A", DataType.INT64, (3,), labels=("ja", "nein", "weiß nicht")),
    )
    assert made.scheduling == DefaultScheduling(OUR_LIMIT)
    assert not made.decoupled


def test_missing_and_unreadable_labels(models: Models) -> None:
    config = PYTHON + 'output { name: "A" data_type: TYPE_FP32 dims: 1 label_filename: "l.txt" }'
    error = models.refused(config)
    assert error.code is Code.INTERNAL
    assert error.message.startswith(
        f"failed to open text file for read {models.directory}/m/l.txt: No such file or directory"
    )
    error = models.refused(config, {"l.txt": b"ok\n\xff"})
    assert "l.txt is not UTF-8 at byte 3" in error.message


def test_dynamic_batching(models: Models) -> None:
    made = models.made(
        PYTHON + "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 8, 2, 8 ] "
        "max_queue_delay_microseconds: 1500 priority_levels: 3 default_priority_level: 2 "
        "default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 7 } "
        "priority_queue_policy { key: 1 value { allow_timeout_override: true max_queue_size: 5 } } "
        "} model_transaction_policy { decoupled: true }"
    )
    assert made.scheduling == DynamicBatching(
        preferred_sizes=(2, 8),
        max_delay_ns=1_500_000,
        priority_levels=3,
        default_priority=2,
        default_policy=QueuePolicy(
            TimeoutAction.DELAY, default_timeout_ns=7000, max_queue_size=10_000
        ),
        policies={1: QueuePolicy(allow_timeout_override=True, max_queue_size=5)},
    )
    assert made.decoupled


def test_ordering_with_a_delay_that_never_comes_is_fine(models: Models) -> None:
    made = models.made(
        BATCHED + "dynamic_batching { preserve_ordering: true "
        "default_queue_policy { timeout_action: DELAY } }"
    )
    assert isinstance(made.scheduling, DynamicBatching)
    assert made.scheduling.preserve_ordering


def test_dynamic_batching_without_batches(models: Models) -> None:
    assert models.made(PYTHON + "dynamic_batching { }").scheduling == DynamicBatching(
        default_policy=OUR_LIMIT
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (BATCHED + "sequence_batching { }", SequenceBatching(DirectStrategy(), slots=4)),
        (PYTHON + "sequence_batching { }", SequenceBatching(DirectStrategy(), slots=1)),
        (
            BATCHED + "sequence_batching { max_sequence_idle_microseconds: 5 direct { "
            "max_queue_delay_microseconds: 3 minimum_slot_utilization: 0.5 } }",
            SequenceBatching(DirectStrategy(3000, 0.5), slots=4, max_idle_ns=5000),
        ),
        (
            BATCHED + "sequence_batching { iterative_sequence: true oldest { } }",
            SequenceBatching(OldestStrategy(4, preferred_sizes=(4,)), slots=4, iterative=True),
        ),
        (
            BATCHED + "sequence_batching { oldest { max_candidate_sequences: 9 "
            "preferred_batch_size: [ 3, 2 ] max_queue_delay_microseconds: 1 "
            "preserve_ordering: true } }",
            SequenceBatching(OldestStrategy(9, (2, 3), 1000, preserve_ordering=True), slots=9),
        ),
        (
            PYTHON + "sequence_batching { oldest { max_candidate_sequences: -3 } }",
            SequenceBatching(OldestStrategy(1), slots=1),
        ),
        (
            parameter("streamgate.max_backlog_sequences", "0")
            + parameter("streamgate.max_pending_requests", "3")
            + PYTHON
            + "sequence_batching { }",
            SequenceBatching(DirectStrategy(), slots=1, max_backlog=0, max_pending=3),
        ),
        (
            parameter("streamgate.pace_ms", "12.5") + PYTHON + "sequence_batching { }",
            SequenceBatching(DirectStrategy(), slots=1, pace_ns=12_500_000),
        ),
        (
            parameter("streamgate.pace_ms", "chunk") + PYTHON + "sequence_batching { }"
            'input { name: "AUDIO" data_type: TYPE_FP32 dims: 1280 }',
            SequenceBatching(DirectStrategy(), slots=1, pace_ns=80_000_000),
        ),
        (
            parameter("streamgate.pace_ms", "chunk")
            + parameter("streamgate.speech.sample_rate", "8000")
            + PYTHON
            + "sequence_batching { }"
            + 'input { name: "AUDIO" data_type: TYPE_FP32 dims: -1 }',
            SequenceBatching(DirectStrategy(), slots=1, pace_ns=160_000_000),
        ),
        (
            parameter("streamgate.pace_ms", "chunk")
            + parameter("streamgate.speech.chunk_samples", "4000")
            + PYTHON
            + "sequence_batching { }"
            + 'input { name: "AUDIO" data_type: TYPE_FP32 dims: -1 }',
            SequenceBatching(DirectStrategy(), slots=1, pace_ns=250_000_000),
        ),
        (
            parameter("streamgate.max_sequence_lifetime_seconds", "3600")
            + parameter("streamgate.idle_warning_seconds", "0.5")
            + parameter("streamgate.end_sequence_on_error", "true")
            + PYTHON
            + "sequence_batching { }",
            SequenceBatching(
                DirectStrategy(),
                slots=1,
                max_lifetime_ns=3_600_000_000_000,
                idle_warning_ns=500_000_000,
                end_on_error=True,
            ),
        ),
    ],
)
def test_sequence_batching(models: Models, config: str, expected: SequenceBatching) -> None:
    assert models.made(config).scheduling == expected


def test_controls(models: Models) -> None:
    made = models.made(
        BATCHED + "sequence_batching { control_input ["
        ' { name: "A" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ -1, 7 ] } },'
        ' { name: "B" control { kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0.5, 1 ] } },'
        ' { name: "C" control { kind: CONTROL_SEQUENCE_READY bool_false_true: [ true, false ] } },'
        ' { name: "D" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } } ] }'
    )
    assert made.controls == (
        ControlInput("A", ControlKind.START, DataType.INT32, -1, 7),
        ControlInput("B", ControlKind.END, DataType.FP32, 0.5, 1.0),
        ControlInput("C", ControlKind.READY, DataType.BOOL, True, False),
        ControlInput("D", ControlKind.CORRID, DataType.BYTES),
    )
    assert made.inputs == ()


@pytest.mark.parametrize(
    "datatype", [DataType.UINT64, DataType.INT64, DataType.UINT32, DataType.INT32, DataType.BYTES]
)
def test_correlation_types(models: Models, datatype: DataType) -> None:
    made = models.made(
        BATCHED + 'sequence_batching { control_input { name: "C" control { '
        f"kind: CONTROL_SEQUENCE_CORRID data_type: {datatype.config_name} }} }} }}"
    )
    assert made.controls == (ControlInput("C", ControlKind.CORRID, datatype),)


def test_the_control_that_says_how_a_sequence_ended(models: Models) -> None:
    made = models.made(
        parameter("streamgate.end_reason_control", "WHY") + BATCHED + "sequence_batching { }"
    )
    assert made.controls == (
        ControlInput("WHY", ControlKind.END_REASON, DataType.INT32, 0, EndReason.CLIENT_END.code),
    )


def test_a_fill_beyond_all_numbers_is_infinite(models: Models) -> None:
    config = BATCHED + "sequence_batching { " + STATE + "dims: 1 } }"
    made = models.made(parameter("streamgate.state_initial_value.S", "9" * 400) + config)
    assert made.states[0].initial_value == float("inf")


def test_the_canary(models: Models) -> None:
    config = BATCHED + "sequence_batching { " + STATE + "dims: 1 } }"
    for text in ("true", "false"):
        made = models.made(parameter("streamgate.state_canary", text) + config)
        assert made.sequences is not None
        assert made.sequences.state_canary == (text == "true")


def test_whole_numbers_of_64_bits_are_exact(models: Models) -> None:
    made = models.made(
        parameter("streamgate.state_initial_value.S", "18446744073709551615")
        + BATCHED
        + "sequence_batching { "
        + STATE.replace("TYPE_FP32", "TYPE_UINT64")
        + "dims: 1 } }"
    )
    assert made.states[0].initial_value == 2**64 - 1


def test_states(models: Models) -> None:
    data = np.arange(6, dtype=np.float32).tobytes()
    made = models.made(
        parameter("streamgate.state_batch_axis.S", "1")
        + parameter("streamgate.state_initial_value.N", "-1")
        + parameter("mine", "yes")
        + BATCHED
        + "sequence_batching { "
        + STATE
        + "dims: [ 2, -1 ] use_same_buffer_for_input_output: true initial_state { "
        'name: "i" data_type: TYPE_FP32 dims: [ 2, 3 ] data_file: "s.bin" } } '
        'state { input_name: "N" output_name: "M" data_type: TYPE_INT64 dims: 1 } '
        'state { input_name: "Z" output_name: "Y" data_type: TYPE_BOOL dims: -1 initial_state { '
        'name: "i" data_type: TYPE_BOOL dims: 5 zero_data: true } } }',
        {**ONE_VERSION, "initial_state/s.bin": data},
    )
    assert made.states == (
        StateSpec(
            "S",
            "T",
            DataType.FP32,
            (2, -1),
            batch_axis=1,
            initial_bytes=data,
            initial_shape=(2, 3),
            same_buffer=True,
        ),
        StateSpec("N", "M", DataType.INT64, (1,), initial_value=-1.0),
        StateSpec("Z", "Y", DataType.BOOL, (-1,), initial_shape=(5,)),
    )
    assert made.parameters["mine"] == "yes"
    assert made.inputs == made.outputs == ()


def test_a_state_may_be_watched_as_an_output(models: Models) -> None:
    made = models.made(
        BATCHED + 'output { name: "T" data_type: TYPE_FP32 dims: 1 } '
        "sequence_batching { " + STATE + "dims: 1 } }"
    )
    assert [spec.name for spec in made.outputs] == ["T"]
    assert [state.output_name for state in made.states] == ["T"]


def initial_file(datatype: str = "TYPE_FP32") -> str:
    return (
        BATCHED + f'sequence_batching {{ state {{ input_name: "S" output_name: "T" '
        f"data_type: {datatype} dims: 2 initial_state {{ name: "
        f'"i" data_type: {datatype} dims: 2 data_file: "s.bin" }} }} }}'
    )


@pytest.mark.parametrize("size", [0, 7, 9, 16])
def test_an_initial_state_of_the_wrong_size(models: Models, size: int) -> None:
    files = {**ONE_VERSION, "initial_state/s.bin": bytes(size)}
    error = models.refused(initial_file(), files)
    assert error.message.startswith(
        f"initial_state setting expects 8 bytes, but the data provided from s.binonly has {size} "
        "bytes."
    )
    assert "expected [2] of TYPE_FP32" in error.message


def test_a_missing_initial_state(models: Models) -> None:
    error = models.refused(initial_file())
    assert error.code is Code.INTERNAL
    assert error.message.startswith(
        f"failed to open text file for read {models.directory}/m/initial_state/s.bin: "
        "No such file or directory"
    )


def test_an_initial_state_of_strings(models: Models) -> None:
    data = pack_bytes([b"one", b""])
    files = {**ONE_VERSION, "initial_state/s.bin": data}
    assert models.made(initial_file("TYPE_STRING"), files).states[0].initial_bytes == data
    files["initial_state/s.bin"] = pack_bytes([b"one"])
    error = models.refused(initial_file("TYPE_STRING"), files)
    assert isinstance(error, ConfigError)
    assert "expected 2 string elements for inference input 'S', got 1" in error.message


CPU, GPU, MODEL = InstanceKind.CPU, InstanceKind.GPU, InstanceKind.MODEL


@pytest.mark.parametrize(
    ("groups", "gpus", "expected"),
    [
        ("", 0, [("m_0", CPU, 0)]),
        ("", 2, [("m_0", GPU, 0), ("m_1", GPU, 1)]),
        ("{ }", 0, [("m_0_0", CPU, 0)]),
        ("{ count: 2 }", 0, [("m_0_0", CPU, 0), ("m_0_1", CPU, 0)]),
        ("{ count: -1 }", 0, [("m_0_0", CPU, 0)]),
        (
            '{ kind: KIND_CPU }, { name: "g" kind: KIND_MODEL count: 2 }, { }',
            0,
            [("m_0_0", CPU, 0), ("g_0", MODEL, 0), ("g_1", MODEL, 0), ("m_2_0", CPU, 0)],
        ),
        ('{ name: "g" }, { name: "g" }', 0, [("g_0", CPU, 0), ("g_1", CPU, 0)]),
        ("{ kind: KIND_CPU }", 2, [("m_0_0", CPU, 0)]),
        ("{ kind: KIND_GPU gpus: 1 count: 2 }", 2, [("m_0_0", GPU, 1), ("m_0_1", GPU, 1)]),
        ("{ gpus: [ 0, 1 ] }", 2, [("m_0_0", GPU, 0), ("m_0_1", GPU, 1)]),
        ("{ passive: true count: 3 }, { }", 0, [("m_1_0", CPU, 0)]),
    ],
)
def test_instances(
    models: Models, groups: str, gpus: int, expected: list[tuple[str, InstanceKind, int]]
) -> None:
    models.write("m", PYTHON + (f"instance_group [ {groups} ]" if groups else ""))
    made = models.config(gpu_count=gpus)
    assert made.instances == tuple(Instance(*instance) for instance in expected)


class CpuOnly(FakeBackend):
    def can_use_gpu(self) -> bool:
        return False


@pytest.mark.parametrize("groups", ["", "instance_group { kind: KIND_AUTO }"])
def test_a_backend_that_can_not_use_the_gpu(models: Models, groups: str) -> None:
    models.backends["python"] = CpuOnly("model.py")
    models.write("m", PYTHON + groups)
    assert [instance.kind for instance in models.config(gpu_count=2).instances] == [CPU]


def test_a_gpu_that_is_not_there(models: Models) -> None:
    models.write("m", PYTHON + 'instance_group { name: "g" kind: KIND_GPU gpus: [ 0, 7 ] }')
    failure = models.source(gpu_count=2).failures["1"]
    assert failure.message.startswith(
        "instance group g of model m specifies invalid or unsupported gpu id 7. GPUs with at least "
        "the minimum required CUDA compute compatibility of 6.000000 are: 0, 1"
    )


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_growable_state_wherever_it_is(models: Models, gpus: int) -> None:
    models.write(
        "m",
        BATCHED + "sequence_batching { " + STATE + "dims: 1 use_growable_memory: true "
        "use_same_buffer_for_input_output: true } }",
    )
    (state,) = models.config(gpu_count=gpus).states
    assert (state.growable, state.same_buffer) == (True, True)


def test_accelerators_and_tags(models: Models) -> None:
    made = models.made(
        PYTHON + "optimization { execution_accelerators { "
        'gpu_execution_accelerator { name: "tensorrt" parameters { key: "p" value: "FP16" } } '
        'cpu_execution_accelerator { name: "openvino" } } } '
        'metric_tags { key: "team" value: "speech" }'
    )
    assert made.gpu_accelerators == (Accelerator("tensorrt", {"p": "FP16"}),)
    assert made.cpu_accelerators == (Accelerator("openvino", {}),)
    assert made.metric_tags == {"team": "speech"}


def test_the_wire_form_is_the_completed_configuration(models: Models) -> None:
    made = models.made(BATCHED + "sequence_batching { }")
    expected = text_format.Parse(
        'name: "m" backend: "python" max_batch_size: 4 default_model_filename: "model.py" '
        "version_policy { latest { num_versions: 1 } } "
        "sequence_batching { max_sequence_idle_microseconds: 1000000 } "
        'instance_group { name: "m" count: 1 kind: KIND_CPU } '
        "optimization { input_pinned_memory { enable: true } "
        "output_pinned_memory { enable: true } }",
        pb.ModelConfig(),
    )
    assert pb.ModelConfig.FromString(made.wire) == expected


def rendered(models: Models, config: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(models.made(config).json)
    return result


def test_json_numbers(models: Models) -> None:
    found = rendered(
        models,
        BATCHED
        + "sequence_batching { direct { minimum_slot_utilization: 0.1 } "
        + STATE
        + 'dims: 3 initial_state { name: "i" data_type: TYPE_FP32 dims: 3 zero_data: true } } }'
        'input { name: "A" data_type: TYPE_FP32 dims: [ -1, 3 ] reshape { shape: [ -1, 3 ] } }',
    )
    assert found["input"][0]["dims"] == [-1, 3]
    assert found["input"][0]["reshape"] == {"shape": [-1, 3]}
    batching = found["sequence_batching"]
    assert batching["direct"] == {
        "max_queue_delay_microseconds": 0,
        "minimum_slot_utilization": 0.1,
    }
    assert batching["max_sequence_idle_microseconds"] == 1_000_000
    # Triton leaves strings here.
    assert batching["state"][0]["initial_state"][0]["dims"] == [3]
    assert batching["state"][0]["initial_state"][0]["zero_data"] is True


def test_json_of_an_absent_strategy(models: Models) -> None:
    assert list(rendered(models, BATCHED + "sequence_batching { }")["sequence_batching"]) == [
        "max_sequence_idle_microseconds",
        "control_input",
        "state",
        "iterative_sequence",
    ]


def test_json_of_priorities_and_maps(models: Models) -> None:
    found = rendered(
        models,
        BATCHED + "dynamic_batching { priority_levels: 2 default_priority_level: 1 "
        "priority_queue_policy { key: 2 value { default_timeout_microseconds: 9 } } } "
        'parameters { key: "é" value { string_value: "ü" } }',
    )
    assert found["dynamic_batching"]["priority_queue_policy"] == {
        "2": {
            "timeout_action": "REJECT",
            "default_timeout_microseconds": 9,
            "allow_timeout_override": False,
            "max_queue_size": 0,
        }
    }
    assert found["parameters"] == {"é": {"string_value": "ü"}}


def test_errors_are_stream_gate_errors(models: Models) -> None:
    assert isinstance(models.refused("x"), StreamGateError)


def test_the_limit_of_stateless_queues_can_be_set(models: Models) -> None:
    limit = parameter("streamgate.max_pending_requests", "7")
    for text in (PYTHON, PYTHON + "dynamic_batching { }"):
        scheduling = models.made(text + limit).scheduling
        assert isinstance(scheduling, DefaultScheduling | DynamicBatching)
        policy = (
            scheduling.policy
            if isinstance(scheduling, DefaultScheduling)
            else scheduling.default_policy
        )
        assert policy == QueuePolicy(max_queue_size=7)


def test_what_a_model_may_have_beside_others(models: Models) -> None:
    text = parameter("streamgate.max_streams", "12") + parameter("streamgate.deadline_ms", "2.5")
    made = models.made(text + PYTHON + "sequence_batching { }")
    assert (made.max_streams, made.deadline_ns) == (12, 2_500_000)
    plain = models.made(PYTHON)
    assert (plain.max_streams, plain.deadline_ns) == (0, 0)
