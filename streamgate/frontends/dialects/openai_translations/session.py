"""A translation session's settings: what a client may say of them, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from streamgate.frontends.dialects.openai.errors import OpenAiError, invalid
from streamgate.frontends.speech import Declared

RATE_HZ: Final = 24_000
PCM: Final = Declared("s16le", RATE_HZ)
"""The dialect knows no other audio."""


@dataclass(frozen=True, slots=True)
class Session:
    """`model` is as the client named it; `language` is the one to translate into, "" for none
    named. `transcribes`: the source's text is wanted, too."""

    model: str = ""
    language: str = ""
    transcribes: bool = False

    def as_object(
        self, session_id: str, translator: str, hearer: str, target: str, expires_at: int
    ) -> dict[str, Any]:
        """As clients are shown it, with the models that serve them in fact."""
        return {
            "id": session_id,
            "type": "translation",
            "model": translator,
            "expires_at": expires_at,
            "audio": {
                "input": {
                    "transcription": {"model": hearer} if self.transcribes else None,
                    "noise_reduction": None,
                },
                "output": {"language": target},
            },
        }


def changed(session: Session, update: object) -> Session:
    """The settings after an update, which names only what it changes.

    Raises OpenAiError for what can't be; nothing of the update holds then.
    """
    fields = _known("session", update, ("audio", "type", "id", "model", "expires_at", "resume"))
    if fields.get("type", "translation") != "translation":
        raise invalid("session.type", fields["type"], "'translation'")
    audio = _known("session.audio", fields.get("audio"), ("input", "output"))
    heard = _known("session.audio.input", audio.get("input"), ("transcription", "noise_reduction"))
    if "transcription" in heard:
        session = replace(session, transcribes=heard["transcription"] is not None)
    output = _known("session.audio.output", audio.get("output"), ("language",))
    if "language" in output:
        language = output["language"]
        if not isinstance(language, str) or not language:
            raise invalid("session.audio.output.language", language, "a language tag, such as 'de'")
        session = replace(session, language=language)
    return session


def _known(place: str, value: object, names: Sequence[str]) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(place, value, "an object")
    for name in value:
        if name not in names:
            raise OpenAiError(
                f"Unknown parameter: '{place}.{name}', expected one of {', '.join(names)}.",
                f"{place}.{name}",
                "unknown_parameter",
            )
    return value
