"""What a client hears back: utterances, whole ones and the one under way. Times are seconds."""

from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it was said."""

    text: str
    start: float
    end: float


@dataclass(slots=True)
class Utterance:
    """What was said between two pauses; `words` is empty where a model tells no times."""

    start: float = 0.0
    end: float = 0.0
    text: str = ""
    words: list[Word] = field(default_factory=list)

    def fields(self) -> dict[str, Any]:
        """As JSON shows it."""
        words = [
            {"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3)} for w in self.words
        ]
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "text": self.text,
            "words": words,
        }


@dataclass(slots=True)
class Transcript:
    """Everything that was said. `model` is "" where a dialect does not tell which it was."""

    model: str = ""
    seconds: float = 0.0
    utterances: list[Utterance] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(each.text for each in self.utterances)


class Listener(Protocol):
    """Who wants to know how it goes. Called on the loop's thread, and returns at once."""

    def on_progress(self, seconds: float) -> None:
        """So much of the audio has been heard."""

    def on_tail(self, text: str) -> None:
        """The utterance under way, which may still change."""

    def on_utterance(self, utterance: Utterance) -> None:
        """The next utterance, which is final."""
