"""Holds a model's configuration against its graph and says everything that does not fit.

The rules are those of Triton's ONNX Runtime backend, with two differences: a graph dimension
that is unknown fits any configured size of an output, and a state's batch dimension may stand at
any axis.
"""

from collections.abc import Iterator, Mapping

from streamgate.errors import ConfigError
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Shape, TensorSpec
from streamgate_onnxruntime.graph import Graph, GraphTensor, shape_text


def check(config: ModelConfig, graph: Graph) -> None:
    """Raise ConfigError naming every tensor on which configuration and graph disagree."""
    problems = list(_problems(config, graph))
    if problems:
        raise ConfigError(f"unable to load model '{config.name}', " + "; ".join(problems))


def _problems(config: ModelConfig, graph: Graph) -> Iterator[str]:
    takes = {**graph.inputs, **graph.defaults}
    given = set()
    for spec in config.inputs:
        given.add(spec.name)
        yield from _input_problems(config, spec, graph, takes)
    for control in config.controls:
        given.add(control.name)
        role = f"sequence control {control.kind.value}"
        yield from _fit(config, takes, control.name, control.datatype, (1,), role)
    for state in config.states:
        given.add(state.input_name)
        axis = state.batch_axis
        shape = state.shape
        yield from _fit(config, takes, state.input_name, state.datatype, shape, "state input", axis)
        yield from _fit(
            config, graph.outputs, state.output_name, state.datatype, shape, "state output", axis
        )
    axes = {state.output_name: state.batch_axis for state in config.states}
    for spec in config.outputs:
        shape, axis = spec.model_shape, axes.get(spec.name, 0)
        yield from _fit(config, graph.outputs, spec.name, spec.datatype, shape, "output", axis)
    for name in graph.inputs.keys() - given:
        tensor = graph.inputs[name]
        yield (
            f"tensor '{name}': the model needs this input ({tensor.type_text} "
            f"{shape_text(tensor.shape)}) but the model configuration has it neither as an input "
            "nor as a sequence control or state"
        )


def _input_problems(
    config: ModelConfig, spec: TensorSpec, graph: Graph, takes: Mapping[str, GraphTensor]
) -> Iterator[str]:
    if spec.optional and spec.name in graph.inputs:
        yield (
            f"tensor '{spec.name}': the model configuration makes this input optional but the "
            "model has no default (initializer) for it"
        )
    if spec.ragged and config.batches:
        yield (
            f"tensor '{spec.name}': allow_ragged_batch is not supported, an ONNX model takes "
            "batches whose rows have one shape"
        )
    yield from _fit(config, takes, spec.name, spec.datatype, spec.model_shape, "input")


def _fit(
    config: ModelConfig,
    tensors: Mapping[str, GraphTensor],
    name: str,
    datatype: DataType,
    dims: Shape,
    role: str,
    batch_axis: int = 0,
) -> Iterator[str]:
    """The ways in which the graph's tensor does not fit what the configuration declares."""
    tensor = tensors.get(name)
    if tensor is None:
        yield (
            f"tensor '{name}': the model configuration declares this {role} but the model has "
            f"only {', '.join(tensors) or 'none'}"
        )
        return
    if tensor.datatype is not datatype:
        yield (
            f"tensor '{name}': the model has data type {tensor.type_text} but the model "
            f"configuration specifies {datatype.config_name} for this {role}"
        )
    is_output = role.endswith("output")
    if is_output and not tensor.shape:
        return  # A scalar, or (ONNX Runtime does not tell) of unknown rank: the step will show.
    if config.batches:
        yield from _batched_misfit(config, tensor, dims, batch_axis, is_output)
    elif not _compatible(tensor.shape, dims, is_output) and not _is_scalar(tensor, dims):
        yield f"tensor '{name}': {_shapes(tensor.shape, dims)}"


def _batched_misfit(
    config: ModelConfig, tensor: GraphTensor, dims: Shape, axis: int, is_output: bool
) -> Iterator[str]:
    full = (*dims[:axis], -1, *dims[axis:])
    size = f"max_batch_size is {config.max_batch_size}"
    if axis == 0 and tensor.shape[1:] == dims and tensor.shape[:1] != (-1,):
        yield (
            f"tensor '{tensor.name}': to batch ({size}) the first dimension of the model's "
            f"tensor must be of variable size (-1), but its shape is {shape_text(tensor.shape)}; "
            "export the model with a dynamic batch dimension or set max_batch_size to 0"
        )
    elif axis < len(tensor.shape) == len(full) and tensor.shape[axis] != -1:
        yield (
            f"tensor '{tensor.name}': to batch ({size}) dimension {axis} of the model's tensor "
            f"must be of variable size (-1), but its shape is {shape_text(tensor.shape)}"
        )
    elif not _compatible(tensor.shape, full, is_output):
        yield (
            f"tensor '{tensor.name}': {_shapes(tensor.shape, full)}: dims {shape_text(dims)} "
            f"and the batch dimension at axis {axis}, because {size}"
        )


def _compatible(model: Shape, full: Shape, is_output: bool) -> bool:
    return len(model) == len(full) and all(
        has in (-1, wants) or (is_output and wants == -1)
        for has, wants in zip(model, full, strict=True)
    )


def _is_scalar(tensor: GraphTensor, dims: Shape) -> bool:
    """Whether a scalar is declared in the only way there is: one element in dims."""
    return not tensor.shape and all(size == 1 for size in dims)


def _shapes(model: Shape, full: Shape) -> str:
    return (
        f"the model has {len(model)} dimensions (shape {shape_text(model)}) but the model "
        f"configuration specifies {len(full)} dimensions (shape {shape_text(full)})"
    )
