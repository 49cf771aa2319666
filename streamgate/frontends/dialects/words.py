"""Words with times for dialects that want them, also where a model gave none."""

from collections.abc import Sequence
from typing import final

from streamgate.frontends.speech import SpeechModel, TextEvent, Utterance, Word


def stable_words(utterance: Utterance) -> Sequence[Word]:
    """The words that won't change. Without word times of the model's, they are spread evenly over
    the utterance, with confidence 1."""
    if utterance.words:
        return utterance.words
    return spread(utterance.stable, utterance.start_seconds, utterance.end_seconds, 1.0)


def all_words(utterance: Utterance) -> list[Word]:
    """These and those that may still change, which no model gives times for: they are spread
    evenly over the audio behind the others, with confidence 0."""
    words = list(stable_words(utterance)) if utterance.words or not utterance.tail else []
    if not utterance.tail:
        return words
    text = utterance.tail if words else utterance.stable + utterance.tail
    start = words[-1].end_seconds if words else utterance.start_seconds
    return words + spread(text, start, utterance.end_seconds, 0.0)


def spread(text: str, start: float, end: float, confidence: float) -> list[Word]:
    """The words of a text, each with an equal share of the time. Seconds."""
    parts = text.split()
    share = max(0.0, end - start) / max(1, len(parts))
    return [
        Word(part, start + place * share, start + (place + 1) * share, confidence)
        for place, part in enumerate(parts)
    ]


@final
class WordByWord:
    """Stable text as whole words, each once, as soon as it can't grow any more: for dialects that
    only append words."""

    def __init__(self, model: SpeechModel) -> None:
        self._are_given = any(spec.name == "WORDS" for spec in model.config.outputs)
        self._text = ""
        self._since_seconds = 0.0

    @property
    def rest(self) -> str:
        """Stable text that was not given as a word yet."""
        return self._text

    def take(self, event: TextEvent) -> Sequence[Word]:
        """The words that this event completes. Those of a model that gives no words get an even
        share of the audio since the last ones."""
        if self._are_given:
            return event.words
        self._text += event.stable
        if event.final:
            done, self._text = self._text, ""
        else:
            done, space, rest = self._text.rpartition(" ")
            self._text = space + rest
        if not done.strip():
            return ()
        words = spread(done, self._since_seconds, event.audio_seconds, 1.0)
        self._since_seconds = event.audio_seconds
        return words
