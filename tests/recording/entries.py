"""Entries and bundles for tests, and files of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Tensor
from streamgate.recording.format import MAGIC
from streamgate.recording.values import (
    Composing,
    End,
    Entry,
    Header,
    Result,
    Step,
    StoredTensor,
    encode,
)

HEADER = Header(
    "0.0.0",
    "m",
    "1",
    '{"name":"m","max_batch_size":4}',
    "2026-01-01T00:00:00.000+00:00",
    "caller 7",
    (Composing("part", "2", '{"name":"part"}'),),
)


def floats(name: str, *values: float) -> StoredTensor:
    array = np.array(values, np.float32)
    return StoredTensor.of(Tensor.of(name, array, DataType.FP32))


def words(name: str, *values: bytes) -> StoredTensor:
    array = np.array([*values, None], np.object_)[:-1]
    return StoredTensor.of(Tensor.of(name, array, DataType.BYTES))


def step(number: int, *inputs: StoredTensor, start: bool = False, end: bool = False) -> Step:
    return Step(number, number, 1000 * number, inputs, ["OUT"], {}, start or not number, end)


def result(number: int, *outputs: StoredTensor, index: int = 0, final: bool = True) -> Result:
    return Result(number, index, 1000 * number + 1, outputs, final=final)


def plain(*answers: float) -> list[Entry]:
    """A sequence that answers these, one a step."""
    entries: list[Entry] = [HEADER]
    for number, answer in enumerate(answers):
        last = number == len(answers) - 1
        entries += [
            step(number, floats("IN", number), end=last),
            result(number, floats("OUT", answer)),
        ]
    return [*entries, End("client_end", 9000)]


def write(path: Path, entries: Iterable[Entry]) -> Path:
    path.write_bytes(MAGIC + b"".join(encode(entry) for entry in entries))
    return path


def sizes(entries: Sequence[Entry]) -> list[int]:
    """Where each record ends in the file."""
    ends, place = [], len(MAGIC)
    for entry in entries:
        place += len(encode(entry))
        ends.append(place)
    return ends
