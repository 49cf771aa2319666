"""Where the states of an instance's slots live: one `StateRows` for each state tensor.

Host memory here; an arena on a device keeps the same verbs. Used by one thread, the stepper's.
It knows slots, not sequences: whoever calls has checked the generation.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence

from streamgate.engine.canary import Canary
from streamgate.engine.rows import SCRATCH, FixedRows, StateRows, VariableRows
from streamgate.errors import Code, StreamGateError
from streamgate.model.config import StateSpec
from streamgate.model.tensor import Array, Shape

STATE_BYTES_MAX = 1 << 30
"""What one sequence's row of one state may grow to: 1 GiB, as in Triton."""


NewStates = Sequence[tuple[StateRows, Array]]
"""State outputs that fit, each with the rows that it goes to."""


class Arena:
    """All states of one instance's slots. With `watched_as`, the instance's name, a canary watches
    them."""

    def __init__(
        self,
        specs: Sequence[StateSpec],
        slots: int,
        *,
        batches: bool,
        watched_as: str | None = None,
    ) -> None:
        self.slots = slots
        self.schema = schema_of(specs)
        self._specs = tuple(specs)
        self._batches = batches
        self._states: dict[str, StateRows] = {
            spec.input_name: (VariableRows if -1 in spec.shape else FixedRows)(
                spec, slots, batches=batches
            )
            for spec in specs
        }
        self.varies = any(-1 in spec.shape for spec in specs)
        self.has_states = bool(specs)
        self._canary: Canary | None = None
        if watched_as is not None:
            self._canary = Canary(watched_as, tuple(self._states.values()), slots)

    @property
    def is_watched(self) -> bool:
        """Whether there is a canary."""
        return self._canary is not None

    @property
    def violations(self) -> int:
        """How many rows the canary has found spoiled. From any thread."""
        return 0 if self._canary is None else self._canary.violations

    def begin(self, slot: int) -> None:
        """A sequence begins in the slot: give its states their initial values."""
        if self._canary is not None:
            self._canary.check_free(slot)
        for state in self._states.values():
            state.reset(slot)
        if self._canary is not None:
            self._canary.begin(slot)

    def leave(self, slot: int) -> None:
        """The slot's sequence is over."""
        if self._canary is not None:
            self._canary.leave(slot)

    def spoiled(self, slots: Collection[int]) -> set[int]:
        """Those of these slots whose rows are not what their sequences left there, as far as the
        canary can tell."""
        if self._canary is None:
            return set()
        found = self._canary.spoiled(slots)
        if SCRATCH in found:
            found.discard(SCRATCH)
            for state in self._states.values():
                state.reset(SCRATCH)
            self._canary.seal((SCRATCH,))
        return found

    def gather(self, slots: Sequence[int]) -> dict[str, Array]:
        """The state inputs of these slots, in this order; `SCRATCH` stands for a null row.

        Where `varies`, all slots but scratch must have rows of one shape (see `shapes_of`).
        """
        return {name: state.gather(slots) for name, state in self._states.items()}

    def check(self, outputs: Mapping[str, Array], rows: int) -> NewStates:
        """The state outputs of a batch of so many rows, ready for `scatter`.

        A state output that the model left out keeps its old value, as in Triton. Raises
        StreamGateError (INTERNAL) when an output's shape or type is not that of its state.
        """
        found = []
        for spec in self._specs:
            output = outputs.get(spec.output_name)
            if output is not None:
                self._check(spec, output, rows)
                found.append((self._states[spec.input_name], output))
        return found

    def scatter(self, slots: Sequence[int], rows: Sequence[int], new: NewStates) -> None:
        """Keep row `rows[i]` of each state output for slot `slots[i]`."""
        for state, output in new:
            state.scatter(slots, rows, output)
        if self._canary is not None:
            self._canary.seal(slots)

    def shapes_of(self, slot: int) -> tuple[Shape, ...]:
        """The shapes of the slot's states now: rows of equal shapes can share a batch."""
        return tuple(state.shape_of(slot) for state in self._states.values())

    def size_of(self, slot: int) -> int:
        """The bytes of the slot's states now. From any thread, for a slot that has begun."""
        return sum(state.size_of(slot) for state in self._states.values())

    def read(self, slot: int) -> dict[str, Array]:
        """A copy of the slot's states by input name, without batch dimension."""
        return {name: state.read(slot) for name, state in self._states.items()}

    def write(self, slot: int, states: Mapping[str, Array]) -> None:
        """Give the slot what `read` gave, here or in an arena of an equal `schema`."""
        for name, state in self._states.items():
            state.write(slot, states[name])
        if self._canary is not None:
            self._canary.seal((slot,))

    def _check(self, spec: StateSpec, output: Array, rows: int) -> None:
        expected = list(spec.shape)
        if self._batches:
            expected.insert(spec.batch_axis, rows)
        fits = tuple(expected) == output.shape or (
            len(expected) == output.ndim
            and all(want in (-1, have) for want, have in zip(expected, output.shape, strict=True))
        )
        if not fits or output.dtype != spec.datatype.dtype:
            batch = f" ({rows} rows at axis {spec.batch_axis})" if self._batches else ""
            raise StreamGateError(
                Code.INTERNAL,
                f"state output '{spec.output_name}' has type {output.dtype} and shape "
                f"{list(output.shape)}, expected {spec.datatype.dtype} and {expected}{batch}",
            )
        if output.nbytes > STATE_BYTES_MAX * rows:
            raise StreamGateError(
                Code.INTERNAL,
                f"state output '{spec.output_name}' has grown to {output.nbytes // rows} bytes for "
                f"one sequence (shape {list(output.shape)}), expected at most {STATE_BYTES_MAX}",
            )


def schema_of(specs: Sequence[StateSpec]) -> str:
    """A fingerprint of what a slot holds: 16 hexadecimal digits, equal where states can move.

    It covers what the model reads, state by state in any order: input name, type and dims. What
    the output is called, what a fresh state holds and where the batch dimension stands (a row is
    kept without one) make no difference.
    """
    text = repr(sorted((spec.input_name, spec.datatype.value, spec.shape) for spec in specs))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
