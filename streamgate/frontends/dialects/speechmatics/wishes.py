"""What a client asks for in `StartRecognition`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.speech import Declared

STAND_INS = ("standard", "enhanced", "melia")
"""Speechmatics' own models."""
ENCODINGS = {"pcm_s16le": "s16le", "pcm_f32le": "f32le", "mulaw": "mulaw"}
TARGETS_MAX = 5

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Wishes:
    """The message, as far as it matters here; what is not known is ignored."""

    model: str
    language: str
    declared: Declared
    partials: bool
    tells_utterance_ends: bool
    targets: Sequence[str]
    translation_partials: bool


def wishes_of(message: Mapping[str, Any]) -> Wishes:
    """Raises StreamGateError (INVALID_ARG) that names the field."""
    config = _field(message, "transcription_config", dict, {})
    conversation = _field(config, "conversation_config", dict, {})
    trigger = conversation.get("end_of_utterance_silence_trigger") or 0
    translation = _field(message, "translation_config", dict, {})
    targets = _field(translation, "target_languages", list, [])
    if len(targets) > TARGETS_MAX or not all(isinstance(each, str) for each in targets):
        raise _wrong("target_languages", targets, f"at most {TARGETS_MAX} languages")
    return Wishes(
        _field(config, "model", str, ""),
        _field(config, "language", str, ""),
        declared_audio(_field(message, "audio_format", dict, {"type": "file"})),
        partials_of(config, default=False),
        isinstance(trigger, int | float) and trigger > 0,
        targets,
        partials_of(translation, default=False),
    )


def partials_of(config: Mapping[str, Any], *, default: bool) -> bool:
    """`enable_partials`. Raises StreamGateError (INVALID_ARG)."""
    return _field(config, "enable_partials", bool, default)


def declared_audio(audio_format: Mapping[str, Any]) -> Declared:
    """Raises StreamGateError (UNSUPPORTED): the protocol has an error of its own for it."""
    kind = audio_format.get("type")
    if kind == "file":
        return Declared("auto")
    named = audio_format.get("encoding")
    encoding = ENCODINGS.get(named) if isinstance(named, str) else None
    rate_hz = audio_format.get("sample_rate")
    if kind != "raw" or encoding is None or type(rate_hz) is not int:
        raise StreamGateError(
            Code.UNSUPPORTED,
            f"audio_format is {dict(audio_format)!r}, expected type 'file', or 'raw' with an "
            f"encoding ({', '.join(ENCODINGS)}) and a sample_rate",
        )
    return Declared(encoding, rate_hz)


def _field(message: Mapping[str, Any], name: str, kind: type[_T], default: _T) -> _T:
    value = message.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise _wrong(name, value, f"a {kind.__name__}")
    return value


def _wrong(name: str, value: object, expected: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, f"{name} is {value!r}, expected {expected}")
