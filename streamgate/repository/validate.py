"""Checks of batching and scheduling settings: what can be told without the model's files.

Triton makes them while it polls the repository, and again after automatic completion. The texts
are Triton's. Tensors, states and instances are checked by `tensors`, `states` and `instances`.
"""

from collections.abc import Iterable

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import ConfigPhase
from streamgate.repository.defects import defect

Control = pb.ModelSequenceBatching.Control

CORRID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
_VALUE_LISTS = ("int32_false_true", "fp32_false_true", "bool_false_true")
_ANY_LIST = "'int32_false_true', 'fp32_false_true' or 'bool_false_true'"


def check_settings(config: pb.ModelConfig, phase: ConfigPhase) -> None:
    """Raise ConfigError, marked with `phase`, for the first setting that is wrong."""
    if config.max_batch_size < 0:
        raise defect(
            f"'max_batch_size' must be non-negative value for {config.name}",
            field="max_batch_size",
            found=config.max_batch_size,
            expected="0 (no batching) or more",
            phase=phase,
        )
    if config.HasField("dynamic_batching"):
        batching = config.dynamic_batching
        _check_preferred(
            config,
            "dynamic batching preferred size",
            "max batch size",
            "dynamic_batching.preferred_batch_size",
            batching.preferred_batch_size,
            phase,
        )
        _check_priorities(config.name, batching, phase)
        _check_ordering(config.name, batching, phase)
    if config.HasField("sequence_batching"):
        _check_controls(config.name, config.sequence_batching, phase)
        _check_strategy(config, phase)
    if config.response_cache.enable:
        _check_response_cache(config, phase)


def _check_preferred(
    config: pb.ModelConfig,
    text: str,
    limit_text: str,
    field: str,
    sizes: Iterable[int],
    phase: ConfigPhase,
) -> None:
    for size in sizes:
        if size <= 0:
            text_end = "must be positive"
        elif size > config.max_batch_size:
            text_end = f"must be <= {limit_text}"
        else:
            continue
        raise defect(
            f"{text} {text_end} for {config.name}",
            field=field,
            found=size,
            expected=f"1 to max_batch_size, which is {config.max_batch_size}",
            phase=phase,
        )


def _check_priorities(name: str, batching: pb.ModelDynamicBatching, phase: ConfigPhase) -> None:
    levels = batching.priority_levels
    if levels and not 1 <= batching.default_priority_level <= levels:
        raise defect(
            f"default priority level must be in range [1, {levels}] for {name}",
            field="dynamic_batching.default_priority_level",
            found=batching.default_priority_level,
            expected=f"1 to priority_levels, which is {levels}",
            phase=phase,
        )
    for level in sorted(batching.priority_queue_policy):
        if not 1 <= level <= levels:
            raise defect(
                f"priority queue policy must have priority level in range [1, {levels}] for {name}",
                field="dynamic_batching.priority_queue_policy",
                found=f"key {level}",
                expected=f"1 to priority_levels, which is {levels}",
                phase=phase,
            )


def _check_ordering(name: str, batching: pb.ModelDynamicBatching, phase: ConfigPhase) -> None:
    if not batching.preserve_ordering:
        return
    if batching.priority_levels > 1:
        raise defect(
            f"Only one priority level is allowed when 'preserve_ordering' is true for {name}",
            field="dynamic_batching.priority_levels",
            found=batching.priority_levels,
            expected="0 or 1",
            phase=phase,
        )
    policies = {"default_queue_policy": batching.default_queue_policy}
    for level in sorted(batching.priority_queue_policy):
        policies[f"priority_queue_policy[{level}]"] = batching.priority_queue_policy[level]
    for field, policy in policies.items():
        delays = policy.timeout_action == pb.ModelQueuePolicy.DELAY
        if delays and policy.default_timeout_microseconds:
            raise defect(
                "Queue policy can not have DELAY as timeout action when 'preserve_ordering' is "
                f"true for {name}",
                field=f"dynamic_batching.{field}.timeout_action",
                found="DELAY",
                expected="REJECT, or a default timeout of 0",
                phase=phase,
            )


