"""From tokens to words with times and confidences, and to text.

Three kinds of tokens: "pieces" (BPE or unigram pieces, where a word begins with U+2581, or with a
Chinese or Japanese character; byte pieces `<0x..>` are joined to characters), "characters" (a word
separator such as a blank or `|` among them) and "words" (each token is one).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from streamgate.speech.text import is_unspaced
from streamgate.speech.tokens import Token, Vocabulary

WORD_BEGIN = "\u2581"
KINDS = ("pieces", "characters", "words")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True, slots=True)
class Word:
    """A word, from `start` to `end` in seconds of the stream. `confidence` is in [0, 1]."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class WordState:
    """The tokens of the word that has not ended yet."""

    open: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class WordJoiner:
    """Joins tokens to words.

    `frame_seconds` is the time from one of the model's output frames to the next. A word lasts from
    its first token's frame to the end of its last token's (`frame_width` later: more than 1 where
    frames are counted in a finer unit); its confidence is the geometric mean of its tokens'. Tokens
    in `silent` (unknown-word or noise marks) are left out.
    """

    vocabulary: Vocabulary
    frame_seconds: float
    kind: str = "pieces"
    separators: frozenset[str] = frozenset((" ", "|", "<space>"))
    silent: frozenset[str] = frozenset()
    frame_width: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"expected a kind of {', '.join(KINDS)}, found '{self.kind}'")

    def feed(self, state: WordState, tokens: Sequence[Token]) -> tuple[WordState, list[Word]]:
        """Take further tokens and give the words that they have ended."""
        open_tokens = list(state.open)
        words = []
        for token in tokens:
            text = self.vocabulary.text(token.id)
            if text in self.silent:
                continue
            if open_tokens and self._begins(text):
                words += self._word(open_tokens)
                open_tokens = []
            if self.kind != "characters" or text not in self.separators:
                open_tokens.append(token)
        return WordState(tuple(open_tokens)), words

    def finish(self, state: WordState) -> tuple[WordState, list[Word]]:
        """End the utterance: the open word, and a fresh state."""
        return WordState(), self._word(state.open)

    def words(self, tokens: Sequence[Token]) -> list[Word]:
        """The words of a whole utterance."""
        state, words = self.feed(WordState(), tokens)
        return words + self.finish(state)[1]

    def _begins(self, text: str) -> bool:
        if self.kind == "pieces":
            return text.startswith(WORD_BEGIN) or is_unspaced(text[:1])
        return self.kind == "words" or text in self.separators

    def _word(self, tokens: Sequence[Token]) -> list[Word]:
        """The word of these tokens; none, where they read nothing."""
        text = joined_text([self.vocabulary.text(token.id) for token in tokens]).strip()
        if not text:
            return []
        product = math.prod(token.confidence for token in tokens)
        return [
            Word(
                text,
                tokens[0].frame * self.frame_seconds,
                (tokens[-1].frame + self.frame_width) * self.frame_seconds,
                product ** (1 / len(tokens)),
            )
        ]


def joined_text(pieces: Sequence[str]) -> str:
    """What pieces read together: U+2581 is a blank, runs of byte pieces are UTF-8.

    Bytes that are no UTF-8 (yet) read as U+FFFD.
    """
    parts: list[str] = []
    raw = bytearray()
    for piece in pieces:
        byte = _BYTE.fullmatch(piece)
        if byte is not None:
            raw.append(int(byte[1], 16))
            continue
        parts += [raw.decode(errors="replace"), piece.replace(WORD_BEGIN, " ")]
        raw.clear()
    parts.append(raw.decode(errors="replace"))
    return "".join(parts)
