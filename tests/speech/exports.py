"""Graphs with the tensors of true exports: names, types, batch axes, metadata; random weights.

Every state is read and written, so one that is lost, mixed up or given to a neighbour changes all
that follows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from streamgate.model.tensor import Array

Shape = Sequence[int | str | None]
FLOAT, INT64, INT32 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.INT32

LAYERS = (2, 2, 3, 4, 3, 2)
DIMS = (12, 16, 24, 32, 24, 16)
HEADS = (4, 4, 4, 8, 4, 4)
KERNELS = (31, 31, 15, 15, 15, 31)
LEFT = (128, 64, 32, 16, 32, 64)
QUERY_DIM, VALUE_DIM = 4, 3
JOINER_DIM = 24


class Drawing:
    """A graph in the making."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def add(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        name = to or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, array: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def random(self, *shape: int, scale: float = 1.0) -> str:
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def number(self, value: float) -> str:
        return self.constant(np.array([value], np.float32))

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def save(self, path: Path, metadata: Mapping[str, object]) -> None:
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid("", 13)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)


def mixed(
    draw: Drawing,
    h: str,
    dim: int,
    cache: str,
    new: str,
    shape: Sequence[int],
    axis: int,
    batch: str,
) -> str:
    """What a cache does to rows h [N, T, dim], and h to the cache of this shape, N at an axis."""
    full: list[int | str | None] = [*shape[:axis], batch, *shape[axis:]]
    row = [*shape[:axis], 1, *shape[axis:]]
    draw.inputs.append(helper.make_tensor_value_info(cache, FLOAT, full))
    draw.outputs.append(helper.make_tensor_value_info(new, FLOAT, full))
    others = [place for place in range(len(full)) if place != axis]
    weights = draw.random(*row)
    read = draw.add("Mul", cache, weights)
    mean = draw.add("ReduceMean", read, axes=others, keepdims=0)
    mean = draw.add("Reshape", mean, draw.ints(-1, 1, 1))
    pull = draw.add("Tanh", draw.add("Mul", mean, draw.random(1, 1, 1, scale=40.0)))
    h = draw.add("Add", h, draw.add("Mul", pull, draw.random(1, 1, dim, scale=0.3)))
    level = draw.add("Tanh", draw.add("ReduceMean", h, axes=[1, 2], keepdims=0))
    level = draw.add(
        "Reshape", level, draw.ints(*[-1 if place == axis else 1 for place in range(len(full))])
    )
    kept = draw.add("Mul", cache, draw.number(0.6))
    draw.add("Add", kept, draw.add("Mul", level, weights), to=new)
    return h


