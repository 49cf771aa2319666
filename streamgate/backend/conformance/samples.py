"""Inputs for a model that the kit knows only by its configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from streamgate.model.config import ControlInput, ControlKind, ModelConfig, StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Shape, TensorSpec

_WORDS = (b"", b"a", b"gr\xc3\xbc\xc3\x9fe", b"seven", b"0")
_TOLERANCES = {DataType.FP16: 1e-2, DataType.BF16: 5e-2, DataType.FP32: 1e-4, DataType.FP64: 1e-8}


@dataclass(frozen=True, slots=True)
class Samples:
    """How inputs are made and answers compared.

    `shapes` gives the shape of one row for inputs of variable size (each -1 is 3 otherwise), and
    `makers` replace the random values of an input: called with a generator and the full shape.
    Floating-point answers may differ by `tolerance`, relative and absolute; None means one that
    suits the type. A model that is not `deterministic` is not compared with itself. A reply may
    take `timeout_ns`.
    """

    rows: int = 4
    steps: int = 3
    seed: int = 20
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    makers: Mapping[str, Callable[[np.random.Generator, Shape], Array]] = field(
        default_factory=dict
    )
    tolerance: float | None = None
    deterministic: bool = True
    timeout_ns: int = 10_000_000_000

    def row_shape(self, spec: TensorSpec) -> Shape:
        """The shape of one row of this input as the model sees it."""
        known = self.shapes.get(spec.name)
        return known or tuple(3 if size == -1 else size for size in spec.model_shape)

    def batch(self, config: ModelConfig, rows: int, step: int) -> dict[str, Array]:
        """Inputs and controls of the `step`-th step of `rows` sequences. Always the same ones."""
        generator = np.random.default_rng((self.seed, step))
        lead = (rows,) if config.batches else ()
        values = {
            spec.name: self._values(generator, spec, (*lead, *self.row_shape(spec)))
            for spec in config.inputs
        }
        ready = np.ones(rows, np.bool_)
        keys = np.arange(1, rows + 1)
        for control in config.controls:
            values[control.name] = control_values(
                control, lead, start=step == 0, ready=ready, keys=keys
            )
        return values

    def same(self, datatype: DataType, one: Array, other: Array) -> bool:
        """Whether two answers are as equal as they must be."""
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if datatype not in _TOLERANCES:
            return bool(np.array_equal(one, other))
        limit = _TOLERANCES[datatype] if self.tolerance is None else self.tolerance
        if datatype is DataType.BF16:
            one, other = _widened(one), _widened(other)
        return bool(np.allclose(one, other, rtol=limit, atol=limit, equal_nan=True))

    def _values(self, generator: np.random.Generator, spec: TensorSpec, shape: Shape) -> Array:
        maker = self.makers.get(spec.name)
        if maker is not None:
            return maker(generator, shape)
        return random_values(generator, spec.datatype, shape)


def random_values(generator: np.random.Generator, datatype: DataType, shape: Shape) -> Array:
    """Values that any model should bear: floats in [-1, 1), small counts, short words."""
    if datatype is DataType.BYTES:
        words = np.empty(shape, np.object_)
        words.ravel()[:] = [_WORDS[n] for n in generator.integers(0, len(_WORDS), words.size)]
        return words
    if datatype is DataType.BOOL:
        return generator.integers(0, 2, shape).astype(np.bool_)
    if datatype is DataType.BF16:
        floats = generator.uniform(-1, 1, shape).astype(np.float32)
        return (floats.view(np.uint32) >> 16).astype(np.uint16)
    if datatype.dtype.kind == "f":
        return generator.uniform(-1, 1, shape).astype(datatype.dtype)
    return generator.integers(0, 10, shape).astype(datatype.dtype)


def control_values(
    control: ControlInput, lead: Shape, *, start: bool, ready: Array, keys: Array
) -> Array:
    """A control's tensor: [rows, 1] when the model batches, else [1]. END is never set."""
    shape = (*lead, 1)
    if control.kind is ControlKind.CORRID:
        keys = np.where(ready, keys, 0)
        if control.datatype is DataType.BYTES:
            texts = np.empty(shape, np.object_)
            texts.ravel()[:] = [b"%d" % key if key else b"" for key in keys.tolist()]
            return texts
        return keys.astype(control.datatype.dtype).reshape(shape)
    truths = {
        ControlKind.START: ready & start,
        ControlKind.END: np.zeros_like(ready),
        ControlKind.READY: ready,
    }[control.kind]
    values = np.where(truths, control.true_value, control.false_value)
    return values.astype(control.datatype.dtype).reshape(shape)


def initial_states(config: ModelConfig, rows: int) -> dict[str, Array]:
    """The states of fresh sequences by input name, batch dimension at its axis."""
    return {state.input_name: _initial_state(config, state, rows) for state in config.states}


def _initial_state(config: ModelConfig, state: StateSpec, rows: int) -> Array:
    shape = state.initial_shape or tuple(1 if size == -1 else size for size in state.shape)
    if state.datatype is DataType.BYTES:
        row: Array = np.full(shape, b"", np.object_)
    elif state.initial_bytes is not None:
        row = np.frombuffer(state.initial_bytes, state.datatype.dtype).reshape(shape)
    else:
        row = np.full(shape, state.initial_value, state.datatype.dtype)
    if not config.batches:
        return row.copy()
    return np.stack([row] * rows, axis=state.batch_axis)


def _widened(bits: Array) -> Array:
    return (bits.astype(np.uint32) << 16).view(np.float32)
