"""Settings beyond Triton's, kept in `parameters` so that Triton still parses the file.

    streamgate.state_batch_axis.<STATE_INPUT>      where the batch dimension stands (0)
    streamgate.state_initial_value.<STATE_INPUT>   every element of a fresh state (0)
    streamgate.state_scalar.<STATE_INPUT>          true: one number for each sequence, in a tensor
                                                   with no dimension but the batch's (false)
    streamgate.max_backlog_sequences               sequences that may wait for a slot
    streamgate.max_pending_requests                requests that may wait in one sequence, or in
                                                   the queue of a stateless model
    streamgate.max_sequence_lifetime_seconds       after which a sequence ends, busy or not (0)
    streamgate.idle_warning_seconds                how long before a sequence ends as idle its
                                                   client is warned (0)
    streamgate.pace_ms                             how often each sequence has a step (none)
    streamgate.end_sequence_on_error               true: a failed step ends its sequence (false)
    streamgate.state_canary                        true: rows of state are watched (false)
    streamgate.end_reason_control                  the INT32 input that says how a sequence ended
    streamgate.complete_states                     onnxruntime: which tensors are states
    streamgate.python_class                        python: an installed class in place of model.py

A limit of 0 is none. Those that say where steps run are read by `execution`, those of speech models
by `speech`, `streamgate.pace_ms` by `pace`, those of logs and snapshots by `durability`, those that
limit a model beside others by `limits`.
Every other name that starts with `streamgate.` is an error: a misspelt setting must not pass.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import ConfigError
from streamgate.model.config import ControlKind, DirectStrategy, SequenceBatching
from streamgate.model.datatypes import DataType
from streamgate.repository.defects import defect, suggestion
from streamgate.repository.durability import DURABILITY_PARAMETERS
from streamgate.repository.execution import EXECUTION_PARAMETERS
from streamgate.repository.limits import LIMIT_PARAMETERS
from streamgate.repository.pace import PACE, read_pace
from streamgate.repository.speech import SPEECH_PARAMETERS, check_speech_parameter
from streamgate.repository.tensors import data_type

PREFIX = "streamgate."
_BATCH_AXIS = "streamgate.state_batch_axis."
_INITIAL_VALUE = "streamgate.state_initial_value."
_SCALAR = "streamgate.state_scalar."
_OF_STATES = (_BATCH_AXIS, _INITIAL_VALUE, _SCALAR)
_MAX_BACKLOG = "streamgate.max_backlog_sequences"
_MAX_PENDING = "streamgate.max_pending_requests"
_MAX_LIFETIME = "streamgate.max_sequence_lifetime_seconds"
_IDLE_WARNING = "streamgate.idle_warning_seconds"
_END_ON_ERROR = "streamgate.end_sequence_on_error"
_END_REASON = ControlKind.END_REASON.value
_CANARY = "streamgate.state_canary"
_OF_SEQUENCES = (_MAX_LIFETIME, _IDLE_WARNING, _END_ON_ERROR, _END_REASON, PACE)
PYTHON_CLASS = "streamgate.python_class"
"""Names an installed class, so that no model file is needed."""
_OF_BACKENDS = {"streamgate.complete_states": "onnxruntime", PYTHON_CLASS: "python"}
_READ_ELSEWHERE = (*EXECUTION_PARAMETERS, *DURABILITY_PARAMETERS, *LIMIT_PARAMETERS)
_LIMIT_MAX = 2**31 - 1
_SECONDS_MAX = 10**9

_DEFAULTS = SequenceBatching(DirectStrategy(), slots=1)

State = pb.ModelSequenceBatching.State


@dataclass(frozen=True, slots=True)
class Extensions:
    """The settings that a configuration has, states by input name."""

    batch_axes: Mapping[str, int] = field(default_factory=dict)
    initial_values: Mapping[str, float] = field(default_factory=dict)
    scalars: frozenset[str] = frozenset()
    max_backlog: int = _DEFAULTS.max_backlog
    max_pending: int = _DEFAULTS.max_pending
    max_lifetime_ns: int = 0
    idle_warning_ns: int = 0
    end_on_error: bool = False
    end_reason_control: str = ""
    state_canary: bool = False
    pace_ns: int = 0


def read_extensions(config: pb.ModelConfig) -> Extensions:
    """The extensions among the parameters. Raises ConfigError for an unknown or a wrong one."""
    states = {state.input_name: state for state in config.sequence_batching.state}
    axes: dict[str, int] = {}
    values: dict[str, float] = {}
    scalars: set[str] = set()
    limits: dict[str, int] = {}
    rules = _OfSequences()
    state_canary = False
    for name in sorted(config.parameters):
        if not name.startswith(PREFIX) or name in _READ_ELSEWHERE:
            continue
        text = config.parameters[name].string_value
        if name.startswith(_BATCH_AXIS):
            state = _state(config, states, name, _BATCH_AXIS)
            axes[state.input_name] = _batch_axis(config, name, text, state)
        elif name.startswith(_INITIAL_VALUE):
            state = _state(config, states, name, _INITIAL_VALUE)
            values[state.input_name] = _initial_value(config, name, text, state)
        elif name.startswith(_SCALAR):
            state = _state(config, states, name, _SCALAR)
            if _scalar(config, name, text, state):
                scalars.add(state.input_name)
        elif name in (_MAX_BACKLOG, _MAX_PENDING):
            if name == _MAX_BACKLOG and not config.HasField("sequence_batching"):
                raise _wrong(config, name, text, "no such parameter without sequence_batching")
            limits[name] = _integer(config, name, text, 0, _LIMIT_MAX, "")
        elif name == _CANARY:
            if not states:
                raise _wrong(config, name, text, "no such parameter without states")
            state_canary = _flag(config, name, text)
        elif name in SPEECH_PARAMETERS:
            check_speech_parameter(config, name, text)
        elif name in _OF_BACKENDS:
            _check_backend(config, name, text)
        elif name in _OF_SEQUENCES:
            rules = _with_sequences(config, rules, name, text)
        else:
            known = [_MAX_BACKLOG, _MAX_PENDING, _CANARY, *_OF_SEQUENCES, *_OF_BACKENDS]
            known += [*_READ_ELSEWHERE, *SPEECH_PARAMETERS]
            known += [prefix + state for state in states for prefix in _OF_STATES]
            raise ConfigError(
                f"model {config.name} has an unknown parameter '{name}'{suggestion(name, known)}"
            )
    return Extensions(
        axes,
        values,
        frozenset(scalars),
        limits.get(_MAX_BACKLOG, _DEFAULTS.max_backlog),
        limits.get(_MAX_PENDING, _DEFAULTS.max_pending),
        rules.max_lifetime_ns,
        rules.idle_warning_ns,
        rules.end_on_error,
        rules.end_reason_control,
        state_canary,
        rules.pace_ns,
    )


@dataclass(frozen=True, slots=True)
class _OfSequences:
    """When sequences end that nobody has ended, which tensor says why, and how often they step."""

    max_lifetime_ns: int = 0
    idle_warning_ns: int = 0
    end_on_error: bool = False
    end_reason_control: str = ""
    pace_ns: int = 0


def _with_sequences(
    config: pb.ModelConfig, rules: _OfSequences, name: str, text: str
) -> _OfSequences:
    if not config.HasField("sequence_batching"):
        raise _wrong(config, name, text, "no such parameter without sequence_batching")
    if name == PACE:
        return replace(rules, pace_ns=read_pace(config, text))
    if name == _END_ON_ERROR:
        return replace(rules, end_on_error=_flag(config, name, text))
    if name == _END_REASON:
        if not text:
            raise _wrong(config, name, text, "the name of an input of the model")
        return replace(rules, end_reason_control=text)
    if name == _MAX_LIFETIME:
        return replace(rules, max_lifetime_ns=_seconds(config, name, text, _SECONDS_MAX))
    idle_us = config.sequence_batching.max_sequence_idle_microseconds
    warning_ns = _seconds(config, name, text, _SECONDS_MAX)
    if warning_ns >= idle_us * 1000:
        limit = f"less than max_sequence_idle_microseconds, which is {idle_us}"
        raise _wrong(config, name, text, limit)
    return replace(rules, idle_warning_ns=warning_ns)


def _flag(config: pb.ModelConfig, name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise _wrong(config, name, text, "'true' or 'false'")
    return text == "true"


def _seconds(config: pb.ModelConfig, name: str, text: str, high: int) -> int:
    """A duration in nanoseconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= high:
        raise _wrong(config, name, text, f"a number of seconds from 0 to {high}")
    return round(value * 1e9)


