"""A model's configuration as the rest of the house sees it: frozen, complete, validated.

The repository reads `config.pbtxt`, completes and checks it, and makes this value from it.
Nobody else parses configuration. Durations are nanoseconds here, whatever unit the file has.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Shape, TensorSpec


class TimeoutAction(enum.Enum):
    """What happens to a queued request whose timeout passed."""

    REJECT = "REJECT"
    DELAY = "DELAY"


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How one priority level's queue treats late and surplus requests. 0 means no limit."""

    timeout_action: TimeoutAction = TimeoutAction.REJECT
    default_timeout_ns: int = 0
    allow_timeout_override: bool = False
    max_queue_size: int = 0


@dataclass(frozen=True, slots=True)
class DefaultScheduling:
    """No batching across requests: first in, first out, one request a step."""

    policy: QueuePolicy = QueuePolicy()


@dataclass(frozen=True, slots=True)
class DynamicBatching:
    """Batches stateless requests. `preferred_sizes` is never empty when the model batches.

    Priorities run from 1 (first) to `priority_levels`; 0 levels means that there are none.
    """

    preferred_sizes: tuple[int, ...] = ()
    max_delay_ns: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority: int = 0
    default_policy: QueuePolicy = QueuePolicy()
    policies: Mapping[int, QueuePolicy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DirectStrategy:
    """Row == slot; the batch has a gap, with READY false, for each slot that has no step."""

    max_delay_ns: int = 0
    minimum_slot_utilization: float = 0.0


@dataclass(frozen=True, slots=True)
class OldestStrategy:
    """Compact rows from up to `max_candidates` sequences, oldest step first."""

    max_candidates: int
    preferred_sizes: tuple[int, ...] = ()
    max_delay_ns: int = 0
    preserve_ordering: bool = False


@dataclass(frozen=True, slots=True)
class SequenceBatching:
    """Sequences get a slot each. `slots` counts those of one model instance.

    `max_backlog` bounds the sequences that wait for a slot, `max_pending` the requests that one
    sequence may have waiting; 0 means no limit. Triton has neither limit; ours have defaults.
    A sequence ends `max_lifetime_ns` after its START arrived (0: never), and when one of its steps
    fails if `end_on_error` (Triton goes on). With `state_canary` rows of state are checked for what
    nobody should have written. `idle_warning_ns` before it would end as idle, its connection is
    warned (0: not at all). With a `pace_ns` each sequence has a step so often, and a new one is let
    in only while all are answered within that time (0: nobody looks).
    """

    strategy: DirectStrategy | OldestStrategy
    slots: int
    max_idle_ns: int = 1_000_000_000
    iterative: bool = False
    max_backlog: int = 10_000
    max_pending: int = 10_000
    max_lifetime_ns: int = 0
    idle_warning_ns: int = 0
    end_on_error: bool = False
    state_canary: bool = False
    pace_ns: int = 0


@dataclass(frozen=True, slots=True)
class EnsembleStep:
    """One model that an ensemble runs. Version "" is the newest that is ready.

    `inputs` maps the model's inputs to the ensemble's tensors that they are taken from, `outputs`
    the model's outputs to the ensemble's tensors that they become.
    """

    model: str
    version: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Steps of other models, run as their tensors become there. The ensemble runs nothing itself.

    What follows from the models that it is composed of is known once these are: `decoupled` and
    `stateful` hold the places of the steps whose models are so, `sequence_models` the names of all
    stateful models that a request reaches, those inside of inner ensembles too, and `max_idle_ns`
    is the shortest of their idle limits (0: they have none). Of one step, at most `max_inflight`
    runs of one request are under way at a time; `max_pending` requests may be under way in all.
    """

    steps: tuple[EnsembleStep, ...]
    max_inflight: int
    max_pending: int = 10_000
    decoupled: frozenset[int] = frozenset()
    stateful: frozenset[int] = frozenset()
    sequence_models: frozenset[str] = frozenset()
    max_idle_ns: int = 0


Scheduling = DefaultScheduling | DynamicBatching | SequenceBatching | Ensemble


class ControlKind(enum.Enum):
    """What a control tensor tells the model about a row."""

    START = "CONTROL_SEQUENCE_START"
    READY = "CONTROL_SEQUENCE_READY"
    END = "CONTROL_SEQUENCE_END"
    CORRID = "CONTROL_SEQUENCE_CORRID"
    END_REASON = "streamgate.end_reason_control"


@dataclass(frozen=True, slots=True)
class ControlInput:
    """A tensor that the gateway fills for the model: shape [1], or [rows, 1] when batching.

    `false_value` and `true_value` are what START, END and READY carry; CORRID carries the
    correlation ID in `datatype` (UINT64, INT64, UINT32, INT32: its low bits; BYTES: a string).
    END_REASON, which Triton does not have, is an INT32: 0, or the `EndReason.code` in the row with
    which the sequence is over.
    """

    name: str
    kind: ControlKind
    datatype: DataType
    false_value: int | float | bool = 0
    true_value: int | float | bool = 1


@dataclass(frozen=True, slots=True)
class StateSpec:
    """One pair of state tensors: the model reads `input_name` and writes `output_name`.

    `shape` is one sequence's state without the batch dimension, -1 for a size that may change
    from step to step. When the model batches, `batch_axis` is where the batch dimension stands in
    the tensor that the model sees. A fresh slot holds `initial_bytes` (raw little-endian data of
    the initial shape) when given, else `initial_value` in every element (BYTES: empty strings);
    an unknown (-1) dimension is then taken from `initial_shape`, where it is 1 unless told.
    """

    input_name: str
    output_name: str
    datatype: DataType
    shape: Shape
    batch_axis: int = 0
    initial_value: float = 0.0
    initial_bytes: bytes | None = None
    initial_shape: Shape | None = None
    same_buffer: bool = False
    growable: bool = False


class InstanceKind(enum.Enum):
    """What an instance runs on."""

    AUTO = "KIND_AUTO"
    CPU = "KIND_CPU"
    GPU = "KIND_GPU"
    MODEL = "KIND_MODEL"


@dataclass(frozen=True, slots=True)
class Instance:
    """One model instance to create: its name (`m_0`), kind and device."""

    name: str
    kind: InstanceKind
    device_id: int = 0


class Execution(enum.Enum):
    """Where an instance's steps run: on a thread of its own, on the engine's loop, or in a
    process of its own (for backends that can; its calls come from a thread of its own, too).

    Inline saves two thread changes a step, and everything waits while a step runs: it is for
    models that take well under a millisecond and never block.
    """

    THREAD = "thread"
    INLINE = "inline"
    PROCESS = "process"


def default_execution(instances: int) -> Execution:
    """Where the steps of a model run that does not say, if its backend can do all three.

    Several instances are asked for so that they run at a time, which one interpreter can't do.
    """
    return Execution.PROCESS if instances > 1 else Execution.THREAD


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What an instance in a process of its own may take before it is ended. 0 means no limit.

    A thread can't be ended: an instance there that takes longer for a step hangs, and is told as
    such. `memory_bytes` is what the process may keep resident after a step.
    """

    step_timeout_ns: int = 0
    load_timeout_ns: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Durability:
    """How a model's sequences are kept so that they outlive what runs them. 0 means no limit, or
    not at all, where nothing else is said.

    A sequence's log holds at most `log_bytes` of inputs and `log_ns` of time; one that outgrows it
    lives on, but can't be recovered any more. A snapshot is due `snapshot_steps` steps or
    `snapshot_ns` after the last one, whichever is first, as far as all of the model's snapshots
    stay below `snapshot_bytes_per_second`. With `fixed_bucket` each step is padded to the largest
    batch, so that a replay gives the same bits. `hibernate_ns` after its last step a sequence may
    lose its slot to one that waits for it, while all that hibernate hold at most
    `hibernated_bytes`. A sequence that has input but no result for `stall_ns` is recovered.
    """

    log_bytes: int = 8 * 2**20
    log_ns: int = 120_000_000_000
    snapshot_steps: int = 64
    snapshot_ns: int = 2_000_000_000
    snapshot_bytes_per_second: int = 64 * 2**20
    fixed_bucket: bool = False
    hibernate_ns: int = 0
    hibernated_bytes: int = 2**30
    stall_ns: int = 0


@dataclass(frozen=True, slots=True)
class Accelerator:
    """An execution accelerator asked for in `optimization` (`tensorrt`, ...)."""

    name: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model version's complete configuration.

    `inputs` and `outputs` are what clients see: neither control nor state tensors. `json` is the
    normalized configuration in Triton's JSON form (what `/v2/models/m/config` answers and a
    Python model gets as `model_config`), `wire` the same as a serialised `ModelConfig` message.
    At most `max_streams` sequences and reservations live at a time (0: any number). A step's result
    is wanted `deadline_ns` after its arrival, where models take turns on a device (0: not said).
    """

    name: str
    backend: str
    platform: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    scheduling: Scheduling
    controls: tuple[ControlInput, ...] = ()
    states: tuple[StateSpec, ...] = ()
    instances: tuple[Instance, ...] = ()
    decoupled: bool = False
    execution: Execution = Execution.THREAD
    worker_limits: WorkerLimits = WorkerLimits()
    durability: Durability = Durability()
    max_streams: int = 0
    deadline_ns: int = 0
    default_model_filename: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    cpu_accelerators: tuple[Accelerator, ...] = ()
    gpu_accelerators: tuple[Accelerator, ...] = ()
    metric_tags: Mapping[str, str] = field(default_factory=dict)
    json: str = ""
    wire: bytes = b""

    @property
    def batches(self) -> bool:
        """Whether tensors carry a leading batch dimension."""
        return self.max_batch_size > 0

    @property
    def sequences(self) -> SequenceBatching | None:
        """The sequence batching of a model that has its own, else None."""
        return self.scheduling if isinstance(self.scheduling, SequenceBatching) else None

    @property
    def ensemble(self) -> Ensemble | None:
        """The steps of an ensemble, else None."""
        return self.scheduling if isinstance(self.scheduling, Ensemble) else None

    @property
    def stateful(self) -> bool:
        """Whether its requests belong to sequences: its own, or those of an ensemble's models."""
        if isinstance(self.scheduling, Ensemble):
            return bool(self.scheduling.stateful)
        return self.sequences is not None
