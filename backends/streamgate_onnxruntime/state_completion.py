"""Completes a model's states from its graph, where the configuration says which tensors they are.

    streamgate.complete_states: "cached_*=new_cached_*, processed_lens=new_processed_lens"

Each entry is an input and the output that is its next value, `*` standing for the same text in
both. Exports of speech encoders have a hundred such pairs. The first entry that fits an input
counts, if the graph has its output. Type and dims are the graph's; the one dimension that has no
size there is the batch's.
"""

import re
from collections.abc import Iterator
from typing import Any

from streamgate.backend.contract import ConfigDict
from streamgate.errors import ConfigError
from streamgate_onnxruntime.graph import Graph, GraphTensor, shape_text

PARAMETER = "streamgate.complete_states"


def with_states(config: ConfigDict, graph: Graph) -> ConfigDict:
    """The configuration with those states added that its parameter tells; itself without one.

    Raises ConfigError for entries that are none or fit nothing, and for tensors that can't be
    states or don't say where their batch dimension is.
    """
    text = config.get("parameters", {}).get(PARAMETER, {}).get("string_value", "")
    if not text:
        return config
    batching = config.get("sequence_batching", {})
    given = batching.get("state", [])
    known = {state.get("input_name", "") for state in given}
    parameters = dict(config.get("parameters", {}))
    states = []
    for source, target in _pairs(config, text, graph, known):
        state, settings = _state(config, source, target)
        states.append(state)
        parameters = {**settings, **parameters}
    completed = dict(config)
    completed["sequence_batching"] = {**batching, "state": [*given, *states]}
    completed["parameters"] = parameters
    return completed


def _pairs(
    config: ConfigDict, text: str, graph: Graph, known: set[str]
) -> Iterator[tuple[GraphTensor, GraphTensor]]:
    entries = [_entry(config, entry.strip()) for entry in text.split(",") if entry.strip()]
    used = [False] * len(entries)
    for name, source in graph.inputs.items():
        for place, (pattern, target) in enumerate(entries):
            found = pattern.fullmatch(name)
            output = found and graph.outputs.get(target.replace("*", "".join(found.groups())))
            if output:
                used[place] = True
                if name not in known:
                    yield source, output
                break
    if not all(used):
        unused = [entry.strip() for entry in text.split(",") if entry.strip()][used.index(False)]
        raise _wrong(
            config,
            f"'{unused}' fits no input and output of the graph, which has the inputs "
            f"{', '.join(graph.inputs)} and the outputs {', '.join(graph.outputs)}",
        )


def _entry(config: ConfigDict, entry: str) -> tuple[re.Pattern[str], str]:
    source, equals, target = (part.strip() for part in entry.partition("="))
    stars = {source.count("*"), target.count("*")}
    if not (equals and source and target) or stars not in ({0}, {1}):
        raise _wrong(
            config,
            f"found '{entry}', expected the name of an input, '=' and that of the output with its "
            "next value, both or neither with one '*'",
        )
    return re.compile("(.*)".join(map(re.escape, source.split("*")))), target


def _state(
    config: ConfigDict, source: GraphTensor, target: GraphTensor
) -> tuple[ConfigDict, dict[str, Any]]:
    """One entry of `sequence_batching.state`, and the parameters beside it."""
    name = source.name
    if source.datatype is None or source.datatype is not target.datatype:
        raise _wrong(
            config,
            f"the types of '{name}' ({source.type_text}) and '{target.name}' ({target.type_text}) "
            "are those of no state",
        )
    settings: dict[str, Any] = {}
    dims = list(source.shape)
    if config.get("max_batch_size", 0) > 0:
        open_axes = [axis for axis, size in enumerate(dims) if size == -1]
        if len(open_axes) != 1:
            raise _wrong(
                config,
                f"'{name}' has shape {shape_text(source.shape)}, expected one dimension of "
                "variable size (-1), the batch's; list it under sequence_batching.state",
            )
        del dims[open_axes[0]]
        if open_axes[0]:
            settings[f"streamgate.state_batch_axis.{name}"] = {"string_value": str(open_axes[0])}
    if not dims:
        settings[f"streamgate.state_scalar.{name}"] = {"string_value": "true"}
    state = {
        "input_name": name,
        "output_name": target.name,
        "data_type": source.datatype.config_name,
        "dims": dims or [1],
    }
    return state, settings


def _wrong(config: ConfigDict, why: str) -> ConfigError:
    return ConfigError(
        f"parameter '{PARAMETER}' of model {config.get('name', '')} does not fit the graph: {why}"
    )