def _state(config: pb.ModelConfig, states: Mapping[str, State], name: str, prefix: str) -> State:
    state = name.removeprefix(prefix)
    if state in states:
        return states[state]
    hint = suggestion(state, states) if states else "; the model declares no state"
    raise ConfigError(
        f"parameter '{name}' of model {config.name} names no state: found '{state}', expected the "
        f"input_name of a sequence_batching.state{hint}"
    )


def _batch_axis(config: pb.ModelConfig, name: str, text: str, state: State) -> int:
    if config.max_batch_size == 0:
        raise _wrong(
            config, name, text, "no such parameter with max_batch_size 0: there is no batch axis"
        )
    return _integer(
        config, name, text, 0, len(state.dims), f" (the state has {len(state.dims)} dims)"
    )


def _scalar(config: pb.ModelConfig, name: str, text: str, state: State) -> bool:
    if not _flag(config, name, text):
        return False
    if list(state.dims) != [1] or data_type(state.data_type) is DataType.BYTES:
        raise _wrong(
            config,
            name,
            text,
            f"no such parameter unless the state is of numbers and has dims [1], found "
            f"{pb.DataType.Name(state.data_type)} and {list(state.dims)}",
        )
    axis = _BATCH_AXIS + state.input_name
    if axis in config.parameters and config.parameters[axis].string_value != "0":
        raise _wrong(config, name, text, f"no '{axis}' beside it: there is one dimension only")
    return True


