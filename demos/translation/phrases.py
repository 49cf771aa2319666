"""Which words belong to one number, and what is certain while a sentence still grows.

Used to make training data and references only (see `number_words`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from translation import number_words

WORD = "<word>"  # any word that is no number's: it is copied
MARK = "<mark>"  # a punctuation mark, copied to the end of the word before it

LANGUAGES = ("de", "fr", "es")

# What stands for itself. A "hundred" or "thousand" is here for when nothing is before it.
_SINGLE_WORDS = {
    "oh": ("null", "zéro", "cero"),
    "point": ("Komma", "virgule", "coma"),
    "minus": ("minus", "moins", "menos"),
    "plus": ("plus", "plus", "más"),
    "percent": ("Prozent", "pour cent", "por ciento"),
    "and": ("und", "et", "y"),
    "hundred": ("hundert", "cent", "cien"),
    "thousand": ("tausend", "mille", "mil"),
    WORD: (WORD, WORD, WORD),
    MARK: (MARK, MARK, MARK),
}

# What a word costs that would rather be part of a number: see `phrases_of`.
_BARE_COSTS = {"hundred": 100, "thousand": 100, "and": 1}

_BELOW_TWENTY = {number_words.english(number): number for number in range(20)}
_TENS = {number_words.english(number): number for number in range(20, 100, 10)}

SOURCE_WORDS = (*_BELOW_TWENTY, *_TENS, *_SINGLE_WORDS)


@dataclass(frozen=True)
class Phrase:
    """Source words that are translated as one; `value` is None for what is not a number."""

    words: tuple[str, ...]
    value: int | None

    def spelled(self, language: str) -> str:
        """The translation, its leading space (none before a mark) included."""
        if self.value is not None:
            return " " + number_words.SPELLERS[language](self.value)
        text = _SINGLE_WORDS[self.words[0]][LANGUAGES.index(language)]
        return text if text == MARK else f" {text}"


@dataclass(frozen=True)
class Growth:
    """What one more source word makes certain, and what it leaves open (oldest first)."""

    word: str
    closed: tuple[Phrase, ...]
    open: tuple[Phrase, ...]


def growth(words: Sequence[str]) -> Iterator[Growth]:
    """The sentence word by word: each phrase is in exactly one `closed`, or in the last `open`."""
    waiting: tuple[str, ...] = ()
    for word in words:
        phrases = phrases_of((*waiting, word))
        certain = len(phrases) - _open_phrases(phrases)
        yield Growth(word, phrases[:certain], phrases[certain:])
        waiting = tuple(w for phrase in phrases[certain:] for w in phrase.words)


def translation(words: Sequence[str], language: str) -> str:
    """The reference for a whole sentence."""
    text = ""
    rest: tuple[Phrase, ...] = ()
    for step in growth(words):
        text += "".join(phrase.spelled(language) for phrase in step.closed)
        rest = step.open
    return text + "".join(phrase.spelled(language) for phrase in rest)


def values(words: Sequence[str]) -> list[int]:
    """All numbers that the sentence reads as, those of its unfinished beginnings included."""
    seen = [phrase for step in growth(words) for phrase in (*step.closed, *step.open)]
    return [phrase.value for phrase in seen if phrase.value is not None]


def _open_phrases(phrases: tuple[Phrase, ...]) -> int:
    """How many phrases at the end may still be read otherwise: the last number, perhaps "and"."""
    last = phrases[-1]
    if last.value is not None:
        return 1
    if last.words == ("and",) and len(phrases) > 1:
        before = phrases[-2]
        if before.value is not None and before.words[-1] in {"hundred", "thousand"}:
            return 2
    return 0


@lru_cache(maxsize=100_000)
def phrases_of(words: tuple[str, ...]) -> tuple[Phrase, ...]:
    """The reading with the fewest bare "hundred", "thousand", then "and"; then the longest numbers
    first."""
    best: list[tuple[tuple[int, ...], tuple[Phrase, ...]]] = [((0,), ())]
    for start in range(len(words) - 1, -1, -1):
        readings = []
        for end in range(start + 1, len(words) + 1):
            value = _value(words[start:end])
            if value is None and end > start + 1:
                continue
            bare = _BARE_COSTS.get(words[start], 0) if value is None else 0
            cost, rest = best[len(words) - end]
            phrase = Phrase(words[start:end], value)
            # First the bare words count, then the lengths: negative, so that long is less.
            readings.append(((cost[0] + bare, start - end, *cost[1:]), (phrase, *rest)))
        best.append(min(readings, key=lambda reading: reading[0]))
    return best[-1][1]


@lru_cache(maxsize=100_000)
def _value(words: tuple[str, ...]) -> int | None:
    """The number that is spelled so, with or without "and"; None if there is none."""
    if "thousand" in words:
        cut = words.index("thousand")
        thousands = _below_thousand(words[:cut])
        if thousands is None or thousands == 0:
            return None
        rest = words[cut + 1 :]
        if not rest:
            return thousands * 1000
        joined = rest[0] == "and"
        below = _below_thousand(rest[1:] if joined else rest)
        if below is None or below == 0 or (joined and below >= 100):
            return None
        return thousands * 1000 + below
    return _below_thousand(words)


def _below_thousand(words: tuple[str, ...]) -> int | None:
    if "hundred" not in words:
        return _below_hundred(words)
    cut = words.index("hundred")
    hundreds = _below_hundred(words[:cut])
    if hundreds is None or not 1 <= hundreds <= 9:
        return None
    rest = words[cut + 1 :]
    if not rest:
        return hundreds * 100
    below = _below_hundred(rest[1:] if rest[0] == "and" else rest)
    return None if below is None or below == 0 else hundreds * 100 + below


def _below_hundred(words: tuple[str, ...]) -> int | None:
    if len(words) == 1:
        return _BELOW_TWENTY.get(words[0], _TENS.get(words[0]))
    if len(words) == 2 and words[0] in _TENS:
        unit = _BELOW_TWENTY.get(words[1], 0)
        return _TENS[words[0]] + unit if 1 <= unit <= 9 else None
    return None
