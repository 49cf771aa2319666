"""A transcription session's settings: what a client may say of them, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from streamgate.frontends.dialects.openai.errors import OpenAiError, invalid
from streamgate.frontends.speech import Declared
from streamgate.model.request import ParameterValue

PCM_RATE_HZ: Final = 24_000
TELEPHONE_RATE_HZ: Final = 8_000

SEGMENTS: Final = "item.input_audio_transcription.segments"
"""Asks for `segment` events: a word of our own, as the dialect has the event but no wish for it."""

LOGPROBS: Final = "item.input_audio_transcription.logprobs"
"""May be asked for, as the service's own examples do; models have none, and it is not shown."""


@dataclass(frozen=True, slots=True)
class Format:
    """What is appended: the dialect's name for it, and ours."""

    kind: str
    encoding: str
    rate_hz: int
    width_bytes: int

    def as_object(self) -> dict[str, Any]:
        return {"type": self.kind, "rate": self.rate_hz} if self is PCM else {"type": self.kind}

    def seconds(self, size_bytes: int) -> float:
        """How long so many bytes last."""
        return size_bytes / (self.rate_hz * self.width_bytes)


PCM: Final = Format("audio/pcm", "s16le", PCM_RATE_HZ, 2)
FORMATS: Final = {
    each.kind: each
    for each in (
        PCM,
        Format("audio/pcmu", "mulaw", TELEPHONE_RATE_HZ, 1),
        Format("audio/pcma", "alaw", TELEPHONE_RATE_HZ, 1),
    )
}


