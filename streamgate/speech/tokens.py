"""What searches find: tokens with their times, and the files that say what tokens read.

`Vocabulary` reads the tokens.txt of icefall, sherpa-onnx and NeMo: one token a line, its text, a
blank, its number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamgate.model.tensor import Array

BLANK_NAMES = ("<blk>", "<blank>", "<eps>", "<pad>")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a hypothesis.

    `frame` is the position of the model's output frame that brought it, counted from the start of
    the stream. `confidence` is its probability there, in [0, 1].
    """

    id: int
    frame: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What each token reads. `blank` is the number of the one that is nothing."""

    texts: tuple[str, ...]
    blank: int

    def __post_init__(self) -> None:
        if not 0 <= self.blank < len(self.texts):
            raise ValueError(f"expected a blank among {len(self.texts)} tokens, found {self.blank}")

    def text(self, token: int) -> str:
        """What a token reads. Raises ValueError for a number that no line has."""
        if not 0 <= token < len(self.texts):
            raise ValueError(f"token {token} is not among the {len(self.texts)} of the vocabulary")
        return self.texts[token]

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """Read a tokens.txt.

        The blank is the token of a usual name (`<blk>`, `<blank>`, `<eps>`, `<pad>`). Raises
        ValueError, with the path and the line, for what is no such file, and OSError.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            return cls.parse(lines)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, lines: Iterable[str]) -> "Vocabulary":
        """As `read`, of lines."""
        texts: dict[int, str] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            # The token itself may be a blank: then the line begins with two.
            text, _, digits = line.rstrip("\r\n").rpartition(" ")
            if not digits.isdecimal():
                raise ValueError(f"line {number}: expected a token and its number, found {line!r}")
            if int(digits) in texts:
                raise ValueError(f"line {number}: there is another token with number {digits}")
            texts[int(digits)] = text or " "
        if sorted(texts) != list(range(len(texts))):
            raise ValueError(
                f"expected tokens with the numbers 0 to {len(texts) - 1}, found {len(texts)} with "
                f"numbers up to {max(texts, default=0)}"
            )
        ordered = tuple(texts[number] for number in range(len(texts)))
        blank = next((ordered.index(name) for name in BLANK_NAMES if name in ordered), None)
        if blank is None:
            raise ValueError(f"expected a blank token named {' or '.join(BLANK_NAMES)}")
        return cls(ordered, blank)


def log_softmax(scores: Array) -> Array:
    """Scores (logits or log-probabilities alike) as log-probabilities over the last axis, float64.

    In float64 so that adding up a long hypothesis does not depend on its order.
    """
    wide = scores.astype(np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def moved(tokens: Sequence[Token], frames: int) -> tuple[Token, ...]:
    """The tokens as if the stream had begun `frames` frames earlier."""
    return tuple(Token(each.id, each.frame + frames, each.confidence) for each in tokens)
