"""The words that the model *Spoken numbers* knows, and how each is pronounced."""

BLANK = 0

# Phones in the manner of ARPAbet, without stress. They are a second, easier target in training
# (what was said within a word), and are not part of the exported model.
PRONUNCIATIONS = {
    "zero": "z ih r ow",
    "one": "w ah n",
    "two": "t uw",
    "three": "th r iy",
    "four": "f ao r",
    "five": "f ay v",
    "six": "s ih k s",
    "seven": "s eh v ah n",
    "eight": "ey t",
    "nine": "n ay n",
    "ten": "t eh n",
    "eleven": "ih l eh v ah n",
    "twelve": "t w eh l v",
    "thirteen": "th er t iy n",
    "fourteen": "f ao r t iy n",
    "fifteen": "f ih f t iy n",
    "sixteen": "s ih k s t iy n",
    "seventeen": "s eh v ah n t iy n",
    "eighteen": "ey t iy n",
    "nineteen": "n ay n t iy n",
    "twenty": "t w eh n t iy",
    "thirty": "th er t iy",
    "forty": "f ao r t iy",
    "fifty": "f ih f t iy",
    "sixty": "s ih k s t iy",
    "seventy": "s eh v ah n t iy",
    "eighty": "ey t iy",
    "ninety": "n ay n t iy",
    "hundred": "hh ah n d r ah d",
    "thousand": "th aw z ah n d",
    "million": "m ih l y ah n",
    "billion": "b ih l y ah n",
    "and": "ah n d",
    "point": "p oy n t",
    "minus": "m ay n ah s",
    "oh": "ow",
    "double": "d ah b ah l",
    "triple": "t r ih p ah l",
    "dollars": "d aa l er z",
    "cents": "s eh n t s",
    "euros": "y uh r ow z",
    "percent": "p er s eh n t",
    "plus": "p l ah s",
}

WORDS = tuple(PRONUNCIATIONS)  # token i + 1 is WORDS[i]; token 0 is the blank
TOKENS = len(WORDS) + 1

PHONES = tuple(sorted({phone for word in PRONUNCIATIONS.values() for phone in word.split()}))


def token_ids(words: list[str]) -> list[int]:
    """Returns the tokens of `words`. Raises KeyError naming a word that the model doesn't know."""
    return [_TOKEN_OF[word] for word in words]


def phone_ids(words: list[str]) -> list[int]:
    """Returns the phones of `words`, numbered from 1 (0 is the blank of the second target)."""
    return [_PHONE_OF[phone] for word in words for phone in PRONUNCIATIONS[word].split()]


_TOKEN_OF = {word: index + 1 for index, word in enumerate(WORDS)}
_PHONE_OF = {phone: index + 1 for index, phone in enumerate(PHONES)}
