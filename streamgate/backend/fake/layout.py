"""Which of a fake model's tensors means what, as its configuration says."""

from collections.abc import Mapping

import numpy as np

from streamgate.backend.fake.hashing import Words, digest_rows, key_word
from streamgate.errors import BackendError, Code, ConfigError
from streamgate.model.config import ControlInput, ControlKind, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Shape, TensorSpec

_STATES = (DataType.UINT64, DataType.INT64)
_OUTPUTS = (*_STATES, DataType.FP32, DataType.FP64)


class Layout:
    """The tensors of one fake model. Raises ConfigError when a state or output has no meaning."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.controls = {control.kind: control for control in config.controls}
        for state in config.states:
            names = f"{state.input_name}/{state.output_name}"
            _require(config.name, "state", names, state.datatype, state.shape, _STATES)
        for spec in config.outputs:
            _require(config.name, "output", spec.name, spec.datatype, spec.model_shape, _OUTPUTS)

    def digests(self, inputs: Mapping[str, Array], rows: int) -> list[Words]:
        """One array of digests for each input of the configuration, checked on the way."""
        found = []
        for spec in self.config.inputs:
            array = inputs.get(spec.name)
            if array is not None:
                self._check(spec, array, rows)
                found.append(digest_rows(array, rows))
            elif spec.optional:
                found.append(np.zeros(rows, np.uint64))
            else:
                raise BackendError(f"input '{spec.name}' is missing", Code.INVALID_ARG)
        return found

    def flags(self, kind: ControlKind, inputs: Mapping[str, Array], rows: int) -> Array | None:
        """A boolean control of each row, None when the model has none of this kind."""
        control = self.controls.get(kind)
        if control is None:
            return None
        values = self._control(control, inputs, rows)
        true: Array = values == control.true_value
        if not np.all(true | (values == control.false_value)):
            raise BackendError(
                f"sequence control '{control.name}' is {values.tolist()}, expected "
                f"{control.false_value} or {control.true_value}",
                Code.INVALID_ARG,
            )
        return true

    def keys(self, inputs: Mapping[str, Array], rows: int) -> Words | None:
        """The correlation ID of each row as a word, None when the model takes none."""
        control = self.controls.get(ControlKind.CORRID)
        if control is None:
            return None
        values = self._control(control, inputs, rows)
        if control.datatype is DataType.BYTES:
            texts = (each if isinstance(each, str) else bytes(each).decode() for each in values)
            return np.array([key_word(text) for text in texts], np.uint64)
        return values.astype(np.int64).astype(np.uint64)

    def answers(self, hashes: Words, counts: Array, *, spoiled: bool) -> dict[str, Array]:
        """Every output by name; with `spoiled`, NaN where an output can be."""
        shape: Shape = (len(hashes), 1) if self.config.batches else (1,)
        return {
            spec.name: _value(spec.datatype, hashes, counts, spoiled=spoiled).reshape(shape)
            for spec in self.config.outputs
        }

    def _check(self, spec: TensorSpec, array: Array, rows: int) -> None:
        shape = (rows, *spec.model_shape) if self.config.batches else spec.model_shape
        fits = len(array.shape) == len(shape) and all(
            wants in (-1, has) for has, wants in zip(array.shape, shape, strict=True)
        )
        if array.dtype != spec.datatype.dtype or not fits:
            raise BackendError(
                f"input '{spec.name}' is {array.dtype} {list(array.shape)}, expected "
                f"{spec.datatype.dtype} {list(shape)}",
                Code.INVALID_ARG,
            )

    def _control(self, control: ControlInput, inputs: Mapping[str, Array], rows: int) -> Array:
        array = inputs.get(control.name)
        shape = (rows, 1) if self.config.batches else (1,)
        if array is None or array.shape != shape or array.dtype != control.datatype.dtype:
            found = "missing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise BackendError(
                f"sequence control '{control.name}' is {found}, expected "
                f"{control.datatype.dtype} {list(shape)}",
                Code.INVALID_ARG,
            )
        return array.reshape(rows)


def _value(datatype: DataType, hashes: Words, counts: Array, *, spoiled: bool) -> Array:
    if datatype is DataType.UINT64:
        return hashes
    if datatype is DataType.INT64:
        return counts
    # 24 bits fit both float types exactly.
    fractions = (hashes >> np.uint64(40)).astype(datatype.dtype) / 2**24
    return np.full_like(fractions, np.nan) if spoiled else fractions


def _require(
    model: str,
    role: str,
    name: str,
    datatype: DataType,
    shape: Shape,
    known: tuple[DataType, ...],
) -> None:
    if datatype not in known or shape != (1,):
        raise ConfigError(
            f"model '{model}': {role} '{name}' of a fake model is {datatype.value} {list(shape)}, "
            f"expected {' or '.join(each.value for each in known)} [1]"
        )
