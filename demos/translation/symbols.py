"""What the network reads and says, as numbers.

It reads source words, FLUSH ("translate what you have") and its own pieces, each in one numbering.
After each it says READ ("go on") or a piece; a piece is read back, and so on until READ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from translation.phrases import LANGUAGES, SOURCE_WORDS, growth
from translation.pieces import Pieces

FLUSH = 0  # as an input
READ = 0  # as an output


@dataclass(frozen=True)
class Example:
    """`inputs[i]` is read, then `outputs[i]` is said. `language` indexes LANGUAGES."""

    language: int
    inputs: list[int]
    outputs: list[int]


class Symbols:
    """The two numberings over the learned pieces."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self._words = {word: index for index, word in enumerate(SOURCE_WORDS, start=1)}
        self._first_piece = len(SOURCE_WORDS) + 1

    @property
    def input_count(self) -> int:
        return self._first_piece + len(self.pieces)

    @property
    def output_count(self) -> int:
        return 1 + len(self.pieces)

    def word(self, word: str) -> int:
        return self._words[word]

    def example(self, words: Sequence[str], language: str) -> Example:
        """The sentence with each phrase said as soon as it is certain, the last ones at FLUSH."""
        example = Example(LANGUAGES.index(language), [], [])
        rest = ""
        for step in growth(words):
            closed = "".join(phrase.spelled(language) for phrase in step.closed)
            self._turn(example, self.word(step.word), closed)
            rest = "".join(phrase.spelled(language) for phrase in step.open)
        self._turn(example, FLUSH, rest)
        return example

    def _turn(self, example: Example, read: int, text: str) -> None:
        said = self.pieces.encode(text)
        example.inputs.extend((read, *(self._first_piece + piece for piece in said)))
        example.outputs.extend((*(1 + piece for piece in said), READ))
