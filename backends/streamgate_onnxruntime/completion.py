"""Completes a model's configuration from its graph, as Triton does for ONNX models.

Only what is missing is added: inputs and outputs when none are given, `max_batch_size` when the
graph can batch and nothing given says that it should not, dynamic batching when there is then no
scheduler, and states where a parameter tells which they are. Nothing given changes.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from streamgate.backend.contract import ConfigDict
from streamgate.errors import Code, ConfigError, LoadError
from streamgate.model.config import ControlKind
from streamgate_onnxruntime.graph import Graph, GraphTensor, shape_text
from streamgate_onnxruntime.state_completion import PARAMETER, with_states

DEFAULT_MAX_BATCH_SIZE = 4
_SCHEDULERS = ("dynamic_batching", "sequence_batching", "ensemble_scheduling")


def needs_graph(config: ConfigDict) -> bool:
    """Whether anything is missing that the graph could tell."""
    if PARAMETER in config.get("parameters", {}):
        return True
    return not (config.get("input") and config.get("output"))


def complete(config: ConfigDict, graph: Graph) -> ConfigDict:
    """The configuration with what the graph tells added."""
    config = with_states(config, graph)
    completed = dict(config)
    batches = _batches(config, graph)
    if batches and not config.get("max_batch_size"):
        completed["max_batch_size"] = DEFAULT_MAX_BATCH_SIZE
    if completed.get("max_batch_size", 0) > 1 and not any(key in config for key in _SCHEDULERS):
        completed["dynamic_batching"] = {}
    if not config.get("input"):
        hidden = _controls(config) | _states(config, "input_name")
        completed["input"] = _entries(config, "input", graph.inputs.values(), hidden, batches)
    if not config.get("output"):
        hidden = _states(config, "output_name")
        completed["output"] = _entries(config, "output", graph.outputs.values(), hidden, batches)
    return completed


def _batches(config: ConfigDict, graph: Graph) -> bool:
    """Whether the model batches. Raises ConfigError when it is told to and can't.

    States don't count, their batch dimension may stand anywhere, nor what no client is sent.
    """
    states = _states(config, "input_name") | _states(config, "output_name")
    tensors = [
        tensor
        for tensor in (*graph.inputs.values(), *graph.outputs.values())
        if tensor.name not in states and tensor.datatype is not None
    ]
    fixed = [tensor for tensor in tensors if tensor.shape[:1] != (-1,)]
    if config.get("max_batch_size", 0) > 0:
        if fixed:
            # The first sentence is Triton's.
            shapes = ", ".join(f"'{tensor.name}' {shape_text(tensor.shape)}" for tensor in fixed)
            raise ConfigError(
                f"autofill failed for model '{config.get('name', '')}': model does not support "
                "batching while non-zero max_batch_size is specified. max_batch_size is "
                f"{config['max_batch_size']}, but the first dimension is not of variable size in "
                f"{shapes}"
            )
        return True
    if "max_batch_size" in config or fixed or not tensors:
        return False
    return not any(_is_whole(entry, graph) for entry in _declared(config))


def _is_whole(entry: ConfigDict, graph: Graph) -> bool:
    """Whether a given tensor's dims are the graph's whole shape, batch dimension included."""
    name = entry.get("name") or entry.get("input_name", "")
    tensor = graph.inputs.get(name) or graph.outputs.get(name)
    dims = entry.get("reshape", {}).get("shape", entry.get("dims"))
    return tensor is not None and dims is not None and len(dims) == len(tensor.shape)


def _declared(config: ConfigDict) -> Iterator[ConfigDict]:
    yield from config.get("input", ())
    yield from config.get("output", ())
    yield from config.get("sequence_batching", {}).get("state", ())


def _entries(
    config: ConfigDict,
    role: str,
    tensors: Iterable[GraphTensor],
    hidden: set[str],
    batches: bool,
) -> list[ConfigDict]:
    """Configuration entries for a graph's tensors, without states and controls.

    An output of a type that no client can be sent is left out as long as another remains.
    """
    shown = [tensor for tensor in tensors if tensor.name not in hidden]
    sendable = [tensor for tensor in shown if tensor.datatype is not None]
    if sendable != shown and (role == "input" or not sendable):
        names = ", ".join(f"'{t.name}' {t.type_name}" for t in shown if t.datatype is None)
        raise LoadError(
            f"model '{config.get('name', '')}': unsupported type of {role} {names}, expected "
            "tensors of numbers, booleans or strings",
            Code.UNSUPPORTED,
        )
    return [_entry(tensor, batches) for tensor in sendable]


def _entry(tensor: GraphTensor, batches: bool) -> ConfigDict:
    assert tensor.datatype is not None
    dims = list(tensor.shape[1:] if batches else tensor.shape)
    entry: dict[str, Any] = {"name": tensor.name, "data_type": tensor.datatype.config_name}
    if dims:
        return entry | {"dims": dims}
    # The configuration knows no tensor without dimensions; a scalar that does not batch is
    # recognised at load by its graph.
    return entry | {"dims": [1]} | ({"reshape": {"shape": []}} if batches else {})


def _controls(config: ConfigDict) -> set[str]:
    controls = config.get("sequence_batching", {}).get("control_input", ())
    reason = config.get("parameters", {}).get(ControlKind.END_REASON.value, {})
    return {control.get("name", "") for control in controls} | {reason.get("string_value", "")}


def _states(config: ConfigDict, key: str) -> set[str]:
    states = config.get("sequence_batching", {}).get("state", ())
    return {state.get(key, "") for state in states}
