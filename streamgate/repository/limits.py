"""How many streams a model may have, and how soon its results are wanted beside other models'.

    streamgate.max_streams    sequences and reservations at a time, of all clients together (0: any
                              number, as far as there is room)
    streamgate.deadline_ms    how long after its arrival a step's result is wanted, where models
                              take turns on a device (the pace; without one, the server's default)

`docs/admission.md` says what follows.
"""

import math
from typing import Final

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import ConfigError
from streamgate.repository.defects import defect

_MAX_STREAMS: Final = "streamgate.max_streams"
_DEADLINE: Final = "streamgate.deadline_ms"
LIMIT_PARAMETERS: Final = (_MAX_STREAMS, _DEADLINE)
_STREAMS_HIGH: Final = 2**31 - 1
_DEADLINE_HIGH_MS: Final = 3_600_000


def read_max_streams(config: pb.ModelConfig) -> int:
    """The limit of streams; 0 for none. Raises ConfigError for a wrong one."""
    text = _text(config, _MAX_STREAMS)
    if text is None:
        return 0
    if not config.HasField("sequence_batching") and not config.HasField("ensemble_scheduling"):
        raise _wrong(config, _MAX_STREAMS, text, "no such parameter for a model without sequences")
    if not text.isascii() or not text.isdecimal() or int(text) > _STREAMS_HIGH:
        raise _wrong(config, _MAX_STREAMS, text, f"an integer from 0 to {_STREAMS_HIGH}")
    return int(text)


def read_deadline(config: pb.ModelConfig) -> int:
    """The deadline in nanoseconds; 0 for none. Raises ConfigError for a wrong one."""
    text = _text(config, _DEADLINE)
    if text is None:
        return 0
    if config.HasField("ensemble_scheduling"):
        raise _wrong(config, _DEADLINE, text, "no such parameter for an ensemble: its models' hold")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.001 <= value <= _DEADLINE_HIGH_MS:
        limits = f"a number of milliseconds from 0.001 to {_DEADLINE_HIGH_MS}"
        raise _wrong(config, _DEADLINE, text, limits)
    return round(value * 1e6)


def _text(config: pb.ModelConfig, name: str) -> str | None:
    return config.parameters[name].string_value if name in config.parameters else None


def _wrong(config: pb.ModelConfig, name: str, found: str, expected: str) -> ConfigError:
    return defect(
        f"parameter '{name}' of model {config.name} is wrong",
        field=f"parameters['{name}'].string_value",
        found=f"'{found}'",
        expected=expected,
    )
