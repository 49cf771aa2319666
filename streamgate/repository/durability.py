"""How a model's sequences are kept, so that they outlive what runs them.

streamgate.log_mb                      what one sequence's log may hold (8)
streamgate.log_seconds                 how far it may reach back (120)
streamgate.snapshot_steps              steps from one snapshot of a sequence to the next (64)
streamgate.snapshot_ms                 at most so long from one to the next, while it steps (2000)
streamgate.snapshot_mb_per_second      what all snapshots of the model may take (64)
streamgate.determinism                 fixed_bucket: each step is padded to the largest batch
streamgate.hibernate_after_ms          after which an idle sequence may lose its slot (0: never)
streamgate.hibernated_mb               what all that hibernate may hold in memory (1024)
streamgate.stall_ms                    input without results after which it is recovered (0: never)

`docs/durability.md` says what follows.
"""

import math
from typing import Final

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import ConfigError
from streamgate.model.config import Durability
from streamgate.repository.defects import defect

_LOG_MB: Final = "streamgate.log_mb"
_LOG_SECONDS: Final = "streamgate.log_seconds"
_STEPS: Final = "streamgate.snapshot_steps"
_SNAPSHOT_MS: Final = "streamgate.snapshot_ms"
_BUDGET: Final = "streamgate.snapshot_mb_per_second"
_DETERMINISM: Final = "streamgate.determinism"
_HIBERNATE_MS: Final = "streamgate.hibernate_after_ms"
_HIBERNATED_MB: Final = "streamgate.hibernated_mb"
_STALL_MS: Final = "streamgate.stall_ms"
_FIXED_BUCKET: Final = "fixed_bucket"

_SCALES: Final = {
    _LOG_MB: ("log_bytes", 2**20),
    _LOG_SECONDS: ("log_ns", 10**9),
    _STEPS: ("snapshot_steps", 1),
    _SNAPSHOT_MS: ("snapshot_ns", 10**6),
    _BUDGET: ("snapshot_bytes_per_second", 2**20),
    _HIBERNATE_MS: ("hibernate_ns", 10**6),
    _HIBERNATED_MB: ("hibernated_bytes", 2**20),
    _STALL_MS: ("stall_ns", 10**6),
}
DURABILITY_PARAMETERS: Final = (*_SCALES, _DETERMINISM)
ENGINE_PARAMETERS: Final = (_DETERMINISM, _HIBERNATE_MS, _HIBERNATED_MB)
"""Those of what runs steps and has slots, which an ensemble does not."""
_HIGH: Final = 10**9


def read_durability(config: pb.ModelConfig) -> Durability:
    """What the parameters ask for. Raises ConfigError for a wrong one."""
    values: dict[str, int] = {}
    fixed_bucket = False
    for name in sorted(set(DURABILITY_PARAMETERS) & set(config.parameters)):
        if name == _DETERMINISM:
            if config.parameters[name].string_value != _FIXED_BUCKET:
                raise _wrong(config, name, f"'{_FIXED_BUCKET}'")
            if config.max_batch_size == 0:
                raise _wrong(config, name, "no such parameter with max_batch_size 0")
            fixed_bucket = True
            continue
        if not config.HasField("sequence_batching") and not config.HasField("ensemble_scheduling"):
            raise _wrong(config, name, "no such parameter for a model without sequences")
        field, scale = _SCALES[name]
        values[field] = _number(config, name, scale)
    return Durability(fixed_bucket=fixed_bucket, **values)


def _number(config: pb.ModelConfig, name: str, scale: int) -> int:
    try:
        value = float(config.parameters[name].string_value)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _HIGH or (scale == 1 and value != int(value)):
        kind = "an integer" if scale == 1 else "a number"
        raise _wrong(config, name, f"{kind} from 0 to {_HIGH}")
    return round(value * scale)


def _wrong(config: pb.ModelConfig, name: str, expected: str) -> ConfigError:
    return defect(
        f"parameter '{name}' of model {config.name} is wrong",
        field=f"parameters['{name}'].string_value",
        found=f"'{config.parameters[name].string_value}'",
        expected=expected,
    )
