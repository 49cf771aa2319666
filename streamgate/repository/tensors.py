"""Inputs and outputs: checks with Triton's texts, and the values made from them.

A name may stand for one tensor only: Triton loads duplicates and controls that are also inputs,
and then serves one of the two; here they are refused.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import Code, ConfigError
from streamgate.model import datatypes
from streamgate.model.config import ControlKind
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Shape, TensorSpec
from streamgate.repository.defects import defect
from streamgate.repository.layout import path_inside

Typed = pb.ModelInput | pb.ModelOutput | pb.ModelSequenceBatching.State
_IMAGE_FORMATS = (pb.ModelInput.FORMAT_NHWC, pb.ModelInput.FORMAT_NCHW)


def check_tensors(config: pb.ModelConfig) -> None:
    """Raise ConfigError for the first input or output that is wrong."""
    for position, tensor in enumerate(config.input):
        where = f"input[{position}]"
        _check_tensor(config.name, "input", where, tensor)
        if tensor.format in _IMAGE_FORMATS and len(tensor.dims) != 3:
            raise defect(
                f"model input NHWC/NCHW require 3 dims for {config.name}",
                field=f"{where}.dims",
                found=list(tensor.dims),
                expected="3 dims",
            )
    for position, output in enumerate(config.output):
        _check_tensor(config.name, "output", f"output[{position}]", output)
    _check_names(config)


def check_type_and_dims(
    subject: str, name: str, where: str, tensor: Typed, expected_dims: str
) -> None:
    """Whether a tensor of model `name`, called `subject` in texts, has a type and fit dims."""
    if tensor.data_type == pb.TYPE_INVALID:
        raise defect(
            f"{subject} must specify 'data_type' for {name}",
            field=f"{where}.data_type",
            found="nothing",
            expected="a type such as TYPE_FP32",
        )
    if not tensor.dims:
        raise defect(
            f"{subject} must specify 'dims' for {name}",
            field=f"{where}.dims",
            found="nothing",
            expected=expected_dims,
        )
    check_dims(f"{subject} dimension", name, f"{where}.dims", tensor.dims)


def _check_tensor(name: str, role: str, where: str, tensor: pb.ModelInput | pb.ModelOutput) -> None:
    if not tensor.name:
        raise defect(
            f"model {role} must specify 'name' for {name}",
            field=f"{where}.name",
            found="nothing",
            expected="a name",
        )
    subject = f"model {role} '{tensor.name}'"
    hint = "at least one; a scalar has dims: [ 1 ] reshape { shape: [ ] }"
    check_type_and_dims(subject, name, where, tensor, hint)
    if tensor.HasField("reshape"):
        _check_reshape(subject, name, where, tensor)
    for flag in ("is_shape_tensor", "is_non_linear_format_io"):
        if getattr(tensor, flag):
            raise defect(
                f"{subject}: shape tensors are only supported for TensorRT platform",
                field=f"{where}.{flag}",
                found="true",
                expected="false: no backend here takes such tensors",
                code=Code.UNSUPPORTED,
            )


def check_dims(subject: str, name: str, field: str, dims: Sequence[int]) -> None:
    """Raise ConfigError unless each is at least 1, or -1."""
    for dim in dims:
        if dim < 1 and dim != -1:
            raise defect(
                f"{subject} must be integer >= 1, or -1 to indicate a variable-size dimension for "
                f"{name}",
                field=field,
                found=list(dims),
                expected="each >= 1 or -1",
            )


def _check_reshape(
    subject: str, name: str, where: str, tensor: pb.ModelInput | pb.ModelOutput
) -> None:
    shape = tensor.reshape.shape
    check_dims(f"{subject} reshape dimension", name, f"{where}.reshape.shape", shape)
    if _fixed_parts(tensor.dims) != _fixed_parts(shape):
        raise defect(
            f"{subject} has different size for dims and reshape for {name}",
            field=f"{where}.reshape.shape",
            found=f"{list(shape)} with dims {list(tensor.dims)}",
            expected="as many elements before, between and after the -1 dimensions",
        )


def _fixed_parts(dims: Sequence[int]) -> list[int]:
    """Element counts of the runs between variable dimensions, which a reshape must keep."""
    parts = [1]
    for dim in dims:
        if dim == -1:
            parts.append(1)
        else:
            parts[-1] *= dim
    return parts


def _check_names(config: pb.ModelConfig) -> None:
    """Each tensor that the model reads needs its own name, and so does each that it writes."""
    batching = config.sequence_batching
    reads = [(f"input[{i}]", tensor.name) for i, tensor in enumerate(config.input)]
    reads += [
        (f"sequence_batching.control_input[{i}]", tensor.name)
        for i, tensor in enumerate(batching.control_input)
        for _ in tensor.control
    ]
    reason = ControlKind.END_REASON.value
    if reason in config.parameters:
        reads.append((f"parameters['{reason}']", config.parameters[reason].string_value))
    reads += [(f"sequence_batching.state[{i}]", s.input_name) for i, s in enumerate(batching.state)]
    outputs = [(f"output[{i}]", tensor.name) for i, tensor in enumerate(config.output)]
    # A state may be listed as an output too, so that clients can watch it.
    states = [
        (f"sequence_batching.state[{i}]", state.output_name)
        for i, state in enumerate(batching.state)
    ]
    for verb, named in (("reads", reads), ("writes", outputs), ("writes", states)):
        taken: dict[str, str] = {}
        for field, name in named:
            if name in taken:
                raise defect(
                    f"model {config.name} {verb} two tensors called '{name}'",
                    field=field,
                    found=f"'{name}', which is also {taken[name]}",
                    expected="a name for each tensor",
                )
            taken[name] = field


def build_inputs(config: pb.ModelConfig) -> tuple[TensorSpec, ...]:
    """What clients send."""
    return tuple(
        TensorSpec(
            name=tensor.name,
            datatype=data_type(tensor.data_type),
            shape=tuple(tensor.dims),
            optional=tensor.optional,
            ragged=tensor.allow_ragged_batch,
            reshape=_reshape(tensor),
        )
        for tensor in config.input
    )


def build_outputs(config: pb.ModelConfig, folder: Path) -> tuple[TensorSpec, ...]:
    """What clients get; label files are read from the model's `folder`."""
    return tuple(
        TensorSpec(
            name=tensor.name,
            datatype=data_type(tensor.data_type),
            shape=tuple(tensor.dims),
            reshape=_reshape(tensor),
            labels=_labels(tensor, folder, f"output[{position}].label_filename"),
        )
        for position, tensor in enumerate(config.output)
    )


def data_type(number: int) -> DataType:
    """The type of a checked `data_type` field."""
    found = datatypes.from_config(pb.DataType.Name(number))
    assert found is not None, number
    return found


def element_count(dims: Sequence[int]) -> int:
    return math.prod(dims)


def _reshape(tensor: pb.ModelInput | pb.ModelOutput) -> Shape | None:
    return tuple(tensor.reshape.shape) if tensor.HasField("reshape") else None


def _labels(tensor: pb.ModelOutput, folder: Path, field: str) -> tuple[str, ...]:
    if not tensor.label_filename:
        return ()
    path = path_inside(folder, tensor.label_filename, field)
    try:
        return tuple(line.rstrip("\r") for line in path.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise ConfigError(
            f"failed to open text file for read {path}: {error.strerror} ({field} of output "
            f"'{tensor.name}')",
            Code.INTERNAL,
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"label file {path} is not UTF-8 at byte {error.start} ({field} of output "
            f"'{tensor.name}')"
        ) from error