@dataclass(frozen=True, slots=True)
class ServerVad:
    """Turns are ended by the server. When a turn is over is the model's to say: the numbers are
    kept and shown, and `prefix_padding_ms` is taken off the times where speech starts."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500

    def as_object(self) -> dict[str, Any]:
        return {
            "type": "server_vad",
            "threshold": self.threshold,
            "prefix_padding_ms": self.prefix_padding_ms,
            "silence_duration_ms": self.silence_duration_ms,
        }


@dataclass(frozen=True, slots=True)
class Session:
    """Settings. `model` is as the client named it, "" for none; without `turn_detection`, the
    client commits."""

    model: str = ""
    language: str = ""
    prompt: str = ""
    format: Format = PCM
    turn_detection: ServerVad | None = ServerVad()
    include: Sequence[str] = ()

    @property
    def declared(self) -> Declared:
        return Declared(self.format.encoding, self.format.rate_hz)

    @property
    def parameters(self) -> Mapping[str, ParameterValue]:
        """What the model is told with each step."""
        told = {"language": self.language, "prompt": self.prompt}
        return {name: text for name, text in told.items() if text}

    def as_object(self, session_id: str, model: str) -> dict[str, Any]:
        """As clients are shown it, with the model that serves them in fact."""
        turns = self.turn_detection
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "id": session_id,
            "audio": {
                "input": {
                    "format": self.format.as_object(),
                    "transcription": {
                        "model": model,
                        "language": self.language or None,
                        "prompt": self.prompt,
                    },
                    "noise_reduction": None,
                    "turn_detection": None if turns is None else turns.as_object(),
                }
            },
            "include": list(self.include),
        }


def changed(session: Session, update: object) -> Session:
    """The settings after an update, which names only what it changes.

    Raises OpenAiError for what can't be; nothing of the update holds then.
    """
    fields = _object("session", update)
    kind = fields.get("type", "transcription")
    if kind != "transcription":
        raise invalid("session.type", kind, "'transcription': no other sessions are served here")
    for name, value in _known("session", fields, _SESSION).items():
        session = _SESSION[name](session, value)
    return session


def _audio(session: Session, value: object) -> Session:
    fields = _known("session.audio", _object("session.audio", value), ("input", "output"))
    if fields.get("output") is not None:
        raise OpenAiError(
            "A transcription session has no output audio.",
            "session.audio.output",
            "unsupported_value",
        )
    place = "session.audio.input"
    given = _known(place, _object(place, fields.get("input", {})), _INPUT)
    for name, each in given.items():
        session = _INPUT[name](session, each)
    return session


def _include(session: Session, value: object) -> Session:
    if value is None:
        return replace(session, include=())
    if not isinstance(value, list) or any(each not in (SEGMENTS, LOGPROBS) for each in value):
        raise invalid("session.include", value, f"a list of '{SEGMENTS}' and '{LOGPROBS}'")
    return replace(session, include=tuple(each for each in value if each == SEGMENTS))


def _format(session: Session, value: object) -> Session:
    place = "session.audio.input.format"
    fields = _known(place, _object(place, value), ("type", "rate"))
    kind = fields.get("type")
    chosen = FORMATS.get(kind) if isinstance(kind, str) else None
    if chosen is None:
        raise invalid(f"{place}.type", kind, f"one of {', '.join(FORMATS)}")
    rate_hz = fields.get("rate")
    if rate_hz is not None and rate_hz != chosen.rate_hz:
        raise invalid(f"{place}.rate", rate_hz, f"{chosen.rate_hz} for {kind}")
    return replace(session, format=chosen)


def _transcription(session: Session, value: object) -> Session:
    place = "session.audio.input.transcription"
    fields = _known(place, _object(place, value), _TRANSCRIPTION)
    if "languages" in fields and not fields.get("language"):
        languages = fields["languages"] or []
        if not isinstance(languages, list):
            raise invalid(f"{place}.languages", languages, "a list of language tags")
        fields["language"] = languages[0] if languages else None
    texts = {name: fields[name] for name in ("model", "language", "prompt") if name in fields}
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise invalid(f"{place}.{name}", text, "a string")
    return Session(
        format=session.format,
        turn_detection=session.turn_detection,
        include=session.include,
        **{
            name: (texts[name] or "") if name in texts else getattr(session, name)
            for name in ("model", "language", "prompt")
        },
    )


def _turn_detection(session: Session, value: object) -> Session:
    if value is None:
        return replace(session, turn_detection=None)
    place = "session.audio.input.turn_detection"
    fields = _known(place, _object(place, value), _TURN_DETECTION)
    kind = fields.get("type", "server_vad")
    if kind != "server_vad":
        raise invalid(f"{place}.type", kind, "'server_vad', or null as turn_detection")
    old = session.turn_detection or ServerVad()
    threshold = _number(place, fields, "threshold", old.threshold, 1.0)
    prefix = _number(place, fields, "prefix_padding_ms", old.prefix_padding_ms, 60_000)
    silence = _number(place, fields, "silence_duration_ms", old.silence_duration_ms, 60_000)
    return replace(session, turn_detection=ServerVad(threshold, int(prefix), int(silence)))


def _unchanged(session: Session, value: object) -> Session:
    """Audio is heard as it comes: noise reduction is taken notice of by being shown as null."""
    return session


_Change = Callable[[Session, object], Session]
_SESSION: Final[Mapping[str, _Change]] = {
    "audio": _audio,
    "include": _include,
    "type": _unchanged,
    # What `session.created` has shown may be sent back.
    "id": _unchanged,
    "object": _unchanged,
    "expires_at": _unchanged,
    "resume": _unchanged,
}
_INPUT: Final[Mapping[str, _Change]] = {
    "format": _format,
    "transcription": _transcription,
    "turn_detection": _turn_detection,
    "noise_reduction": _unchanged,
}
_TRANSCRIPTION: Final = ("model", "language", "languages", "prompt", "keywords", "delay")
_TURN_DETECTION: Final = (
    "type",
    "threshold",
    "prefix_padding_ms",
    "silence_duration_ms",
    "create_response",
    "interrupt_response",
    "idle_timeout_ms",
)


def _object(place: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(place, value, "an object")
    return dict(value)


def _known(place: str, fields: dict[str, Any], names: Sequence[str] | Mapping[str, Any]) -> Any:
    for name in fields:
        if name not in names:
            raise OpenAiError(
                f"Unknown parameter: '{place}.{name}', expected one of {', '.join(names)}.",
                f"{place}.{name}",
                "unknown_parameter",
            )
    return fields


def _number(
    place: str, fields: Mapping[str, Any], name: str, default: float, highest: float
) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
        raise invalid(f"{place}.{name}", value, f"a number from 0 to {highest:g}")
    return value
