"""Random sentences about numbers, as (what is said, the words the model should write)."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

from vocabulary import WORDS

UNITS = WORDS[1:10]
DIGITS = WORDS[:10]
TEENS = WORDS[10:20]
TENS = WORDS[20:28]

# Words around a number that the model must not write: none of them is in the vocabulary or
# sounds like a word of it (to, for, won, ate, and so on would).
_BEFORE = (
    "the number is",
    "my code is",
    "please call",
    "it costs",
    "that makes",
    "I live at",
    "the answer is",
    "we need",
    "your balance is",
    "the temperature is",
    "a total of",
    "flight",
    "room",
    "channel",
    "she said",
    "roughly",
    "about",
    "almost",
    "change it back",
)
_AFTER = (
    "please", "thank you", "exactly", "is correct", "people", "kilometres", "minutes", "sir",
    "is my number", "more or less", "grams", "was the result", "degrees", "thanks", "I believe",
)  # fmt: skip
_OTHER = (
    "good morning", "thank you very much", "hello", "could you repeat that", "yes", "no",
    "I am sorry", "the weather is lovely today", "let me check", "hold the line please",
    "see you tomorrow", "what is your name", "goodbye", "this is a test", "wait a moment",
    "my friend lives in a small house", "can you hear me", "of course", "maybe later",
    "the meeting was moved", "I will call you back", "open the door", "music", "all right",
    "where is the station", "he bought a red car", "we should leave early", "how are you",
    "water", "please leave a message", "the quick brown fox jumps over the lazy dog",
    "a bird was singing in the garden", "several people asked the same question", "never mind",
)  # fmt: skip

# Common words for talk about anything: none is a number or sounds like one.
_COMMON = Path(__file__).with_name("common_words.txt").read_text(encoding="utf-8").split()


@dataclass(frozen=True, slots=True)
class Sentence:
    spoken: str  # text for a synthesiser: words of any kind, commas for pauses
    words: tuple[str, ...]  # words of the vocabulary in it, in order


def sentence(random: Random) -> Sentence:
    """Returns a random sentence; its kind and length follow what callers say to machines."""
    kind = random.random()
    if kind < 0.05:
        said = random.choice(_OTHER) if random.random() < 0.3 else chatter(random, 8)
        return Sentence(said, ())
    return carried(random) if kind < 0.15 else plain(random)


def plain(random: Random) -> Sentence:
    """A number and nothing else."""
    words = number_words(random)
    return Sentence(_with_pauses(words, random), tuple(words))


def carried(random: Random) -> Sentence:
    """A number within a phrase or other talk."""
    number = plain(random)
    talk = random.random() < 0.5
    before = chatter(random, 3) if talk else random.choice(_BEFORE)
    after = chatter(random, 3) if talk else random.choice(_AFTER)
    places = random.choice(((before, ""), (before, after), ("", after)))
    comma = random.choice((" ", ", "))
    return Sentence(comma.join(filter(None, (places[0], number.spoken, places[1]))), number.words)


def chatter(random: Random, longest: int) -> str:
    """Common words in no order: talk without numbers."""
    return " ".join(random.choices(_COMMON, k=random.randrange(1, longest + 1)))


def number_words(random: Random) -> list[str]:
    """Returns the words of one random number, price, code or the like."""
    makers = (_digits, _cardinal, _decimal, _money, _percent, _year, _single, _anything, _pairs)
    weights = (30, 22, 8, 8, 4, 5, 7, 12, 4)
    return random.choices(makers, weights)[0](random)


def cardinal(value: int, *, british: bool) -> list[str]:
    """Returns 0 <= value < 10**12 in words: "one hundred (and) five" for 105."""
    if value == 0:
        return ["zero"]
    words: list[str] = []
    for scale, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand")):
        count, value = divmod(value, scale)
        if count:
            words += [*_below_1000(count, british=british), name]
    if value:
        if words and british and value < 100:
            words.append("and")
        words += _below_1000(value, british=british)
    return words


def digit_string(random: Random, length: int) -> list[str]:
    """Returns `length` digits as read out one by one, sometimes with oh, double and triple."""
    zero = "oh" if random.random() < 0.3 else "zero"
    grouped = random.random() < 0.25
    words: list[str] = []
    while length > 0:
        digit = random.choice(DIGITS)
        digit = zero if digit == "zero" else digit
        repeat = random.choices((1, 2, 3), (80, 14, 6))[0] if grouped else 1
        if repeat > length:
            repeat = 1
        prefix = {1: [], 2: ["double"], 3: ["triple"]}[repeat]
        words += [*prefix, digit]
        length -= repeat
    return words


def _below_1000(value: int, *, british: bool) -> list[str]:
    hundreds, rest = divmod(value, 100)
    words = [DIGITS[hundreds], "hundred"] if hundreds else []
    if hundreds and rest and british:
        words.append("and")
    if rest >= 20:
        words.append(TENS[rest // 10 - 2])
        rest %= 10
    if rest >= 10:
        words.append(TEENS[rest - 10])
    elif rest:
        words.append(DIGITS[rest])
    return words


def _random_cardinal(random: Random) -> list[str]:
    largest = 10 ** random.choices((2, 3, 4, 6, 7, 9, 12), (30, 25, 15, 14, 6, 6, 4))[0]
    value = random.randrange(largest)
    if random.random() < 0.25:  # round numbers are common in speech
        size = 10 ** random.randrange(len(str(value)))
        value -= value % size
    return cardinal(value, british=random.random() < 0.5)


def _digits(random: Random) -> list[str]:
    plus = ["plus"] if random.random() < 0.08 else []
    return plus + digit_string(
        random, random.choices(range(2, 13), (6, 10, 14, 10, 10, 9, 8, 7, 12, 7, 7))[0]
    )


def _cardinal(random: Random) -> list[str]:
    return (["minus"] if random.random() < 0.12 else []) + _random_cardinal(random)


def _decimal(random: Random) -> list[str]:
    sign = random.choices(([], ["minus"], ["plus"]), (6, 3, 1))[0]
    whole = cardinal(random.randrange(200), british=False)
    return [*sign, *whole, "point", *random.choices(DIGITS, k=random.choice((1, 1, 2, 2, 3, 4)))]


def _money(random: Random) -> list[str]:
    british = random.random() < 0.5
    words = [*_random_cardinal(random), random.choice(("dollars", "dollars", "euros"))]
    if random.random() < 0.65:
        joint = ["and"] if random.random() < 0.6 else []
        words += [*joint, *cardinal(random.randrange(2, 100), british=british), "cents"]
    return words


def _percent(random: Random) -> list[str]:
    words = (
        _decimal(random)
        if random.random() < 0.5
        else cardinal(random.randrange(101), british=False)
    )
    return [*words, "percent"]


def _year(random: Random) -> list[str]:
    century = random.choice(
        ("sixteen", "seventeen", "eighteen", "nineteen", "nineteen", "twenty", "twenty")
    )
    rest = random.randrange(100)
    if rest == 0:
        return [century, "hundred"]
    return [century, *(["oh", DIGITS[rest]] if rest < 10 else cardinal(rest, british=False))]


def _single(random: Random) -> list[str]:
    return [random.choice(WORDS)]


def _anything(random: Random) -> list[str]:
    """Words in no sensible order: what comes next must be heard, not guessed."""
    return random.choices(WORDS, k=random.randrange(2, 8))


def _pairs(random: Random) -> list[str]:
    """A code read in pairs: "forty two seventeen ninety"."""
    return [
        word
        for _ in range(random.randrange(2, 5))
        for word in cardinal(random.randrange(10, 100), british=False)
    ]


def _with_pauses(words: list[str], random: Random) -> str:
    """Joins `words`; commas make a synthesiser pause, as people do between groups of digits."""
    rate = random.choices((0.0, 0.12, 0.3, 1.0), (55, 25, 15, 5))[0]
    return "".join(
        word + ("" if index == len(words) - 1 else ", " if random.random() < rate else " ")
        for index, word in enumerate(words)
    )
