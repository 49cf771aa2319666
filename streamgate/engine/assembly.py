"""What goes into a step besides states: null rows, blank inputs, and which rows may run at all."""

from collections.abc import Sequence

from streamgate.core.commands import Row
from streamgate.core.ids import NO_REQUEST, SlotIndex
from streamgate.engine.arena import Arena
from streamgate.engine.live import LiveRequest
from streamgate.engine.rows import SCRATCH, zeros
from streamgate.model.config import DirectStrategy, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Shape, Tensor

Pair = tuple[Row, LiveRequest | None]
"""A row of a step and its request; a null row has none."""

Shapes = Sequence[tuple[str, DataType, Shape]]
"""Names, types and shapes of a request's inputs."""


def is_positional(config: ModelConfig) -> bool:
    """Whether a row's place in the batch is its slot."""
    rules = config.sequences
    return rules is not None and isinstance(rules.strategy, DirectStrategy)


def begin(arena: Arena, rows: Sequence[Row]) -> None:
    """Wipe the slots of the sequences that begin with this step."""
    for row in rows:
        if row.start:
            arena.begin(row.slot)


def trusted(
    arena: Arena, pairs: list[Pair], *, positional: bool
) -> tuple[list[Pair], list[tuple[Row, LiveRequest]]]:
    """The pairs that may run, and those whose states are spoiled.

    A null row stands in for the latter where places count.
    """
    if not arena.is_watched:
        return pairs, []
    spoiled = arena.spoiled([state_slot(row) for row, _ in pairs])
    if not spoiled:
        return pairs, []
    kept: list[Pair] = []
    expelled = []
    for row, live in pairs:
        if live is None or row.slot not in spoiled:
            kept.append((row, live))
            continue
        expelled.append((row, live))
        if positional:
            kept.append((null_row(row), None))
    return kept if any(live is not None for _, live in kept) else [], expelled


def state_slot(row: Row) -> int:
    """Where a row's state is read: a null row has no sequence, and reads none's."""
    return row.slot if row.sequence else SCRATCH


def null_row(row: Row) -> Row:
    """The null row in this row's place."""
    return Row(NO_REQUEST, row.slot, row.generation)


def shapes_of(tensors: Sequence[Tensor]) -> Shapes:
    return [(tensor.name, tensor.datatype, tensor.shape) for tensor in tensors]


def blanks(shapes: Shapes) -> list[Tensor]:
    """Inputs of zeros."""
    return [
        Tensor.of(name, zeros(shape, datatype.dtype), datatype) for name, datatype, shape in shapes
    ]


def padding(pairs: Sequence[Pair], bucket: int, *, is_stateful: bool) -> list[Pair]:
    """The null rows that fill a step up to the bucket: one for each place where rows have states
    and controls, which a stateless row has not, that may stand for many."""
    missing = bucket - sum(row.rows for row, _ in pairs)
    if missing <= 0:
        return []
    if not is_stateful:
        return [(Row(NO_REQUEST, rows=missing), None)]
    first = len(pairs)
    return [(Row(NO_REQUEST, SlotIndex(first + more)), None) for more in range(missing)]


def zeros_like(tensor: Tensor, rows: int | None = None) -> Tensor:
    """Zeros in the tensor's shape, or in that of so many rows of a batched one."""
    shape = tensor.shape if rows is None else (rows, *tensor.shape[1:])
    return Tensor.of(tensor.name, zeros(shape, tensor.datatype.dtype), tensor.datatype)
