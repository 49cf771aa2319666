"""Windows over a stream of rows (feature frames, samples): overlap behind, right context ahead.

    rows      0 1 2 3 4 5 6 7 8 9 ...
    window 0  [step  )right)              left=0, step=4, right=2
    window 1          [step  )right)

Each row stands in the step of exactly one window. What stands left of row 0, and at the end right
of the last row, is the fill value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamgate.model.tensor import Array


@dataclass(frozen=True, slots=True)
class Window:
    """One window: `rows` [left + step + right, ...], and what part of them is real.

    `start` is the position of the first row of its step in the stream. `valid` is how many rows of
    the step the stream had: `step`, and fewer only in a last window.
    """

    rows: Array
    start: int
    valid: int


@dataclass(frozen=True, slots=True)
class ChunkState:
    """Rows that a later window still needs [n, ...], and the position of the next window's step."""

    rows: Array
    start: int


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a stream is cut: windows of `left + step + right` rows, `step` rows apart."""

    step: int
    right: int = 0
    left: int = 0
    row_shape: tuple[int, ...] = ()
    fill: float = 0.0

    def __post_init__(self) -> None:
        if self.step < 1 or self.right < 0 or self.left < 0:
            raise ValueError(
                "expected a step of at least 1 and contexts of at least 0, found step "
                f"{self.step}, left {self.left} and right {self.right}"
            )

    @property
    def size(self) -> int:
        """The rows of a window."""
        return self.left + self.step + self.right

    def start(self) -> ChunkState:
        """The state before the first row."""
        return ChunkState(self._filled(self.left), 0)

    def feed(self, state: ChunkState, rows: Array) -> tuple[ChunkState, list[Window]]:
        """Take rows [n, *row_shape] and give the windows that are complete.

        Raises ValueError for rows of another shape.
        """
        if rows.shape[1:] != self.row_shape:
            raise ValueError(
                f"expected rows of shape {list(self.row_shape)}, found {list(rows.shape[1:])}"
            )
        kept = np.concatenate((state.rows, rows.astype(np.float32, copy=False)))
        count = max(0, (len(kept) - self.size) // self.step + 1)
        windows = [
            Window(kept[at : at + self.size], state.start + at, self.step)
            for at in range(0, count * self.step, self.step)
        ]
        # A copy: a view would hold all rows that were ever joined to it.
        rest = kept[count * self.step :].copy()
        return ChunkState(rest, state.start + count * self.step), windows

    def finish(
        self, state: ChunkState, fill: Array | None = None
    ) -> tuple[ChunkState, list[Window]]:
        """Give windows, filled up, until each row has stood in a step; the state is then fresh.

        `fill` is the row that fills them, in place of the fill value.
        """
        real = max(0, len(state.rows) - self.left)
        count = -(-real // self.step)
        if not count:
            return self.start(), []
        wanted = (count - 1) * self.step + self.size
        # Less than `size` rows are kept, but a window ahead they may be more than are wanted.
        missing = max(0, wanted - len(state.rows))
        filling = self._filled(missing)
        if fill is not None:
            filling[:] = fill
        kept = np.concatenate((state.rows, filling))
        windows = [
            Window(kept[at : at + self.size], state.start + at, min(self.step, real - at))
            for at in range(0, count * self.step, self.step)
        ]
        return self.start(), windows

    def _filled(self, count: int) -> Array:
        return np.full((count, *self.row_shape), self.fill, np.float32)


def joined(windows: Sequence[Window], chunking: Chunking) -> Array:
    """The rows that stand in the steps of windows, one after another: what was cut."""
    parts = [each.rows[chunking.left : chunking.left + each.valid] for each in windows]
    return np.concatenate(parts) if parts else np.zeros((0, *chunking.row_shape), np.float32)
