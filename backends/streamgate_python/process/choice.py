"""Whether a model asks for a process of its own, before its configuration is complete."""

from streamgate.backend.contract import ConfigDict
from streamgate.model.config import Execution, default_execution

_EXECUTION = "streamgate.execution"


def asks_for_process(config: ConfigDict) -> bool:
    """Of a configuration with only the fields that were given."""
    parameters = config.get("parameters", {})
    if _EXECUTION in parameters:
        return bool(parameters[_EXECUTION].get("string_value") == Execution.PROCESS.value)
    instances = sum(
        max(group.get("count", 1), 1) * max(len(group.get("gpus", ())), 1)
        for group in config.get("instance_group", ())
    )
    return default_execution(instances) is Execution.PROCESS