def save_zipformer_encoder(path: Path, chunk: int = 32) -> None:
    """x [N, T, 80] to encoder_out [N, chunk / 4, dim]; 16 layers of 6 caches, and 2 states."""
    draw = Drawing(1)
    size, frames = chunk + 13, chunk // 4
    draw.inputs.append(helper.make_tensor_value_info("x", FLOAT, ["N", size, 80]))
    out = helper.make_tensor_value_info("encoder_out", FLOAT, ["N", frames, JOINER_DIM])
    draw.outputs.append(out)
    x = scaled(draw, "x")
    steps = draw.add("Slice", x, draw.ints(0), draw.ints(chunk), draw.ints(1))
    ahead = draw.add("Slice", x, draw.ints(chunk), draw.ints(size), draw.ints(1))
    h = draw.add("Reshape", steps, draw.ints(-1, frames, 4 * 80))
    h = draw.add("MatMul", h, draw.random(4 * 80, JOINER_DIM, scale=0.1))
    ahead = draw.add("ReduceMean", ahead, axes=[1], keepdims=1)
    h = draw.add("Add", h, draw.add("MatMul", ahead, draw.random(80, JOINER_DIM, scale=0.1)))
    layer = 0
    for count, dim, heads, kernel, left in zip(LAYERS, DIMS, HEADS, KERNELS, LEFT, strict=True):
        for _ in range(count):
            caches = {
                "key": ((left, QUERY_DIM * heads), 1),
                "nonlin_attn": ((1, left, 3 * dim // 4), 1),
                "val1": ((left, VALUE_DIM * heads), 1),
                "val2": ((left, VALUE_DIM * heads), 1),
                "conv1": ((dim, kernel // 2), 0),
                "conv2": ((dim, kernel // 2), 0),
            }
            for kind, (shape, axis) in caches.items():
                name = f"cached_{kind}_{layer}"
                h = mixed(draw, h, JOINER_DIM, name, f"new_{name}", shape, axis, "N")
            layer += 1
    states = ("embed_states", "new_embed_states")
    h = mixed(draw, h, JOINER_DIM, *states, (128, 3, 19), 0, "N")
    h = counted(draw, h, "processed_lens", "new_processed_lens", chunk // 2, 10**6, "N")
    draw.add("Mul", h, draw.number(0.7), to="encoder_out")
    join = ",".join
    draw.save(
        path,
        {
            "model_type": "zipformer2",
            "decode_chunk_len": chunk,
            "T": size,
            "num_encoder_layers": join(map(str, LAYERS)),
            "encoder_dims": join(map(str, DIMS)),
            "num_heads": join(map(str, HEADS)),
            "cnn_module_kernels": join(map(str, KERNELS)),
            "left_context_len": join(map(str, LEFT)),
            "query_head_dims": join([str(QUERY_DIM)] * 6),
            "value_head_dims": join([str(VALUE_DIM)] * 6),
        },
    )


def save_first_zipformer_encoder(path: Path, chunk: int = 32) -> None:
    """The first generation: for each of 5 stacks a counter int64 [layers, N] and six caches."""
    draw = Drawing(8)
    size, frames = chunk + 7, chunk // 4
    draw.inputs.append(helper.make_tensor_value_info("x", FLOAT, ["N", size, 80]))
    out = helper.make_tensor_value_info("encoder_out", FLOAT, ["N", frames, JOINER_DIM])
    draw.outputs.append(out)
    x = scaled(draw, "x")
    h = draw.add("Slice", x, draw.ints(0), draw.ints(chunk), draw.ints(1))
    h = draw.add("Reshape", h, draw.ints(-1, frames, 4 * 80))
    h = draw.add("MatMul", h, draw.random(4 * 80, JOINER_DIM, scale=0.1))
    ahead = draw.add("Slice", x, draw.ints(chunk), draw.ints(size), draw.ints(1))
    ahead = draw.add("ReduceMean", ahead, axes=[1], keepdims=1)
    h = draw.add("Add", h, draw.add("MatMul", ahead, draw.random(80, JOINER_DIM, scale=0.1)))
    stacks = ((2, 64), (4, 32), (3, 16), (2, 8), (4, 32))
    for stack, (layers, left) in enumerate(stacks):
        name = f"cached_len_{stack}"
        for each, place in ((name, draw.inputs), (f"new_{name}", draw.outputs)):
            place.append(helper.make_tensor_value_info(each, INT64, [layers, "N"]))
        draw.add("Add", name, draw.ints(chunk // 2), to=f"new_{name}")
        wave = draw.add("ReduceMean", draw.add("Cos", cast(draw, name)), axes=[0], keepdims=0)
        h = draw.add("Add", h, draw.add("Reshape", wave, draw.ints(-1, 1, 1)))
        caches = {
            "avg": ((layers, 12), 1),
            "key": ((layers, left, 8), 2),
            "val": ((layers, left, 4), 2),
            "val2": ((layers, left, 4), 2),
            "conv1": ((layers, 12, 30), 1),
            "conv2": ((layers, 12, 30), 1),
        }
        for kind, (shape, axis) in caches.items():
            name = f"cached_{kind}_{stack}"
            h = mixed(draw, h, JOINER_DIM, name, f"new_{name}", shape, axis, "N")
    draw.add("Mul", h, draw.number(0.7), to="encoder_out")
    # The export has all counters first, then all averages, and so on.
    kinds = ["len", "avg", "key", "val", "val2", "conv1", "conv2"]
    for tensors in (draw.inputs, draw.outputs):
        tensors[1:] = sorted(tensors[1:], key=lambda each: kinds.index(each.name.split("_")[-2]))
    metadata = {
        "model_type": "zipformer",
        "decode_chunk_len": chunk,
        "T": size,
        "num_encoder_layers": ",".join(str(layers) for layers, _ in stacks),
        "left_context_len": ",".join(str(left) for _, left in stacks),
        "encoder_dims": "12,12,12,12,12",
        "attention_dims": "8,8,8,8,8",
        "cnn_module_kernels": "31,31,31,31,31",
    }
    draw.save(path, metadata)


def scaled(draw: Drawing, name: str) -> str:
    """Log-mel features to about -1 to 1."""
    shifted = draw.add("Add", name, draw.number(9))
    return draw.add("Mul", shifted, draw.number(0.3))


def counted(draw: Drawing, h: str, name: str, new: str, by: int, most: int, batch: str) -> str:
    """A counter int64 [N], which changes rows h with its value."""
    draw.inputs.append(helper.make_tensor_value_info(name, INT64, [batch]))
    draw.outputs.append(helper.make_tensor_value_info(new, INT64, [batch]))
    draw.add("Min", draw.add("Add", name, draw.ints(by)), draw.ints(most), to=new)
    wave = draw.add("Cos", cast(draw, name))
    wave = draw.add("Reshape", wave, draw.ints(-1, 1, 1))
    return draw.add("Add", h, wave)


def cast(draw: Drawing, name: str) -> str:
    found = f"float_{name}"
    draw.nodes.append(helper.make_node("Cast", [name], [found], to=FLOAT))
    return found


def save_zipformer_decoder(path: Path, tokens: int) -> None:
    """y [N, 2] to decoder_out [N, joiner_dim]."""
    draw = Drawing(2)
    draw.inputs.append(helper.make_tensor_value_info("y", INT64, ["N", 2]))
    draw.outputs.append(helper.make_tensor_value_info("decoder_out", FLOAT, ["N", JOINER_DIM]))
    rows = draw.add("Gather", draw.random(tokens, JOINER_DIM, scale=0.7), "y")
    rows = draw.add("Mul", rows, draw.random(1, 2, JOINER_DIM))
    draw.add("ReduceSum", rows, draw.ints(1), keepdims=0, to="decoder_out")
    draw.save(path, {"context_size": 2, "vocab_size": tokens})


def save_zipformer_joiner(path: Path, tokens: int, blank: int = 0, favour: float = 5.0) -> None:
    """encoder_out [N, dim] and decoder_out [N, dim] to logit [N, tokens]."""
    draw = Drawing(3)
    for name in ("encoder_out", "decoder_out"):
        draw.inputs.append(helper.make_tensor_value_info(name, FLOAT, ["N", JOINER_DIM]))
    draw.outputs.append(helper.make_tensor_value_info("logit", FLOAT, ["N", tokens]))
    h = draw.add("Tanh", draw.add("Add", "encoder_out", "decoder_out"))
    h = draw.add("MatMul", h, draw.random(JOINER_DIM, tokens))
    draw.add("Add", h, draw.constant(favouring(tokens, blank, favour)), to="logit")
    draw.save(path, {"joiner_dim": JOINER_DIM})


def favouring(tokens: int, blank: int, by: float) -> Array:
    bias = np.zeros(tokens, np.float32)
    bias[blank] = by
    return bias


NEMO_LAYERS, NEMO_LEFT, NEMO_DIM, NEMO_CONV = 3, 10, 16, 4
NEMO_CHUNK, NEMO_CACHE = 56, 9
VOCABULARY = 30
HIDDEN, PREDICTION_LAYERS = 12, 1


def save_nemo_encoder(path: Path, tokens: int = 0, *, described: bool = False) -> None:
    """audio_signal [B, 80, T] to outputs [B, dim, T / 8]; CTC: logprobs [B, T / 8, tokens].

    `described`: with the metadata that sherpa-onnx's exporter adds to NeMo's.
    """
    draw = Drawing(4)
    value = helper.make_tensor_value_info
    draw.inputs += [value("audio_signal", FLOAT, ["B", 80, "T"]), value("length", INT64, ["B"])]
    name = "logprobs" if tokens else "outputs"
    shape: Shape = ["B", "F", tokens] if tokens else ["B", NEMO_DIM, "F"]
    draw.outputs += [value(name, FLOAT, shape), value("encoded_lengths", INT64, ["B"])]
    frames = NEMO_CHUNK // 8
    x = draw.add("Transpose", scaled(draw, "audio_signal"), perm=[0, 2, 1])
    size = NEMO_CACHE + NEMO_CHUNK
    new = draw.add("Slice", x, draw.ints(NEMO_CACHE), draw.ints(size), draw.ints(1))
    before = draw.add("Slice", x, draw.ints(0), draw.ints(NEMO_CACHE), draw.ints(1))
    h = draw.add("Reshape", new, draw.ints(-1, frames, 8 * 80))
    h = draw.add("MatMul", h, draw.random(8 * 80, NEMO_DIM, scale=0.3))
    before = draw.add("ReduceMean", before, axes=[1], keepdims=1)
    h = draw.add("Add", h, draw.add("MatMul", before, draw.random(80, NEMO_DIM, scale=0.1)))
    channel, time = (NEMO_LAYERS, NEMO_LEFT, NEMO_DIM), (NEMO_LAYERS, NEMO_DIM, NEMO_CONV)
    names = ("cache_last_channel", "cache_last_channel_next")
    h = mixed(draw, h, NEMO_DIM, *names, channel, 0, "B")
    names = ("cache_last_time", "cache_last_time_next")
    h = mixed(draw, h, NEMO_DIM, *names, time, 0, "B")
    lengths = ("cache_last_channel_len", "cache_last_channel_next_len")
    h = counted(draw, h, *lengths, frames, NEMO_LEFT, "B")
    # The graph itself leaves the caches' frames open.
    for each in (*draw.inputs, *draw.outputs):
        if each.name.startswith("cache_last_channel") and len(each.type.tensor_type.shape.dim) == 4:
            each.type.tensor_type.shape.dim[2].dim_param = "cache_frames"
    count = draw.add("Sub", "length", draw.ints(NEMO_CACHE))
    draw.add("Div", count, draw.ints(8), to="encoded_lengths")
    if tokens:
        h = draw.add("MatMul", h, draw.random(NEMO_DIM, tokens, scale=2.0))
        h = draw.add("Add", h, draw.constant(favouring(tokens, tokens - 1, 2.0)))
        draw.add("LogSoftmax", h, to="logprobs", axis=2)
    else:
        draw.add("Transpose", h, to="outputs", perm=[0, 2, 1])
    metadata = {
        "window_size": size,
        "chunk_shift": NEMO_CHUNK,
        "subsampling_factor": 8,
        "vocab_size": VOCABULARY - 1,  # without the blank
        "normalize_type": "NA",
        "pred_rnn_layers": PREDICTION_LAYERS,
        "pred_hidden": HIDDEN,
        "model_type": "EncDecHybridRNNTCTCBPEModel",
    }
    for cache, dims in (("channel", channel), ("time", time)):
        metadata |= {f"cache_last_{cache}_dim{at}": size for at, size in enumerate(dims, 1)}
    draw.save(path, metadata if described else {})


def save_nemo_decoder(folder: Path, tokens: int, *, joint: bool) -> None:
    """`decoder_joint.onnx`, or `decoder.onnx` and `joiner.onnx`, with the same weights."""
    draw = Drawing(5)
    value = helper.make_tensor_value_info
    targets = [value("targets", INT32, ["B", 1]), value("target_length", INT32, ["B"])]
    states = ["input_states_1", "input_states_2"]
    shape: Shape = [PREDICTION_LAYERS, "B", HIDDEN]
    targets += [value(each, FLOAT, shape) for each in states]
    after = [value(f"output_states_{place}", FLOAT, shape) for place in (1, 2)]
    row = draw.add("Gather", draw.random(tokens, HIDDEN), "targets")
    row = draw.add("Transpose", row, perm=[1, 0, 2])  # [1, B, H]
    first = draw.add("Add", row, draw.add("MatMul", states[0], draw.random(HIDDEN, HIDDEN)))
    draw.add("Tanh", first, to="output_states_1")
    second = draw.add("Mul", states[1], draw.number(0.5))
    draw.add("Add", second, "output_states_1", to="output_states_2")
    h = draw.add("MatMul", "output_states_2", draw.random(HIDDEN, NEMO_DIM, scale=0.5))
    last = draw.add("Transpose", h, perm=[1, 2, 0], to="prediction")  # [B, D, 1]
    draw.add("Identity", "target_length", to="prednet_lengths")
    lengths = value("prednet_lengths", INT32, ["B"])
    mixing = Drawing(6) if not joint else draw
    weights = np.random.default_rng(7).standard_normal((NEMO_DIM, tokens)).astype(np.float32)
    if not joint:
        draw.inputs, draw.outputs = targets, [value(last, FLOAT, ["B", NEMO_DIM, 1]), lengths]
        draw.outputs += after
        draw.save(folder / "decoder.onnx", {})
        mixing.inputs.append(value("encoder_outputs", FLOAT, ["B", NEMO_DIM, 1]))
        mixing.inputs.append(value("decoder_outputs", FLOAT, ["B", NEMO_DIM, 1]))
        last = "decoder_outputs"
    h = mixing.add("Tanh", mixing.add("Add", "encoder_outputs", last))
    h = mixing.add("Transpose", h, perm=[0, 2, 1])
    h = mixing.add("MatMul", h, mixing.constant(weights))
    h = mixing.add("Add", h, mixing.constant(favouring(tokens, tokens - 1, 6.0)))
    mixing.add("Unsqueeze", h, mixing.ints(1), to="outputs")
    mixing.outputs.append(value("outputs", FLOAT, ["B", 1, 1, tokens]))
    if joint:
        draw.inputs = [value("encoder_outputs", FLOAT, ["B", NEMO_DIM, 1]), *targets]
        draw.outputs += [lengths, *after]
        draw.save(folder / "decoder_joint.onnx", {})
    else:
        mixing.save(folder / "joiner.onnx", {})


def pieces(count: int) -> list[str]:
    """So many tokens, every third of which goes on in a word."""
    return [f"{'' if place % 3 == 0 else chr(0x2581)}P{place}" for place in range(count)]


def save_tokens(path: Path, texts: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{text} {number}\n" for number, text in enumerate(texts)]
    path.write_text("".join(lines), encoding="utf-8")
