"""The canary in the arena: notices when a row of state is not what its own sequence left there.

Every row is sealed with a checksum when it is rightly written: when a sequence begins, when its
step is over, when it is restored. Rows of no sequence are filled with poison and sealed, too. A
seal that does not match means that something wrote where it must not.
"""

import logging
import zlib
from collections.abc import Iterable, Sequence
from typing import final

import numpy as np

from streamgate.engine.rows import SCRATCH, StateRows
from streamgate.errors import Code, StreamGateError
from streamgate.model.request import SequenceKey
from streamgate.model.tensor import Array

log = logging.getLogger(__name__)

_POISON_BYTE = 0xA5
_POISON_TEXT = b"\xa5 a freed row of state"


@final
class Canary:
    """Watches the states of one instance's slots. Used by the stepper's thread.

    `violations` counts the rows that were found spoiled.
    """

    def __init__(self, instance: str, states: Sequence[StateRows], slots: int) -> None:
        self._instance = instance
        self._states = states
        self._seals = {slot: self._checksum(slot) for slot in (*range(slots), SCRATCH)}
        self._free = set(range(slots))
        self.violations = 0

    def begin(self, slot: int) -> None:
        """A sequence takes the slot, whose rows have their initial values from here on."""
        self._free.discard(slot)
        self.seal((slot,))

    def check_free(self, slot: int) -> None:
        """Report a slot that was free, and in which something wrote since."""
        if slot in self._free and self._checksum(slot) != self._seals[slot]:
            self._report(slot, "free, and was written to")

    def leave(self, slot: int) -> None:
        """The slot's sequence is over: poison its rows."""
        for state in self._states:
            state.write(slot, poison_like(state.read(slot)))
        self._free.add(slot)
        self.seal((slot,))

    def seal(self, slots: Iterable[int]) -> None:
        """The rows of these slots are as they should be."""
        for slot in slots:
            self._seals[slot] = self._checksum(slot)

    def spoiled(self, slots: Iterable[int]) -> set[int]:
        """Those of these slots whose sequences must not go on, and scratch if it was written to."""
        found = set()
        for slot in slots:
            if slot in self._free:
                self._report(slot, "free, and was to be read")
            elif self._checksum(slot) != self._seals[slot]:
                self._report(slot, "a live sequence's, and was written to by another")
            else:
                continue
            found.add(slot)
        return found

    def _report(self, slot: int, what: str) -> None:
        self.violations += 1
        name = "the scratch row" if slot == SCRATCH else f"slot {slot}"
        log.error("state canary of model instance '%s': %s was %s", self._instance, name, what)

    def _checksum(self, slot: int) -> int:
        checksum = 0
        for state in self._states:
            row = state.read(slot)
            data = repr(row.tolist()).encode() if row.dtype == np.object_ else row.tobytes()
            checksum = zlib.crc32(data, zlib.crc32(repr(row.shape).encode(), checksum))
        return checksum


def spoiled_error(sequence: SequenceKey) -> StreamGateError:
    """What a sequence is told whose state is not its own any more."""
    return StreamGateError(
        Code.INTERNAL,
        f"the state of sequence {sequence} was overwritten by something else, so the sequence ends",
    )


def poison_like(row: Array) -> Array:
    """A row that shows where it comes from: NaN, a text that says so, or a pattern of bits."""
    if row.dtype == np.object_:
        texts: Array = np.full(row.shape, _POISON_TEXT, dtype=np.object_)
        return texts
    if row.dtype.kind == "f":
        return np.full(row.shape, np.nan, row.dtype)
    data = bytes([_POISON_BYTE]) * row.dtype.itemsize
    return np.full(row.shape, np.frombuffer(data, row.dtype)[0], row.dtype)
