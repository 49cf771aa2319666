"""One state tensor of all slots of an instance, in host memory.

It knows slots, not sequences. One row beyond the slots is scratch: null rows read it, so that no
sequence's state is seen in a row that is not its own.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from streamgate.model.config import StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Shape, unpack_bytes

SCRATCH = -1
"""The slot of null rows. Never written, so it holds the initial value."""


class StateRows(Protocol):
    """One state tensor of all slots."""

    def gather(self, slots: Sequence[int]) -> Array:
        """The rows of these slots as the model sees them, batch dimension at its axis."""

    def scatter(self, slots: Sequence[int], rows: Sequence[int], output: Array) -> None:
        """Put row `rows[i]` of the model's output into slot `slots[i]`."""

    def reset(self, slot: int) -> None:
        """Give the slot the initial value."""

    def read(self, slot: int) -> Array:
        """A copy of the slot's row, without batch dimension."""

    def write(self, slot: int, row: Array) -> None:
        """Give the slot a copy of this row."""

    def shape_of(self, slot: int) -> Shape:
        """The shape of the slot's row now."""

    def size_of(self, slot: int) -> int:
        """The bytes of the slot's row now. From any thread."""


class FixedRows:
    """A state of fixed shape: one array, the slots along the batch axis."""

    def __init__(self, spec: StateSpec, slots: int, *, batches: bool) -> None:
        self._axis = spec.batch_axis if batches else 0
        self._before: tuple[Any, ...] = (slice(None),) * self._axis
        self._batches = batches
        self._initial = initial_row(spec)
        shape = list(self._initial.shape)
        shape.insert(self._axis, slots + 1)
        self._buffer: Array = np.zeros(shape, spec.datatype.dtype)
        self._rows = np.moveaxis(self._buffer, self._axis, 0)
        self._rows[:] = self._initial

    def gather(self, slots: Sequence[int]) -> Array:
        if not self._batches:
            return self.read(slots[0])
        rows: Array = np.take(self._buffer, slots, axis=self._axis)
        return rows

    def scatter(self, slots: Sequence[int], rows: Sequence[int], output: Array) -> None:
        if not self._batches:
            self._rows[slots[0]] = output
            return
        if len(slots) == 1:
            # As numpy does below in ten times the time.
            self._rows[slots[0]] = output[(*self._before, rows[0])]
            return
        self._rows[slots] = np.moveaxis(output, self._axis, 0)[rows]

    def reset(self, slot: int) -> None:
        self._rows[slot] = self._initial

    def read(self, slot: int) -> Array:
        row: Array = np.array(self._rows[slot])  # a state without dims is an array, too
        return row

    def write(self, slot: int, row: Array) -> None:
        self._rows[slot] = row

    def shape_of(self, slot: int) -> Shape:
        return self._initial.shape

    def size_of(self, slot: int) -> int:
        return _size(self._rows[slot])


class VariableRows:
    """A state whose shape may change from step to step: an array of its own for each slot."""

    def __init__(self, spec: StateSpec, slots: int, *, batches: bool) -> None:
        self._axis = spec.batch_axis
        self._batches = batches
        self._initial = initial_row(spec)
        self._slots: list[Array] = [self._initial] * (slots + 1)

    def gather(self, slots: Sequence[int]) -> Array:
        """All slots but scratch must have rows of one shape; scratch is then zeros of it."""
        if not self._batches:
            return self.read(slots[0])
        rows = [self._slots[slot] for slot in slots]
        sample = next((row for slot, row in zip(slots, rows, strict=True) if slot != SCRATCH), None)
        if sample is not None and sample.shape != self._initial.shape:
            blank = zeros(sample.shape, sample.dtype)
            rows = [
                blank if slot == SCRATCH else row for slot, row in zip(slots, rows, strict=True)
            ]
        return np.stack(rows, axis=self._axis)

    def scatter(self, slots: Sequence[int], rows: Sequence[int], output: Array) -> None:
        if not self._batches:
            self._slots[slots[0]] = output.copy()
            return
        by_row = np.moveaxis(output, self._axis, 0)
        for slot, row in zip(slots, rows, strict=True):
            self._slots[slot] = by_row[row].copy()

    def reset(self, slot: int) -> None:
        self._slots[slot] = self._initial

    def read(self, slot: int) -> Array:
        return self._slots[slot].copy()

    def write(self, slot: int, row: Array) -> None:
        self._slots[slot] = row.copy()

    def shape_of(self, slot: int) -> Shape:
        return self._slots[slot].shape

    def size_of(self, slot: int) -> int:
        return _size(self._slots[slot])


def initial_row(spec: StateSpec) -> Array:
    """A fresh slot's row: `spec.initial_bytes` or `spec.initial_value`, without batch dimension."""
    shape = spec.initial_shape
    if shape is None:
        shape = tuple(1 if size == -1 else size for size in spec.shape)
    datatype = spec.datatype
    if spec.initial_bytes is None:
        row = zeros(shape, datatype.dtype)
        if datatype is DataType.BF16:
            row[...] = _bfloat16(spec.initial_value)
        elif datatype is not DataType.BYTES:
            row[...] = spec.initial_value
        return row
    if datatype is DataType.BYTES:
        count = int(np.prod(shape, dtype=np.int64))
        return unpack_bytes(spec.initial_bytes, count, spec.input_name).reshape(shape)
    return np.frombuffer(spec.initial_bytes, datatype.dtype).reshape(shape)


def _size(row: Array) -> int:
    """Strings count as they are, without what Python needs for them."""
    if row.dtype == np.object_:
        return sum(len(text) for text in row.ravel())
    return row.nbytes


def zeros(shape: Shape, dtype: np.dtype[np.generic]) -> Array:
    """Zeros of a tensor's numpy type: for BYTES, empty strings."""
    if dtype == np.object_:
        texts: Array = np.full(shape, b"", dtype=np.object_)
        return texts
    return np.zeros(shape, dtype)


def _bfloat16(value: float) -> int:
    """The bits of the bfloat16 that is nearest, ties to even. `value` is in its range or none."""
    bits = int(np.float32(value).view(np.uint32))
    if value != value:  # noqa: PLR0124 - NaN: rounding could carry into the exponent
        return bits >> 16 | 0x40
    return bits + 0x7FFF + (bits >> 16 & 1) >> 16
