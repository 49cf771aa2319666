"""From utterances to captions that can be read: short lines, changed where the speaker pauses."""

from collections.abc import Iterable, Iterator
from typing import Final

from streamgate.speech.subtitles import Cue
from streamgate.transcribe.transcript import Utterance, Word

LINE_CHARACTERS: Final = 42  # what broadcasters and film services agree on
LINES: Final = 2
PAUSE_SECONDS: Final = 0.5
CAPTION_SECONDS_MAX: Final = 6.0
CAPTION_SECONDS_MIN: Final = 0.7


def captions(utterances: Iterable[Utterance]) -> list[Cue]:
    """Cues of at most LINES lines of LINE_CHARACTERS; none goes over the end of an utterance, nor
    over a pause. One that would be gone at once stays a little, until the next one at most."""
    groups = [group for each in utterances for group in _groups(each)]
    cues = []
    for index, group in enumerate(groups):
        start, end = group[0].start, max(group[-1].end, group[0].start)
        later = groups[index + 1][0].start if index + 1 < len(groups) else float("inf")
        end = max(end, min(start + CAPTION_SECONDS_MIN, later))
        cues.append(Cue(start, end, "\n".join(_balanced(group))))
    return cues


def _groups(utterance: Utterance) -> Iterator[list[Word]]:
    """The words of each caption."""
    group: list[Word] = []
    for word in _words(utterance):
        is_long = bool(group) and (
            len(_lines([*group, word])) > LINES
            or word.start - group[-1].end >= PAUSE_SECONDS
            or word.end - group[0].start > CAPTION_SECONDS_MAX
        )
        if is_long:
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _words(utterance: Utterance) -> Iterator[Word]:
    """Words with times; guessed by their length, where the model tells none. Words that are longer
    than a line (there are languages without blanks) come in pieces."""
    words = utterance.words
    if not words:
        texts = utterance.text.split()
        total = sum(len(text) + 1 for text in texts) or 1
        pace, at, words = (utterance.end - utterance.start) / total, utterance.start, []
        for text in texts:
            words.append(Word(text, at, at + pace * len(text)))
            at += pace * (len(text) + 1)
    for word in words:
        count = -(-len(word.text) // LINE_CHARACTERS) or 1
        step = (word.end - word.start) / count
        for index in range(count):
            piece = word.text[index * LINE_CHARACTERS : (index + 1) * LINE_CHARACTERS]
            begin = word.start + index * step
            yield Word(piece, begin, begin + step)


def _lines(words: list[Word]) -> list[str]:
    lines = [""]
    for word in words:
        longer = f"{lines[-1]} {word.text}".strip()
        if len(longer) <= LINE_CHARACTERS:
            lines[-1] = longer
        else:
            lines.append(word.text)
    return lines


def _balanced(words: list[Word]) -> list[str]:
    """The lines; two are made as equal as can be, which is easier to read."""
    lines = _lines(words)
    if len(lines) != 2:
        return lines
    texts = [word.text for word in words]
    halves = ([" ".join(texts[:at]), " ".join(texts[at:])] for at in range(1, len(texts)))
    return min(halves, key=lambda pair: max(map(len, pair)))
