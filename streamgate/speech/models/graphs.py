"""A transducer's decoder and joiner as ONNX graphs, in the layouts in which they are exported.

    k2 (icefall, sherpa-onnx)  decoder: y [N, context] -> decoder_out [N, dim]
                               joiner: encoder_out [N, dim], decoder_out [N, dim] -> logit [N, V]
    NeMo by sherpa-onnx        decoder: targets [N, 1], target_length [N], states [layers, N, dim]
                                 -> outputs [N, dim, 1], lengths, next states
                               joiner: [N, dim, 1], [N, dim, 1] -> [N, 1, 1, V]
    NeMo                       decoder_joint: encoder_outputs [N, dim, 1], targets, target_length,
                                 states -> outputs [N, 1, 1, V], lengths, next states

Which one it is, the graphs' tensors tell. The only module here that imports a device library.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamgate.model.tensor import Array
from streamgate.speech.transducer import JointNetwork, SplitNetwork, TransducerNetwork

_INTEGERS = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}


class Graph:
    """One ONNX graph on the CPU. Raises ValueError for a file that is none."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ValueError(f"{path}: {error}") from error
        self.path = path
        self.inputs = self._session.get_inputs()
        self.output_tensors = self._session.get_outputs()
        self.outputs = [each.name for each in self.output_tensors]

    @property
    def metadata(self) -> dict[str, str]:
        """What its exporter wrote beside it."""
        found: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return found

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs for these inputs, in the graph's order."""
        names = [each.name for each in self.inputs]
        found: list[Array] = self._session.run(None, dict(zip(names, arrays, strict=True)))
        return found


def split_network(decoder: Graph, joiner: Graph, blank: int) -> TransducerNetwork:
    """A network of two graphs, of k2's kind or of NeMo's.

    Raises ValueError for graphs that are of neither kind.
    """
    if len(joiner.inputs) != 2:
        raise ValueError(f"{joiner.path}: expected a joiner of 2 inputs, found {_names(joiner)}")
    wide = len(joiner.inputs[0].shape) == 3

    def join(frames: Array, outputs: Array) -> Array:
        pair = (frames[..., None], outputs[..., None]) if wide else (frames, outputs)
        logits = joiner.run(pair)[0]
        return logits.reshape(len(frames), logits.shape[-1])

    if len(decoder.inputs) == 1:
        context = _context_size(decoder)
        kind = _integer(decoder, 0)

        def predict(contexts: Array, _: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
            output = decoder.run((contexts.astype(kind),))[0]
            return output.reshape(len(contexts), output.shape[-1]), ()

        return SplitNetwork(predict, join, context, blank)
    memory = _memory(decoder, 2)
    types = _integer(decoder, 0), _integer(decoder, 1)

    def predict_next(contexts: Array, states: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        targets = contexts.astype(types[0])
        lengths = np.ones(len(contexts), types[1])
        output, _, *after = decoder.run((targets, lengths, *map(_layers_first, states)))
        # [N, dim, 1]; a joiner that takes rows gets them so.
        return output.reshape(len(contexts), -1), tuple(map(_rows_first, after))

    return SplitNetwork(predict_next, join, 1, blank, memory)


def joint_network(graph: Graph, blank: int) -> TransducerNetwork:
    """A network of NeMo's decoder_joint graph. Raises ValueError for another graph."""
    memory = _memory(graph, 3)
    types = _integer(graph, 1), _integer(graph, 2)

    def step(
        frames: Array, last: Array, states: tuple[Array, ...]
    ) -> tuple[Array, tuple[Array, ...]]:
        lengths = np.ones(len(last), types[1])
        arrays = (frames[..., None], last.astype(types[0]), lengths, *map(_layers_first, states))
        logits, _, *after = graph.run(arrays)
        return logits.reshape(len(frames), logits.shape[-1]), tuple(map(_rows_first, after))

    return JointNetwork(step, blank, memory)


def check_tokens(network: TransducerNetwork, first: Graph, tokens: int) -> None:
    """Raise ValueError where the network gives another number of logits than so many tokens.

    `first` is the graph that takes encoder frames. One that does not tell their size is let pass.
    """
    shape = first.inputs[0].shape
    dim = shape[1]
    if not isinstance(dim, int):
        return
    logits, _ = network.join(np.zeros((1, dim), np.float32), [network.start()])
    if logits.shape[-1] != tokens:
        raise ValueError(
            f"{first.path}: gives {logits.shape[-1]} logits, but the vocabulary has {tokens} tokens"
        )


def _layers_first(state: Array) -> Array:
    """[rows, layers, dim] as the graph has it, [layers, rows, dim]."""
    return np.ascontiguousarray(state.swapaxes(0, 1))


def _rows_first(state: Array) -> Array:
    return state.swapaxes(0, 1)


def _context_size(decoder: Graph) -> int:
    """How many tokens a stateless decoder takes: its metadata, else its shape."""
    told = decoder.metadata.get("context_size", "")
    size = int(told) if told.isdecimal() else decoder.inputs[0].shape[-1]
    if len(decoder.inputs[0].shape) != 2 or not isinstance(size, int):
        raise ValueError(
            f"{decoder.path}: expected an input [N, context size], found "
            f"{decoder.inputs[0].shape} and no context_size in its metadata"
        )
    return size


def _memory(graph: Graph, first: int) -> tuple[Array, ...]:
    """Fresh states without their batch dimension, from the inputs' shapes [layers, N, dim]."""
    states = graph.inputs[first:]
    sizes = [(each.shape[0], each.shape[-1]) for each in states if len(each.shape) == 3]
    whole = all(isinstance(size, int) for pair in sizes for size in pair)
    if not states or len(sizes) != len(states) or not whole:
        raise ValueError(
            f"{graph.path}: expected recurrent states of shape [layers, N, dim] behind {first} "
            f"other inputs, found {_names(graph)}"
        )
    if len(graph.outputs) != len(states) + 2:
        raise ValueError(
            f"{graph.path}: expected {len(states) + 2} outputs, the last {len(states)} of them the "
            f"next states, found {', '.join(graph.outputs)}"
        )
    return tuple(np.zeros(pair, np.float32) for pair in sizes)


def _integer(graph: Graph, place: int) -> Any:
    kind = graph.inputs[place].type
    if kind not in _INTEGERS:
        raise ValueError(
            f"{graph.path}: expected input '{graph.inputs[place].name}' of integers, found {kind}"
        )
    return _INTEGERS[kind]


def _names(graph: Graph) -> str:
    return ", ".join(f"{each.name} {each.shape}" for each in graph.inputs)
