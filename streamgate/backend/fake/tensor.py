"""The fake as a pure step over batched arrays, with its state in implicit state tensors."""

import numpy as np

from streamgate.backend.contract import TensorStep
from streamgate.backend.fake.hashing import mix_rows, scramble_all
from streamgate.backend.fake.layout import Layout
from streamgate.backend.fake.plan import Nan, Plan
from streamgate.errors import BackendError, Code
from streamgate.model.config import ControlKind
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array


class FakeTensorSession:
    """A `TensorSession`. START and END count where the model has these controls.

    A row whose READY is false answers like any other but hands back a state that nobody should
    keep, so that keeping it is found out.
    """

    def __init__(self, layout: Layout, instance: str, plan: Plan) -> None:
        self._layout = layout
        self._instance = instance
        self._plan = plan
        self._number = 0
        self._closed = False

    def run(self, step: TensorStep) -> dict[str, Array]:
        if self._closed:
            raise BackendError(f"instance '{self._instance}' is closed", Code.UNAVAILABLE)
        number = self._number
        self._number += 1
        fault = self._plan.begin(self._instance, number, step.rows)
        results = self._step(step, spoiled=isinstance(fault, Nan))
        missing = [name for name in step.outputs if name not in results]
        if missing:
            raise BackendError(f"there is no output {', '.join(missing)}", Code.INVALID_ARG)
        return {name: results[name] for name in step.outputs}

    def close(self) -> None:
        self._closed = True

    def _step(self, step: TensorStep, *, spoiled: bool) -> dict[str, Array]:
        layout, rows = self._layout, step.rows
        inputs = step.inputs
        never = np.zeros(rows, np.bool_)
        starts = layout.flags(ControlKind.START, inputs, rows)
        ends = layout.flags(ControlKind.END, inputs, rows)
        ready = layout.flags(ControlKind.READY, inputs, rows)
        hashes = mix_rows(
            self._state(DataType.UINT64, step).astype(np.uint64, copy=False),
            layout.digests(inputs, rows),
            never if starts is None else starts,
            never if ends is None else ends,
            layout.keys(inputs, rows),
        )
        counts = self._state(DataType.INT64, step) + 1
        results = layout.answers(hashes, counts, spoiled=spoiled)
        if ready is not None:
            hashes = np.where(ready, hashes, scramble_all(~hashes))
            counts = np.where(ready, counts, -1)
        for state in layout.config.states:
            values = hashes if state.datatype is DataType.UINT64 else counts
            results[state.output_name] = values.reshape(inputs[state.input_name].shape)
        return results

    def _state(self, datatype: DataType, step: TensorStep) -> Array:
        """The first state of this type, a row an element; zeros when the model has none."""
        for state in self._layout.config.states:
            if state.datatype is datatype:
                break
        else:
            return np.zeros(step.rows, datatype.dtype)
        array = step.inputs.get(state.input_name)
        shape = [1]
        if self._layout.config.batches:
            shape.insert(state.batch_axis, step.rows)
        if array is None or array.shape != tuple(shape) or array.dtype != datatype.dtype:
            found = "missing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise BackendError(
                f"state '{state.input_name}' is {found}, expected {datatype.dtype} {shape}",
                Code.INVALID_ARG,
            )
        return array.reshape(step.rows)
