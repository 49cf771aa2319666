"""The messages of the dialect, and what a handshake asks for. Pure functions."""

import json
from dataclasses import dataclass
from typing import Any

from streamgate.errors import Code, EndWarning, StreamGateError
from streamgate.frontends.dialects.json_text import parsed
from streamgate.frontends.sockets.contract import Grant, Handshake
from streamgate.frontends.sockets.numbered import granted
from streamgate.frontends.speech import Declared, SpeechModel, TextEvent

PARAMETERS = (
    "model",
    "language",
    "encoding",
    "sample_rate",
    "channels",
    "translate",
    "key",
    "resume",
)
MARKER_LENGTH_MAX = 256
TARGETS_MAX = 8
"""Languages that one client may have at once: each takes a slot."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for at its handshake."""

    model: str
    language: str
    declared: Declared
    targets: tuple[str, ...]


def read_wish(handshake: Handshake) -> Wish:
    """Raises StreamGateError (INVALID_ARG) naming the parameter, what it is and what it may be."""
    for name in handshake.query:
        if name not in PARAMETERS:
            raise invalid(f"unknown parameter '{name}', expected one of {', '.join(PARAMETERS)}")
    wanted = handshake.value("translate").split(",")
    targets = tuple(dict.fromkeys(tag.strip() for tag in wanted if tag.strip()))
    if len(targets) > TARGETS_MAX:
        raise invalid(f"'translate' has {len(targets)} languages, expected at most {TARGETS_MAX}")
    return Wish(
        handshake.value("model"),
        handshake.value("language"),
        Declared(
            handshake.value("encoding", "auto"),
            _number(handshake, "sample_rate", None),
            _number(handshake, "channels", 1) or 1,
        ),
        targets,
    )


def ready(
    model: SpeechModel, sequence: object, targets: dict[str, str], grant: Grant | None = None
) -> str:
    """The first message: a slot was taken. `targets` maps languages to their translators; `grant`
    is that of a session which can be resumed."""
    return _message(
        "ready",
        model=model.name,
        model_version=model.version,
        sequence_id=sequence,
        sample_rate=model.sample_rate_hz,
        chunk_seconds=model.chunk_seconds,
        languages=list(model.languages),
        translations=targets,
        **granted(grant),
    )


def text(event: TextEvent, lag_seconds: float) -> str:
    """A result. Times are seconds of the client's audio; `lag_seconds` is how much of it the model
    had still to hear when it said so."""
    fields: dict[str, Any] = {
        "position": event.position,
        "index": event.index,
        "stable": event.stable,
        "tail": event.tail,
        "final": event.final,
        "audio_seconds": round(event.audio_seconds, 3),
        "lag_seconds": round(max(0.0, lag_seconds), 3),
    }
    if event.words:
        fields["words"] = [
            {
                "text": word.text,
                "start": round(word.start_seconds, 3),
                "end": round(word.end_seconds, 3),
                "confidence": round(word.confidence, 3),
            }
            for word in event.words
        ]
    if event.speech is not None:
        fields["speech"] = {
            "began": event.speech.began,
            "at_seconds": round(event.speech.at_seconds, 3),
        }
    if event.speech_probability is not None:
        fields["speech_probability"] = round(event.speech_probability, 3)
    return _message("text", **fields)


def translation(language: str, event: TextEvent) -> str:
    return _message(
        "translation",
        language=language,
        position=event.position,
        index=event.index,
        stable=event.stable,
        tail=event.tail,
        final=event.final,
    )


def flushed(marker: str) -> str:
    return _message("flushed", id=marker)


def warning(warning: EndWarning) -> str:
    """The speech will end in so many seconds."""
    seconds_left = round(warning.seconds_left, 3)
    if not warning.is_drain:
        return _message("idle_warning", seconds_left=seconds_left)
    return _message("drain_warning", reason=warning.cause.value, seconds_left=seconds_left)


def error(code: Code, message: str) -> str:
    return _message("error", code=code.value, message=message)


def ended(reason: str) -> str:
    return _message("ended", reason=reason)


def read_message(frame: str) -> tuple[str, str]:
    """A client's text frame: its type, `flush` or `end`, and the flush's `id`.

    Raises StreamGateError (INVALID_ARG).
    """
    try:
        message = parsed(frame)
    except ValueError as wrong:
        raise invalid(f"message is not JSON: {wrong}") from None
    kind = message.get("type") if isinstance(message, dict) else None
    if kind not in ("flush", "end"):
        raise invalid("message has no 'type' of 'flush' or 'end'; audio goes in binary frames")
    marker = message.get("id", "")
    if not isinstance(marker, str) or len(marker) > MARKER_LENGTH_MAX:
        raise invalid(f"'id' of a flush is no string of at most {MARKER_LENGTH_MAX} characters")
    return kind, marker


def invalid(message: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, message)


def _number(handshake: Handshake, name: str, default: int | None) -> int | None:
    text = handshake.value(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise invalid(f"'{name}' is '{text[:100]}', expected a number above 0")
    return int(text)


def _message(kind: str, **fields: object) -> str:
    return _encode({"type": kind, **fields})
