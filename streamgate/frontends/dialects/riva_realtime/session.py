"""A session's settings: what a client may say of them, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from streamgate.frontends.dialects.openai.errors import invalid
from streamgate.frontends.speech import Declared
from streamgate.model.request import ParameterValue

ENCODINGS: Final = {"none": "auto", "pcm16": "s16le", "g711_ulaw": "mulaw", "g711_alaw": "alaw"}
"""`none`: a file with a header of its own."""
CHANNELS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Session:
    """Settings. `model` and `language` are as the client named them, "" for none."""

    model: str = ""
    language: str = ""
    prompt: str = ""
    format: str = "pcm16"
    sample_rate_hz: int = 16_000
    channels: int = 1
    has_word_times: bool = False

    @property
    def declared(self) -> Declared:
        encoding = ENCODINGS[self.format]
        if encoding == "auto":
            return Declared()
        return Declared(encoding, self.sample_rate_hz, self.channels)

    @property
    def parameters(self) -> Mapping[str, ParameterValue]:
        """What the model is told with each step."""
        told = {"language": self.language, "prompt": self.prompt}
        return {name: text for name, text in told.items() if text}

    def as_object(self, session_id: str, model: str) -> dict[str, Any]:
        """As clients are shown it: what no model here can do is shown as switched off."""
        return {
            "id": session_id,
            "object": "realtime.transcription_session",
            "modalities": ["text"],
            "input_audio_format": self.format,
            "input_audio_transcription": {
                "language": self.language,
                "model": model,
                "prompt": self.prompt,
            },
            "input_audio_params": {
                "sample_rate_hz": self.sample_rate_hz,
                "num_channels": self.channels,
            },
            "recognition_config": {
                "max_alternatives": 1,
                "enable_automatic_punctuation": False,
                "enable_word_time_offsets": self.has_word_times,
                "enable_profanity_filter": False,
                "enable_verbatim_transcripts": True,
                "custom_configuration": "",
            },
            "speaker_diarization": {"enable_speaker_diarization": False, "max_speaker_count": 0},
            "word_boosting": {"enable_word_boosting": False, "word_boosting_list": []},
            "endpointing_config": {},
        }


def changed(session: Session, update: object) -> Session:
    """The settings after an update. Fields that are not known are let pass: clients send back all
    that they were shown, and more.

    Raises OpenAiError for what can't be; nothing of the update holds then.
    """
    fields = _object("session", update)
    heard = _object("session.input_audio_transcription", fields.get("input_audio_transcription"))
    params = _object("session.input_audio_params", fields.get("input_audio_params"))
    config = _object("session.recognition_config", fields.get("recognition_config"))
    kind = fields.get("input_audio_format", session.format)
    if not isinstance(kind, str) or kind not in ENCODINGS:
        raise invalid("session.input_audio_format", kind, f"one of {', '.join(ENCODINGS)}")
    return replace(
        session,
        model=_text(heard, "model", session.model),
        language=_text(heard, "language", session.language),
        prompt=_text(heard, "prompt", session.prompt),
        format=kind,
        sample_rate_hz=_count(params, "sample_rate_hz", session.sample_rate_hz, 8_000, 192_000),
        channels=_count(params, "num_channels", session.channels, 1, CHANNELS_MAX),
        has_word_times=bool(config.get("enable_word_time_offsets", session.has_word_times)),
    )


def _object(place: str, value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(place, value, "an object")
    return value


def _text(fields: Mapping[str, Any], name: str, default: str) -> str:
    value = fields.get(name, default)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(f"session.input_audio_transcription.{name}", value, "a string")
    return value


def _count(fields: Mapping[str, Any], name: str, default: int, lowest: int, highest: int) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise invalid(
            f"session.input_audio_params.{name}", value, f"a number from {lowest} to {highest}"
        )
    return value
