"""The control tensors of a step: START, END, READY and CORRID of each row."""

from collections.abc import Sequence

import numpy as np

from streamgate.core.commands import Row
from streamgate.core.ids import NO_REQUEST
from streamgate.model.config import ControlInput, ControlKind
from streamgate.model.datatypes import DataType
from streamgate.model.request import SequenceKey
from streamgate.model.tensor import Array


def control_batch(control: ControlInput, rows: Sequence[Row]) -> Array:
    """The control's values, one per row: shape [rows]. Null rows are not ready and have no ID."""
    if control.kind is ControlKind.CORRID:
        return _correlation_ids(control.datatype, [row.sequence for row in rows])
    match control.kind:
        case ControlKind.START:
            flags = [row.start for row in rows]
        case ControlKind.END:
            flags = [row.end for row in rows]
        case ControlKind.READY:
            flags = [row.request != NO_REQUEST for row in rows]
    values = [control.true_value if flag else control.false_value for flag in flags]
    return np.array(values, dtype=control.datatype.dtype)


def _correlation_ids(datatype: DataType, keys: Sequence[SequenceKey]) -> Array:
    if datatype is DataType.BYTES:
        texts = np.empty(len(keys), dtype=np.object_)
        for index, key in enumerate(keys):
            # A null row's ID is "" (facts 4.5).
            texts[index] = key.encode() if isinstance(key, str) else (b"%d" % key if key else b"")
        return texts
    # The low bits of the ID, whatever the width and sign of the control (facts 4.5). A string ID
    # never gets here: it is refused when it is checked against the control's type.
    numbers = [key if isinstance(key, int) else 0 for key in keys]
    return np.array(numbers, dtype=np.uint64).astype(datatype.dtype)
