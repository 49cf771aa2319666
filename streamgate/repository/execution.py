"""Where a model's steps run, and what a process of its own may take.

streamgate.execution                  thread, inline or process
streamgate.step_timeout_seconds       one whose step takes longer hangs (0: never)
streamgate.load_timeout_seconds       one that takes longer to load the model, too (0: never)
streamgate.worker_memory_limit_mb     one that holds more after a step, too (0: never)
"""

import math

from streamgate._proto import model_config_pb2 as pb
from streamgate.backend.contract import Backend, ProcessAware
from streamgate.errors import ConfigError
from streamgate.model.config import Execution, WorkerLimits, default_execution
from streamgate.repository.defects import defect
from streamgate.repository.instances import build_instances

_EXECUTION = "streamgate.execution"
_STEP_TIMEOUT = "streamgate.step_timeout_seconds"
_LOAD_TIMEOUT = "streamgate.load_timeout_seconds"
_MEMORY_LIMIT = "streamgate.worker_memory_limit_mb"

EXECUTION_PARAMETERS = (_EXECUTION, _STEP_TIMEOUT, _LOAD_TIMEOUT, _MEMORY_LIMIT)

_SECONDS_MAX = 86_400
_MEGABYTES_MAX = 2**24


def read_execution(config: pb.ModelConfig, backend: Backend) -> tuple[Execution, WorkerLimits]:
    """The execution that a completed configuration asks for, and its limits.

    Raises ConfigError for one that the backend can't do and for limits of what is no process.
    """
    can_isolate = isinstance(backend, ProcessAware) and backend.can_run_processes()
    choices = [each for each in Execution if can_isolate or each is not Execution.PROCESS]
    execution = Execution.THREAD
    if can_isolate:
        execution = default_execution(len(build_instances(config)))
    if _EXECUTION in config.parameters:
        text = config.parameters[_EXECUTION].string_value
        if text not in {choice.value for choice in choices}:
            names = " or ".join(f"'{choice.value}'" for choice in choices)
            raise _wrong(config, _EXECUTION, f"{names} with backend '{config.backend}'")
        execution = Execution(text)
    limits = dict.fromkeys(EXECUTION_PARAMETERS[1:], 0.0)
    for name in sorted(limits.keys() & config.parameters.keys()):
        allowed = "'process'"
        if name == _STEP_TIMEOUT:
            allowed += " or 'thread'"
        if f"'{execution.value}'" not in allowed:
            raise _wrong(
                config, name, f"no such parameter unless the model has {_EXECUTION} {allowed}"
            )
        limits[name] = _number(config, name)
    return execution, WorkerLimits(
        round(limits[_STEP_TIMEOUT] * 1e9),
        round(limits[_LOAD_TIMEOUT] * 1e9),
        round(limits[_MEMORY_LIMIT] * 2**20),
    )


def _number(config: pb.ModelConfig, name: str) -> float:
    most = _MEGABYTES_MAX if name == _MEMORY_LIMIT else _SECONDS_MAX
    try:
        value = float(config.parameters[name].string_value)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise _wrong(config, name, f"a number from 0 to {most}")
    return value


def _wrong(config: pb.ModelConfig, name: str, expected: str) -> ConfigError:
    return defect(
        f"parameter '{name}' of model {config.name} is wrong",
        field=f"parameters['{name}'].string_value",
        found=f"'{config.parameters[name].string_value}'",
        expected=expected,
    )
