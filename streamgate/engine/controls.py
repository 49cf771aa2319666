"""The control tensors of a step: START, END, READY, CORRID and END_REASON of each row."""

from collections.abc import Sequence

import numpy as np

from streamgate.core.commands import Row
from streamgate.core.ids import NO_REQUEST
from streamgate.errors import EndReason
from streamgate.model.config import ControlInput, ControlKind, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import SequenceKey
from streamgate.model.tensor import Array


class ControlTensors:
    """What fills a model's control inputs, prepared once."""

    def __init__(self, config: ModelConfig) -> None:
        self._tail = (1,) if config.batches else ()
        self._controls = config.controls
        # The two values of each flag for a step of one row, which is what an idle server runs.
        self._single = {
            control.name: (self._constant(control, False), self._constant(control, True))
            for control in config.controls
            if control.kind is not ControlKind.CORRID
        }

    def arrays(self, rows: Sequence[Row]) -> list[tuple[ControlInput, Array]]:
        """Each control with its values: shape [rows, 1] when the model batches, else [rows].

        Not to be written to. Null rows are not ready and have no ID.
        """
        return [(control, self._array(control, rows)) for control in self._controls]

    def farewell(self, rows: Sequence[Row], reason: EndReason) -> list[tuple[ControlInput, Array]]:
        """As `arrays`, for a step whose last row says that its sequence is over, and why."""
        found = []
        for control, values in self.arrays(rows):
            if control.kind is ControlKind.END_REASON:
                told = values.copy()
                told[-1] = reason.code
                found.append((control, told))
            else:
                found.append((control, values))
        return found

    def _array(self, control: ControlInput, rows: Sequence[Row]) -> Array:
        if control.kind is ControlKind.CORRID:
            ids = _correlation_ids(control.datatype, [row.sequence for row in rows])
            return ids.reshape(len(rows), *self._tail)
        if len(rows) == 1:
            return self._single[control.name][_flag(control.kind, rows[0])]
        values = [
            control.true_value if _flag(control.kind, row) else control.false_value for row in rows
        ]
        return np.array(values, control.datatype.dtype).reshape(len(rows), *self._tail)

    def _constant(self, control: ControlInput, flag: bool) -> Array:
        value = control.true_value if flag else control.false_value
        array: Array = np.full((1, *self._tail), value, control.datatype.dtype)
        array.flags.writeable = False
        return array


def _flag(kind: ControlKind, row: Row) -> bool:
    if kind is ControlKind.READY:
        return row.request != NO_REQUEST
    return row.start if kind is ControlKind.START else row.end


def _correlation_ids(datatype: DataType, keys: Sequence[SequenceKey]) -> Array:
    if datatype is DataType.BYTES:
        texts = np.empty(len(keys), dtype=np.object_)
        for index, key in enumerate(keys):
            # A null row's ID is "" (facts 4.5).
            texts[index] = key.encode() if isinstance(key, str) else (b"%d" % key if key else b"")
        return texts
    # The low bits of the ID, whatever the width and sign of the control (facts 4.5). A string ID
    # never gets here: it is refused when it is checked against the control's type.
    numbers = np.array([key if isinstance(key, int) else 0 for key in keys], dtype=np.uint64)
    return numbers if datatype is DataType.UINT64 else numbers.astype(datatype.dtype)
