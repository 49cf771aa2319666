"""Words with times for dialects that want them, also where a model gave none."""

from collections.abc import Sequence

from streamgate.frontends.speech import Utterance, Word


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
