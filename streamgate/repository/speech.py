"""What a speech model says about itself in `parameters`; `docs/speech-models.md` is their contract.

    streamgate.speech.task               transcribe (default) or translate
    streamgate.speech.languages          what it hears or reads: tags such as en, de-CH
    streamgate.speech.target_languages   what a translator writes
    streamgate.speech.sample_rate        of AUDIO, in Hz (16000)
    streamgate.speech.chunk_samples      of a step where AUDIO is of any size (160 ms worth)
    streamgate.speech.end_padding_ms     silence that it wants behind an utterance (0)

Whoever serves speech reads them from the configuration. Here they are checked when a model loads.
"""

import re

from streamgate._proto import model_config_pb2 as pb
from streamgate.repository.defects import defect

_RANGES = {
    "streamgate.speech.sample_rate": (8_000, 192_000),
    "streamgate.speech.chunk_samples": (1, 2**24),
    "streamgate.speech.end_padding_ms": (0, 10_000),
}
_TAGS = ("streamgate.speech.languages", "streamgate.speech.target_languages")
_TASK = "streamgate.speech.task"
_TASKS = ("transcribe", "translate")

SPEECH_PARAMETERS = (*_RANGES, *_TAGS, _TASK)

_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


def check_speech_parameter(config: pb.ModelConfig, name: str, text: str) -> None:
    """Raises ConfigError for a value that `name`, one of SPEECH_PARAMETERS, can't have."""
    expected = ""
    if name in _RANGES:
        low, high = _RANGES[name]
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            expected = f"an integer from {low} to {high}"
    elif name == _TASK:
        if text not in _TASKS:
            expected = " or ".join(_TASKS)
    elif not all(_TAG.fullmatch(tag.strip()) for tag in text.split(",")):
        expected = "language tags parted by commas, such as en,de-CH"
    if expected:
        raise defect(
            f"parameter '{name}' of model {config.name} is wrong",
            field=f"parameters['{name}'].string_value",
            found=f"'{text}'",
            expected=expected,
        )