def _check_backend(config: pb.ModelConfig, name: str, text: str) -> None:
    backend = _OF_BACKENDS[name]
    if config.backend.rpartition("/")[2] != backend:
        raise _wrong(config, name, text, f"no such parameter unless the backend is '{backend}'")
    if not text:
        raise _wrong(config, name, text, "a text")


def _initial_value(config: pb.ModelConfig, name: str, text: str, state: State) -> float:
    if state.initial_state:
        raise _wrong(config, name, text, "no such parameter beside the state's initial_state")
    datatype = data_type(state.data_type)
    if datatype is DataType.BYTES:
        raise _wrong(config, name, text, "a state of numbers, found one of TYPE_STRING")
    value: float
    try:
        value = float(text)
        if datatype not in _FLOAT_LIMITS and text.strip().lstrip("+-").isdecimal():
            value = int(text)  # 64 bits don't fit into a float.
    except ValueError:
        raise _wrong(config, name, text, "a number") from None
    if not _holds(datatype, value):
        raise _wrong(config, name, text, f"a value of {datatype.config_name}")
    return value


def _holds(datatype: DataType, value: float) -> bool:
    if datatype is DataType.BOOL:
        return value in (0.0, 1.0)
    if datatype in _FLOAT_LIMITS:
        return not math.isfinite(value) or abs(value) <= _FLOAT_LIMITS[datatype]
    limits = np.iinfo(datatype.dtype)
    is_whole = isinstance(value, int) or value.is_integer()
    return is_whole and limits.min <= value <= limits.max


_FLOAT_LIMITS = {
    DataType.FP16: 65504.0,
    DataType.FP32: float(np.finfo(np.float32).max),
    DataType.FP64: math.inf,
    DataType.BF16: 3.3895313892515355e38,
}


def _integer(config: pb.ModelConfig, name: str, text: str, low: int, high: int, why: str) -> int:
    expected = f"an integer from {low} to {high}{why}"
    try:
        value = int(text)
    except ValueError:
        raise _wrong(config, name, text, expected) from None
    if not low <= value <= high:
        raise _wrong(config, name, text, expected)
    return value


def _wrong(config: pb.ModelConfig, name: str, text: str, expected: str) -> ConfigError:
    return defect(
        f"parameter '{name}' of model {config.name} is wrong",
        field=f"parameters['{name}'].string_value",
        found=f"'{text}'",
        expected=expected,
    )
