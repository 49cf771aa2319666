"""Binary frames: each is one tensor, the step's input. Pure functions."""

import math
import struct
from dataclasses import dataclass

from streamgate.frontends.websocket.messages import InputChoice, invalid
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Shape, Tensor, TensorSpec


@dataclass(frozen=True, slots=True)
class InputFormat:
    """What a binary frame holds: one tensor, with at most one size told by the frame's length."""

    name: str
    datatype: DataType
    shape: Shape


def input_format(choice: InputChoice, config: ModelConfig) -> InputFormat:
    """What frames hold when `open` says so, completed by the model's configuration.

    Raises StreamGateError when the model can't take that.
    """
    spec = next((spec for spec in config.inputs if spec.name == choice.name), None)
    if spec is None:
        raise invalid(f"unexpected inference input '{choice.name}' for model '{config.name}'")
    if choice.datatype not in (None, spec.datatype):
        assert choice.datatype is not None
        raise invalid(
            f"inference input '{spec.name}' data-type is '{choice.datatype.value}', but model "
            f"'{config.name}' expects '{spec.datatype.value}'"
        )
    if choice.shape is None:
        return _whole_format(spec, config)
    expected = (-1, *spec.shape) if config.batches else spec.shape
    if len(choice.shape) != len(expected) or not all(
        -1 in (found, wanted) or found == wanted
        for found, wanted in zip(choice.shape, expected, strict=True)
    ):
        raise invalid(
            f"'input.shape' is {list(choice.shape)}, but input '{spec.name}' of model "
            f"'{config.name}' is {list(expected)}"
        )
    return InputFormat(spec.name, spec.datatype, choice.shape)


def default_format(config: ModelConfig) -> InputFormat:
    """What frames hold when `open` does not say: the model's only input, one row.

    Raises StreamGateError when the model has not exactly one input that it could be.
    """
    required = [spec for spec in config.inputs if not spec.optional] or list(config.inputs)
    if len(required) != 1:
        names = ", ".join(f"'{spec.name}'" for spec in required) or "none"
        raise invalid(
            f"model '{config.name}' has {len(required)} inputs ({names}), and a binary frame holds "
            "one tensor: name it in 'input', and use 'step' messages for several"
        )
    return _whole_format(required[0], config)


def frame_tensor(format_: InputFormat, frame: bytes) -> Tensor:
    """A binary frame as a tensor: a view of the frame, but for BYTES.

    Raises StreamGateError naming the sizes when the frame's bytes don't fill the shape.
    """
    if format_.datatype is DataType.BYTES:
        # One frame, one element: the length prefix of the wire form is ours to add.
        return Tensor(
            format_.name,
            DataType.BYTES,
            tuple(1 if size == -1 else size for size in format_.shape),
            raw=struct.pack("<I", len(frame)) + frame,
        )
    shape = format_.shape
    unit = math.prod(size for size in shape if size != -1) * format_.datatype.size_bytes
    if -1 in shape and unit and len(frame) % unit == 0:
        shape = tuple(len(frame) // unit if size == -1 else size for size in shape)
    elif -1 in shape or len(frame) != unit:
        expected = f"a multiple of {unit}" if -1 in shape and unit else str(unit)
        raise invalid(
            f"binary frame of {len(frame)} bytes does not fill input '{format_.name}' "
            f"({format_.datatype.value} {list(shape)}), expected {expected}"
        )
    return Tensor(format_.name, format_.datatype, shape, raw=frame)


def _whole_format(spec: TensorSpec, config: ModelConfig) -> InputFormat:
    """One row of an input in the shape that the model declares."""
    if spec.shape.count(-1) > 1:
        raise invalid(
            f"input '{spec.name}' of model '{config.name}' is {list(spec.shape)}, and a frame's "
            "length tells one size only: give 'input' a 'shape' with at most one -1"
        )
    shape = (1, *spec.shape) if config.batches else spec.shape
    return InputFormat(spec.name, spec.datatype, shape)
