"""The fake's running hash, twice: in plain Python to say what must come out, in numpy to run.

Words of 64 bits are scrambled by the finalizer of SplitMix64 (Steele, Lea, Flood 2014), which
changes about half the bits of its result for each bit of its argument. A row's digest sums its
scrambled words, each moved by its place, so that it can be computed for all rows at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamgate.model.request import SequenceKey
from streamgate.model.tensor import Array, pack_bytes

Words = NDArray[np.uint64]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a sequence as the fake sees it.

    `inputs` are the raw bytes of one row of each input, in the configuration's order (None where
    an optional input was left out); BYTES elements are in KServe raw form. `correlation_id` is
    None for a model without a CORRID control.
    """

    inputs: Sequence[bytes | None]
    start: bool = False
    end: bool = False
    correlation_id: SequenceKey | None = None


def expected_answers(steps: Iterable[Step], state: int = 0) -> list[int]:
    """The answer to each step of a sequence that begins in `state`."""
    answers = []
    for step in steps:
        state = mix(state, step)
        answers.append(state)
    return answers


def mix(state: int, step: Step) -> int:
    """The state after the step, which is also its answer."""
    seen = 0
    for data in step.inputs:
        seen = scramble(seen + (0 if data is None else digest(data)))
    if step.correlation_id is not None:
        seen = scramble(seen + key_word(step.correlation_id))
    flags = 1 + step.start + 2 * step.end
    return scramble(scramble(state + flags * _GOLDEN) ^ seen)


def scramble(word: int) -> int:
    """SplitMix64's finalizer."""
    word &= _MASK
    word = ((word ^ (word >> 30)) * _FIRST) & _MASK
    word = ((word ^ (word >> 27)) * _SECOND) & _MASK
    return word ^ (word >> 31)


def digest(data: bytes) -> int:
    """A word that depends on every byte, its place, and their number."""
    padded = data + bytes(-len(data) % 8)
    total = scramble(len(data))
    for place in range(0, len(padded), 8):
        word = int.from_bytes(padded[place : place + 8], "little")
        total += scramble(word + (place // 8 + 1) * _GOLDEN)
    return total & _MASK


def key_word(key: SequenceKey) -> int:
    """A correlation ID as a word."""
    return digest(key.encode()) if isinstance(key, str) else key & _MASK


def scramble_all(words: Words) -> Words:
    """`scramble` of each word."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
    return words ^ (words >> np.uint64(31))


def digest_rows(array: Array, rows: int) -> Words:
    """`digest` of each row's bytes; `array` has `rows` rows of any shape and type."""
    if array.dtype == np.object_:
        return np.array([digest(pack_bytes(row)) for row in array.reshape(rows, -1)], np.uint64)
    data = np.ascontiguousarray(array).reshape(rows, -1).view(np.uint8)
    size = data.shape[1]
    padded = np.zeros((rows, (size + 7) // 8 * 8), np.uint8)
    padded[:, :size] = data
    words = padded.view("<u8").astype(np.uint64, copy=False)
    places = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    total: Words = scramble_all(words + places).sum(axis=1, dtype=np.uint64)
    return total + scramble_all(np.full(rows, size, np.uint64))


def mix_rows(
    states: Words,
    digests: Sequence[Words],
    starts: Array,
    ends: Array,
    keys: Words | None,
) -> Words:
    """`mix` of each row. `digests` holds one array for each input, zeros where it was left out."""
    seen = np.zeros_like(states)
    for words in digests:
        seen = scramble_all(seen + words)
    if keys is not None:
        seen = scramble_all(seen + keys)
    flags = (1 + starts.astype(np.uint64) + 2 * ends.astype(np.uint64)).astype(np.uint64)
    return scramble_all(scramble_all(states + flags * np.uint64(_GOLDEN)) ^ seen)
