"""The fields of an upload, beside the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, final

from streamgate.frontends.dialects.openai.errors import OpenAiError, invalid
from streamgate.model.request import ParameterValue

FORMATS: Final = ("json", "text", "verbose_json", "srt", "vtt")
GRANULARITIES: Final = ("word", "segment")
FIELD_BYTES_MAX: Final = 64 * 1024
FIELDS_MAX: Final = 100

_BEFORE_THE_FILE: Final = ("model", "language", "prompt")
"""What decides how a file is heard: it must be known when the first of its bytes is."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the client wants to get."""

    format: str
    granularities: frozenset[str]
    streams: bool


@final
@dataclass
class Form:
    """Fields as they come, checked once all are there. Their names may end in `[]`."""

    values: dict[str, list[str]] = field(default_factory=dict)
    is_heard: bool = False

    def add(self, name: str, text: str) -> None:
        """Raises OpenAiError for a field that comes too late, and for too many of them."""
        name = name.removesuffix("[]")
        if self.is_heard and name in _BEFORE_THE_FILE and self.first(name) != text:
            raise OpenAiError(
                f"The field '{name}' came after 'file', which is being transcribed already; "
                "expected it before.",
                name,
            )
        if sum(map(len, self.values.values())) >= FIELDS_MAX:
            raise OpenAiError(f"Too many fields, expected at most {FIELDS_MAX}.", name)
        self.values.setdefault(name, []).append(text)

    def first(self, name: str, default: str = "") -> str:
        values = self.values.get(name)
        return values[0] if values else default

    @property
    def names_model(self) -> bool:
        return "model" in self.values

    @property
    def model(self) -> str:
        return self.first("model")

    @property
    def language(self) -> str:
        return self.first("language") or self.first("languages")

    @property
    def parameters(self) -> Mapping[str, ParameterValue]:
        """What the model is told."""
        told = {"language": self.language, "prompt": self.first("prompt")}
        return {name: text for name, text in told.items() if text}

    def wanted(self) -> Wanted:
        """Raises OpenAiError for what can't be had."""
        chosen = self.first("response_format", "json")
        if chosen not in FORMATS:
            raise invalid("response_format", chosen, f"one of {', '.join(FORMATS)}")
        granularities = frozenset(self.values.get("timestamp_granularities", ()))
        for each in granularities - set(GRANULARITIES):
            raise invalid("timestamp_granularities", each, "'word' or 'segment'")
        if granularities and chosen != "verbose_json":
            raise OpenAiError(
                f"'timestamp_granularities' needs response_format 'verbose_json', not '{chosen}'.",
                "timestamp_granularities",
            )
        for each in self.values.get("include", ()):
            if each != "logprobs":  # which no model gives, but clients may ask for
                raise invalid("include", each, "'logprobs'")
        streams = self.first("stream", "false").lower()
        if streams not in ("true", "false", "1", "0"):
            raise invalid("stream", streams, "true or false")
        return Wanted(chosen, granularities or frozenset(["segment"]), streams in ("true", "1"))
