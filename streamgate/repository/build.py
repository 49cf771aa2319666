"""A completed and checked message to the `ModelConfig` value that the rest of the house uses."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import assert_never

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import EndReason
from streamgate.model.config import (
    Accelerator,
    ControlInput,
    ControlKind,
    DefaultScheduling,
    DirectStrategy,
    DynamicBatching,
    Ensemble,
    Execution,
    ModelConfig,
    OldestStrategy,
    QueuePolicy,
    Scheduling,
    SequenceBatching,
    TimeoutAction,
    WorkerLimits,
)
from streamgate.model.datatypes import DataType
from streamgate.repository.durability import read_durability
from streamgate.repository.ensembles import build_ensemble
from streamgate.repository.extensions import Extensions
from streamgate.repository.instances import build_instances
from streamgate.repository.limits import read_deadline, read_max_streams
from streamgate.repository.render import complete_form
from streamgate.repository.states import build_states
from streamgate.repository.tensors import build_inputs, build_outputs, data_type

_US = 1000  # in nanoseconds

Control = pb.ModelSequenceBatching.Control


def build_config(
    config: pb.ModelConfig,
    extensions: Extensions,
    execution: Execution,
    worker_limits: WorkerLimits,
    folder: Path,
) -> ModelConfig:
    """The value; labels and initial states are read from the model's `folder`.

    Raises ConfigError when one of these files is missing or wrong.
    """
    accelerators = config.optimization.execution_accelerators
    return ModelConfig(
        name=config.name,
        backend=config.backend,
        platform=config.platform,
        max_batch_size=config.max_batch_size,
        inputs=build_inputs(config),
        outputs=build_outputs(config, folder),
        scheduling=_scheduling(config, extensions),
        controls=_controls(config.sequence_batching, extensions),
        states=build_states(config, extensions, folder),
        instances=build_instances(config),
        decoupled=config.model_transaction_policy.decoupled,
        execution=execution,
        worker_limits=worker_limits,
        durability=read_durability(config),
        max_streams=read_max_streams(config),
        deadline_ns=read_deadline(config),
        default_model_filename=config.default_model_filename,
        parameters={key: value.string_value for key, value in sorted(config.parameters.items())},
        cpu_accelerators=_accelerators(accelerators.cpu_execution_accelerator),
        gpu_accelerators=_accelerators(accelerators.gpu_execution_accelerator),
        metric_tags=dict(sorted(config.metric_tags.items())),
        json=_json(config),
        wire=config.SerializeToString(deterministic=True),
    )


def with_ensemble(config: ModelConfig, ensemble: Ensemble) -> ModelConfig:
    """The configuration of an ensemble of whose models more is known now.

    One with a decoupled step is decoupled itself, whatever was given.
    """
    message = pb.ModelConfig.FromString(config.wire)
    message.model_transaction_policy.decoupled = bool(ensemble.decoupled)
    return dataclasses.replace(
        config,
        scheduling=ensemble,
        decoupled=bool(ensemble.decoupled),
        json=_json(message),
        wire=message.SerializeToString(deterministic=True),
    )


def _json(config: pb.ModelConfig) -> str:
    return json.dumps(complete_form(config), separators=(",", ":"), ensure_ascii=False)


def _scheduling(config: pb.ModelConfig, extensions: Extensions) -> Scheduling:
    if config.HasField("dynamic_batching"):
        return _dynamic(config.dynamic_batching, extensions.max_pending)
    if config.HasField("sequence_batching"):
        return _sequence(config, extensions)
    if config.HasField("ensemble_scheduling"):
        return build_ensemble(config, extensions.max_pending)
    return DefaultScheduling(QueuePolicy(max_queue_size=extensions.max_pending))


def _dynamic(batching: pb.ModelDynamicBatching, max_pending: int) -> DynamicBatching:
    return DynamicBatching(
        preferred_sizes=tuple(sorted(set(batching.preferred_batch_size))),
        max_delay_ns=batching.max_queue_delay_microseconds * _US,
        preserve_ordering=batching.preserve_ordering,
        priority_levels=batching.priority_levels,
        default_priority=batching.default_priority_level,
        default_policy=_policy(batching.default_queue_policy, max_pending),
        policies={
            level: _policy(batching.priority_queue_policy[level], max_pending)
            for level in sorted(batching.priority_queue_policy)
        },
    )


def _policy(policy: pb.ModelQueuePolicy, max_pending: int) -> QueuePolicy:
    """A queue that Triton would leave unlimited has our own limit."""
    return QueuePolicy(
        timeout_action=TimeoutAction(pb.ModelQueuePolicy.TimeoutAction.Name(policy.timeout_action)),
        default_timeout_ns=policy.default_timeout_microseconds * _US,
        allow_timeout_override=policy.allow_timeout_override,
        max_queue_size=policy.max_queue_size or max_pending,
    )


def _sequence(config: pb.ModelConfig, extensions: Extensions) -> SequenceBatching:
    batching = config.sequence_batching
    slots = max(1, config.max_batch_size)
    strategy: DirectStrategy | OldestStrategy
    if batching.HasField("oldest"):
        oldest = batching.oldest
        # Triton takes the batch size for any number that is not positive.
        slots = oldest.max_candidate_sequences if oldest.max_candidate_sequences > 0 else slots
        strategy = OldestStrategy(
            max_candidates=slots,
            preferred_sizes=tuple(sorted(set(oldest.preferred_batch_size))),
            max_delay_ns=oldest.max_queue_delay_microseconds * _US,
            preserve_ordering=oldest.preserve_ordering,
        )
    else:
        strategy = DirectStrategy(
            max_delay_ns=batching.direct.max_queue_delay_microseconds * _US,
            minimum_slot_utilization=batching.direct.minimum_slot_utilization,
        )
    return SequenceBatching(
        strategy=strategy,
        slots=slots,
        max_idle_ns=batching.max_sequence_idle_microseconds * _US,
        iterative=batching.iterative_sequence,
        max_backlog=extensions.max_backlog,
        max_pending=extensions.max_pending,
        max_lifetime_ns=extensions.max_lifetime_ns,
        idle_warning_ns=extensions.idle_warning_ns,
        end_on_error=extensions.end_on_error,
        state_canary=extensions.state_canary,
        pace_ns=extensions.pace_ns,
    )


def _controls(
    batching: pb.ModelSequenceBatching, extensions: Extensions
) -> tuple[ControlInput, ...]:
    controls = [
        _control(tensor.name, control)
        for tensor in batching.control_input
        for control in tensor.control
    ]
    if extensions.end_reason_control:
        # In ordinary rows it is as an END control: what a client ends is CLIENT_END.
        controls.append(
            ControlInput(
                extensions.end_reason_control,
                ControlKind.END_REASON,
                DataType.INT32,
                0,
                EndReason.CLIENT_END.code,
            )
        )
    return tuple(controls)


def _control(name: str, control: Control) -> ControlInput:
    kind = ControlKind(Control.Kind.Name(control.kind))
    match kind:
        case ControlKind.CORRID:
            return ControlInput(name, kind, data_type(control.data_type))
        case ControlKind.START | ControlKind.READY | ControlKind.END | ControlKind.END_REASON:
            pass
        case _:
            assert_never(kind)
    if control.fp32_false_true:
        false, true = control.fp32_false_true
        return ControlInput(name, kind, DataType.FP32, false, true)
    if control.bool_false_true:
        off, on = control.bool_false_true
        return ControlInput(name, kind, DataType.BOOL, off, on)
    low, high = control.int32_false_true
    return ControlInput(name, kind, DataType.INT32, low, high)


def _accelerators(
    entries: Iterable[pb.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator],
) -> tuple[Accelerator, ...]:
    return tuple(
        Accelerator(entry.name, dict(sorted(entry.parameters.items()))) for entry in entries
    )
