"""What a speech model says, as values: text that is stable, text that is not, words with times.

All times are seconds of the client's own audio, from its first sample on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word. `confidence` is 0 to 1."""

    text: str
    start_seconds: float
    end_seconds: float
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class SpeechChange:
    """Speech began, or it ended."""

    began: bool
    at_seconds: float


@dataclass(frozen=True, slots=True)
class TextEvent:
    """One result of a speech model.

    `stable` is appended to the utterance's text and never changes; it brings its own leading space.
    `tail` is what may still change, all of it: it replaces the last. `words` are those of `stable`.
    With `final` the utterance is over; `tail` is empty then. `audio_seconds` is how much audio the
    result covers. (`position`, `index`) number a stream's events: the step, and the event in it.
    """

    stable: str
    tail: str
    final: bool
    audio_seconds: float
    words: Sequence[Word] = ()
    speech: SpeechChange | None = None
    speech_probability: float | None = None
    position: int = 0
    index: int = 0


@dataclass(slots=True)
class Utterance:
    """The text of the utterance that is being spoken, from the events so far.

    `number` counts utterances from 0. `start_seconds` is where its first word starts or, without
    word times, where the audio stood when it began; `end_seconds` where its last word ends or the
    audio stands.
    """

    number: int = 0
    stable: str = ""
    tail: str = ""
    words: list[Word] = field(default_factory=list)
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    is_final: bool = False

    @property
    def text(self) -> str:
        """All of it, without a leading space."""
        return (self.stable + self.tail).strip()

    @property
    def stable_text(self) -> str:
        return self.stable.strip()

    @property
    def confidence(self) -> float:
        """The mean of its words' confidences; 0 without words, as dialects expect of no text."""
        if self.words:
            return sum(word.confidence for word in self.words) / len(self.words)
        return 1.0 if self.stable_text else 0.0

    def take(self, event: TextEvent) -> None:
        """Add an event; after a final one, the next begins another utterance."""
        if self.is_final:
            self.number += 1
            self.stable = self.tail = ""
            self.words = []
            self.start_seconds = self.end_seconds
            self.is_final = False
        self.stable += event.stable
        self.tail = "" if event.final else event.tail
        if event.words and not self.words:
            self.start_seconds = event.words[0].start_seconds
        self.words.extend(event.words)
        self.end_seconds = event.audio_seconds
        if event.final and self.words:
            self.end_seconds = max(self.words[-1].end_seconds, self.start_seconds)
        self.is_final = event.final
