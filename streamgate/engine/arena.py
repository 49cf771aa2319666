"""Where the states of an instance's slots live: one allocation per state tensor.

Host memory here; an arena on a device keeps the same four verbs. Used by one thread, the
stepper's. It knows slots, not sequences: whoever calls has checked the generation.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streamgate.errors import Code, StreamGateError
from streamgate.model.config import StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Shape


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One slot's states after the step at `position`, by `StateSpec.input_name`.

    `schema` is the fingerprint of the states' names, types, shapes and batch axes: a snapshot is
    only restored where it is equal.
    """

    position: int
    schema: str
    states: Mapping[str, Array]

    @property
    def size_bytes(self) -> int:
        return sum(array.nbytes for array in self.states.values())


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

    def write(self, slot: int, row: Array) -> None: ...

    def shape_of(self, slot: int) -> Shape:
        """The shape of the slot's row now."""


class FixedRows:
    """A state of fixed shape: one array, the slots along the batch axis.

    The array has one row more than there are slots: scratch, so that nothing that a padding row
    writes can reach a sequence.
    """

    def __init__(self, spec: StateSpec, slots: int, *, batches: bool) -> None:
        self._axis = spec.batch_axis if batches else 0
        self._batches = batches
        self._dtype = spec.datatype.dtype
        self._initial = initial_row(spec)
        shape = list(self._initial.shape)
        shape.insert(self._axis, slots + 1)
        self._buffer: Array = np.zeros(shape, self._dtype)
        self._rows = np.moveaxis(self._buffer, self._axis, 0)
        self._rows[:] = self._initial

    def gather(self, slots: Sequence[int]) -> Array:
        if not self._batches:
            row: Array = self._rows[slots[0]].copy()
            return row
        rows: Array = np.take(self._buffer, slots, axis=self._axis)
        return rows

    def scatter(self, slots: Sequence[int], rows: Sequence[int], output: Array) -> None:
        if not self._batches:
            self._rows[slots[0]] = output
            return
        self._rows[slots] = np.moveaxis(output, self._axis, 0)[rows]

    def reset(self, slot: int) -> None:
        self._rows[slot] = self._initial

    def read(self, slot: int) -> Array:
        row: Array = self._rows[slot].copy()
        return row

    def write(self, slot: int, row: Array) -> None:
        self._rows[slot] = row

    def shape_of(self, slot: int) -> Shape:
        return self._initial.shape


class VariableRows:
    """A state whose shape may change from step to step: an array of its own for each slot."""

    def __init__(self, spec: StateSpec, slots: int, *, batches: bool) -> None:
        self._axis = spec.batch_axis
        self._batches = batches
        self._initial = initial_row(spec)
        self._slots: list[Array] = [self._initial] * (slots + 1)

    def gather(self, slots: Sequence[int]) -> Array:
        if not self._batches:
            return self._slots[slots[0]].copy()
        return np.stack([self._slots[slot] for slot in slots], axis=self._axis)

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


class Arena:
    """All states of one instance's slots."""

    def __init__(self, specs: Sequence[StateSpec], slots: int, *, batches: bool) -> None:
        self.slots = slots
        self.schema = schema_of(specs, batches=batches)
        self._specs = tuple(specs)
        self._batches = batches
        self._states: dict[str, StateRows] = {
            spec.input_name: (VariableRows if -1 in spec.shape else FixedRows)(
                spec, slots, batches=batches
            )
            for spec in specs
        }
        self.has_states = bool(specs)
        self.varies = any(-1 in spec.shape for spec in specs)

    def gather(self, slots: Sequence[int], fresh: Sequence[int]) -> dict[str, Array]:
        """The state inputs of these slots, in this order, after resetting the `fresh` ones.

        Where `varies`, all slots must have rows of one shape (see `shapes_of`).
        """
        for slot in fresh:
            self.reset(slot)
        return {name: state.gather(slots) for name, state in self._states.items()}

    def scatter(
        self, slots: Sequence[int], rows: Sequence[int], outputs: Mapping[str, Array]
    ) -> None:
        """Keep row `rows[i]` of each state output for slot `slots[i]`.

        A state output that the model left out keeps its old value, as in Triton. Raises
        StreamGateError (INTERNAL) when an output's shape or type is not that of its state; then
        no slot has changed.
        """
        found = [
            (spec, outputs[spec.output_name]) for spec in self._specs if spec.output_name in outputs
        ]
        for spec, output in found:
            self._check(spec, output)
        for spec, output in found:
            self._states[spec.input_name].scatter(slots, rows, output)

    def reset(self, slot: int) -> None:
        """Give the slot's states their initial values."""
        for state in self._states.values():
            state.reset(slot)

    def shapes_of(self, slot: int) -> tuple[Shape, ...]:
        """The shapes of the slot's states now: rows of equal shapes can share a batch."""
        return tuple(state.shape_of(slot) for state in self._states.values())

    def snapshot(self, slot: int, position: int) -> Snapshot:
        """A copy of the slot's states."""
        states = {name: state.read(slot) for name, state in self._states.items()}
        return Snapshot(position, self.schema, states)

    def restore(self, slot: int, snapshot: Snapshot) -> None:
        """Give the slot a snapshot's states. Raises StreamGateError where schemas differ."""
        if snapshot.schema != self.schema:
            raise StreamGateError(
                Code.INVALID_ARG,
                f"snapshot has state schema {snapshot.schema}, expected {self.schema}",
            )
        for name, state in self._states.items():
            state.write(slot, snapshot.states[name])

    def _check(self, spec: StateSpec, output: Array) -> None:
        shape = list(output.shape)
        if self._batches and len(shape) > spec.batch_axis:
            del shape[spec.batch_axis]
        fits = len(shape) == len(spec.shape) and all(
            want in (-1, have) for want, have in zip(spec.shape, shape, strict=True)
        )
        if not fits or output.dtype != spec.datatype.dtype:
            raise StreamGateError(
                Code.INTERNAL,
                f"state output '{spec.output_name}' has type {output.dtype} and shape "
                f"{list(output.shape)}, expected {spec.datatype.dtype} and {list(spec.shape)} "
                f"with the batch dimension at axis {spec.batch_axis}",
            )


def initial_row(spec: StateSpec) -> Array:
    """A fresh slot's row: `spec.initial_bytes` or `spec.initial_value`, without batch dimension."""
    shape = spec.initial_shape
    if shape is None:
        shape = tuple(1 if size == -1 else size for size in spec.shape)
    if spec.datatype is DataType.BYTES:
        row: Array = np.full(shape, b"", dtype=np.object_)
        return row
    if spec.initial_bytes is not None:
        return np.frombuffer(spec.initial_bytes, spec.datatype.dtype).reshape(shape)
    return np.full(shape, spec.initial_value, dtype=spec.datatype.dtype)


def schema_of(specs: Sequence[StateSpec], *, batches: bool) -> str:
    """A fingerprint of what a slot holds: 16 hexadecimal digits, equal where states can move."""
    text = repr(
        (
            batches,
            sorted(
                (spec.input_name, spec.datatype.value, spec.shape, spec.batch_axis)
                for spec in specs
            ),
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
