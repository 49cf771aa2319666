"""Pieces of target words, learned from text by byte-pair merging of characters.

A space belongs to the piece that follows it: " vier" may be one piece, or " ", "vi" and "er".
What stands in angle brackets, as "<word>", is one piece and never taken apart.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

Word = tuple[str, ...]


_WORD = re.compile(r"<\w+>| ?[^ <]+| ")


def learn(texts: Iterable[str], count: int) -> list[str]:
    """At most `count` pieces: what is in brackets, the characters, then the frequent merges."""
    words = Counter(word for text in texts for word in _WORD.findall(text))
    whole = sorted(word for word in words if word.startswith("<"))
    split = {tuple(word): times for word, times in words.items() if word not in whole}
    found = [*whole, *sorted({character for word in split for character in word})]
    while len(found) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in split.items():
            for pair in pairwise(word):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        found.append("".join(best))
        split = {_merged(word, best): times for word, times in split.items()}
    return found


class Pieces:
    """Takes texts apart, greedily by the order in which the pieces were learned."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = list(pieces)
        self._ranks = {piece: rank for rank, piece in enumerate(pieces)}
        self._cache: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """The indices of the pieces that `text` is made of. KeyError for an unknown character."""
        return [index for word in _WORD.findall(text) for index in self._encode_word(word)]

    def decode(self, indices: Iterable[int]) -> str:
        return "".join(self.pieces[index] for index in indices)

    def _encode_word(self, word: str) -> list[int]:
        if word not in self._cache:
            self._cache[word] = [self._ranks[piece] for piece in self._split(word)]
        return self._cache[word]

    def _split(self, word: str) -> Word:
        if word.startswith("<"):
            return (word,)
        parts = tuple(word)
        while len(parts) > 1:
            known = [pair for pair in pairwise(parts) if "".join(pair) in self._ranks]
            if not known:
                break
            parts = _merged(parts, min(known, key=lambda pair: self._ranks["".join(pair)]))
        return parts


def _merged(word: Word, pair: tuple[str, str]) -> Word:
    parts = []
    position = 0
    while position < len(word):
        if word[position : position + 2] == pair:
            parts.append("".join(pair))
            position += 2
        else:
            parts.append(word[position])
            position += 1
    return tuple(parts)