def _check_controls(name: str, batching: pb.ModelSequenceBatching, phase: ConfigPhase) -> None:
    seen: set[int] = set()
    for position, tensor in enumerate(batching.control_input):
        field = f"sequence_batching.control_input[{position}]"
        if not tensor.name:
            raise defect(
                f"sequence batching control tensor must have a name for {name}",
                field=f"{field}.name",
                found="nothing",
                expected="the name of one of the model's inputs",
                phase=phase,
            )
        for control in tensor.control:
            kind = Control.Kind.Name(control.kind)
            if control.kind in seen:
                raise defect(
                    f"sequence batching specifies multiple {kind} tensors for {name}",
                    field=f"{field}.control",
                    found=f"a second {kind}",
                    expected="each kind once",
                    phase=phase,
                )
            seen.add(control.kind)
            if control.kind == Control.CONTROL_SEQUENCE_CORRID:
                _check_correlation_control(name, control, field, phase)
            else:
                _check_flag_control(name, control, f"{field}.control", phase)


def _given_lists(control: Control) -> list[str]:
    return [field for field in _VALUE_LISTS if len(getattr(control, field))]


def _check_flag_control(name: str, control: Control, field: str, phase: ConfigPhase) -> None:
    kind = Control.Kind.Name(control.kind)
    given = _given_lists(control)
    if len(given) != 1:
        text = (
            f"sequence batching must specify either {_ANY_LIST} for {kind} for {name}"
            if not given
            else f"sequence batching specifies more than one from {_ANY_LIST.replace('or', 'and')}"
            f" for {kind} for {name}"
        )
        raise defect(
            text,
            field=field,
            found=" and ".join(given) or "none of them",
            expected="one of them, with the value for false and the value for true",
            phase=phase,
        )
    count = len(getattr(control, given[0]))
    if count != 2:
        raise defect(
            f"sequence batching control '{given[0]}' must have exactly 2 entries for {kind} for "
            f"{name}",
            field=f"{field}.{given[0]}",
            found=f"{count} entries",
            expected="2: the value for false and the value for true",
            phase=phase,
        )


def _check_correlation_control(name: str, control: Control, field: str, phase: ConfigPhase) -> None:
    kind = Control.Kind.Name(control.kind)
    given = _given_lists(control)
    if given:
        raise defect(
            f"sequence batching must not specify either {_ANY_LIST} for {kind} for {name}",
            field=f"{field}.control",
            found=" and ".join(given),
            expected="data_type alone",
            phase=phase,
        )
    found = pb.DataType.Name(control.data_type)
    if found not in CORRID_TYPES:
        raise defect(
            f"unexpected data type for control {kind} for {name}. Allowed data types are "
            f"{', '.join(CORRID_TYPES[:-1])} and {CORRID_TYPES[-1]}",
            field=f"{field}.control.data_type",
            found="nothing" if found == "TYPE_INVALID" else found,
            expected="one of these",
            phase=phase,
        )


def _check_strategy(config: pb.ModelConfig, phase: ConfigPhase) -> None:
    batching = config.sequence_batching
    if batching.HasField("oldest"):
        _check_preferred(
            config,
            "sequence batching preferred batch size",
            "max batch size",
            "sequence_batching.oldest.preferred_batch_size",
            batching.oldest.preferred_batch_size,
            phase,
        )
    utilization = batching.direct.minimum_slot_utilization
    if not 0.0 <= utilization <= 1.0:
        raise defect(
            "sequence batching minimum slot utilization must be in range (0.0, 1.0] for "
            f"{config.name}",
            field="sequence_batching.direct.minimum_slot_utilization",
            found=utilization,
            expected="0 (off) to 1",
            phase=phase,
        )


def _check_response_cache(config: pb.ModelConfig, phase: ConfigPhase) -> None:
    if config.HasField("sequence_batching"):
        reason = "sequence batching scheduler"
    elif config.model_transaction_policy.decoupled:
        reason = "'decoupled' transaction policy"
    else:
        return
    raise defect(
        f"Response Cache does not currently support model {config.name} with {reason}. "
        "Please disable the response cache.",
        field="response_cache.enable",
        found="true",
        expected="false",
        phase=phase,
    )
