"""Random sentences with numbers in them, for training and for measuring.

Numbers are held out by a hash of their value: a held-out number is in no sentence for training, in
no language, alone or beside others, nor does one read as a number while it is still growing.
"""

import random
import zlib

from translation import number_words, phrases

_HELD_OUT_FROM = 100  # below, each number is a word to learn, and cannot be derived from others
_HELD_OUT_ONE_IN = 10


def is_held_out(number: int) -> bool:
    return number >= _HELD_OUT_FROM and zlib.crc32(str(number).encode()) % _HELD_OUT_ONE_IN == 0


def training_sentence(rng: random.Random) -> list[str]:
    """Source words of a sentence without a held-out number; a part of them break off anywhere."""
    while True:
        words = sentence(rng)
        if rng.random() < 0.4:
            words = words[: rng.randint(1, len(words))]
        if not any(is_held_out(value) for value in phrases.values(words)):
            return words


def sentence(rng: random.Random) -> list[str]:
    """Source words: a number, digits, a decimal, or several of these among other words."""
    kind = rng.random()
    if kind < 0.4:
        return cardinal(rng)
    if kind < 0.55:
        return digits(rng, rng.randint(2, 12))
    if kind < 0.65:
        return decimal(rng)
    words = []
    for _ in range(rng.randint(2, 5) if rng.random() < 0.9 else rng.randint(6, 12)):
        if rng.random() < 0.25:
            words += [phrases.WORD] * rng.randint(1, 3)
        part = rng.random()
        if part < 0.6:
            words += cardinal(rng)
        elif part < 0.85:
            words += digits(rng, rng.randint(1, 5))
        else:
            words += decimal(rng)
        if rng.random() < 0.25:
            words.append(rng.choice((phrases.MARK, "and", "plus", "percent")))
    if rng.random() < 0.05:
        words[rng.randrange(len(words))] = rng.choice(phrases.SOURCE_WORDS)
    return words


def cardinal(rng: random.Random) -> list[str]:
    """Any number of digits is as likely as any other but the longest, which are more so."""
    places = rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6))
    number = rng.randrange(10 ** (places - 1) if places > 1 else 0, 10**places)
    if rng.random() < 0.3:  # numbers with gaps, such as 40,007, are rare by chance
        number = int("".join(rng.choice((digit, "0")) for digit in str(number)))
    minus = ["minus"] if rng.random() < 0.03 else []
    return minus + number_words.english(number, british=rng.random() < 0.4).split()


def digits(rng: random.Random, count: int) -> list[str]:
    words = [number_words.english(rng.randrange(10)) for _ in range(count)]
    zero = rng.choice(("zero", "oh"))
    return [zero if word == "zero" else word for word in words]


def decimal(rng: random.Random) -> list[str]:
    whole = cardinal(rng) if rng.random() < 0.7 else []
    return [*whole, "point", *digits(rng, rng.randint(1, 5))]
