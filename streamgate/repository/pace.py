"""How often each sequence of a model has a step, and wants its result.

    streamgate.pace_ms    milliseconds; `chunk` for as long as a speech model's chunk of AUDIO lasts

`docs/admission.md` says what follows.
"""

from typing import Final

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import ConfigError
from streamgate.repository.defects import defect
from streamgate.repository.speech import check_speech_parameter

PACE: Final = "streamgate.pace_ms"
_CHUNK: Final = "chunk"
_HIGH_MS: Final = 3_600_000
_RATE_HZ: Final = 16_000
_CHUNK_SECONDS: Final = 0.16


def read_pace(config: pb.ModelConfig, text: str) -> int:
    """The pace in nanoseconds. Raises ConfigError for one that the model can't have."""
    if config.sequence_batching.iterative_sequence:
        raise _wrong(config, text, "no such parameter beside iterative_sequence")
    pace_ns = _chunk_ns(config, text) if text == _CHUNK else _number_ns(config, text)
    batching = config.sequence_batching
    delay_us = (
        batching.oldest.max_queue_delay_microseconds
        if batching.HasField("oldest")
        else batching.direct.max_queue_delay_microseconds
    )
    if pace_ns <= delay_us * 1000:
        limit = f"more than max_queue_delay_microseconds, which is {delay_us}"
        raise _wrong(config, text, limit)
    return pace_ns


def _number_ns(config: pb.ModelConfig, text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= _HIGH_MS:
        raise _wrong(
            config, text, f"a number of milliseconds from 0.001 to {_HIGH_MS}, or '{_CHUNK}'"
        )
    return round(value * 1e6)


def _chunk_ns(config: pb.ModelConfig, text: str) -> int:
    audio = next((each for each in config.input if each.name == "AUDIO"), None)
    if audio is None or len(audio.dims) != 1:
        raise _wrong(config, text, "a number of milliseconds: the model has no AUDIO of one dim")
    rate_hz = _parameter(config, "streamgate.speech.sample_rate", _RATE_HZ)
    usual = round(_CHUNK_SECONDS * rate_hz)
    told = _parameter(config, "streamgate.speech.chunk_samples", usual)
    samples = audio.dims[0] if audio.dims[0] > 0 else told
    return round(samples / rate_hz * 1e9)


def _parameter(config: pb.ModelConfig, name: str, usual: int) -> int:
    if name not in config.parameters:
        return usual
    text = config.parameters[name].string_value
    check_speech_parameter(config, name, text)
    return int(text)


def _wrong(config: pb.ModelConfig, found: str, expected: str) -> ConfigError:
    return defect(
        f"parameter '{PACE}' of model {config.name} is wrong",
        field=f"parameters['{PACE}'].string_value",
        found=f"'{found}'",
        expected=expected,
    )
