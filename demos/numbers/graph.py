"""Builds the streaming ONNX graph of the recogniser from its weights. Needs no PyTorch.

    AUDIO [B,2560] -> 16 frames -> log-mel - running mean -> convolutions -> GRU x 3 -> TOKENS

One step takes 160 ms of 16 kHz sound and answers four tokens (40 ms each). Every state `x` is
answered by `x_out`, its batch at axis 0; all begin at zero but `ema`, which begins at -9.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

import features
import vocabulary
from features import FFT, HOP, MELS, WINDOW, Array

CHUNK = 2560
FRAMES_PER_TOKEN = 4
WIDTH = 224
BLANK_BIAS = -0.5  # added to the blank's score: as many words are missed as are made up
IR_VERSION = 8
OPSET = 17

_HALF = HOP // 2  # the samples are cut into pieces of half a hop: a window is five of them
_TAIL = WINDOW - HOP  # samples of the chunk before that the first window needs


def _front(frames: int) -> str:
    pieces = "".join(
        f"piece_{k} = Slice (pieces, at_{k}, at_{k + 2 * frames - 1}, axis_1, at_2)\n"
        for k in range(5)
    )
    return f"""
  samples = Concat <axis = 1> (pcm_tail, AUDIO)
  pcm_tail_out = Slice (samples, at_{frames * HOP}, at_{frames * HOP + _TAIL}, axis_1)
  pieces = Reshape (samples, shape_pieces)
  {pieces}
  windows = Concat <axis = 2> (piece_0, piece_1, piece_2, piece_3, piece_4)
  spectrum = MatMul (windows, fourier)
  squares = Mul (spectrum, spectrum)
  mel = MatMul (squares, mel_filters)
  mel_floored = Add (mel, floor)
  log_mel = Log (mel_floored)
  mean_new = MatMul (mean_weights, log_mel)
  mean_old = Mul (mean_decay, ema)
  mean = Add (mean_new, mean_old)
  ema_out = Slice (mean, at_{frames - 1}, at_{frames}, axis_1)
  level = Sub (log_mel, mean)
  scaled = Mul (level, scale)
"""


def _convolutions(frames: int) -> str:
    return f"""
  image = Unsqueeze (scaled, axis_1)
  image_1 = Concat <axis = 2> (conv1, image)
  conv1_out = Slice (image_1, at_{frames}, at_{frames + 1}, at_2)
  maps_1 = Conv <strides = [2, 2], pads = [0, 1, 0, 1]> (image_1, conv1_weight, conv1_bias)
  active_1 = Relu (maps_1)
  image_2 = Concat <axis = 2> (conv2, active_1)
  conv2_out = Slice (image_2, at_{frames // 2}, at_{frames // 2 + 1}, at_2)
  maps_2 = Conv <strides = [2, 2], pads = [0, 1, 0, 1]> (image_2, conv2_weight, conv2_bias)
  active_2 = Relu (maps_2)
  by_time = Transpose <perm = [2, 0, 1, 3]> (active_2)
  hidden_0 = Reshape (by_time, shape_hidden)
"""


_LAYER = """
  state_{i} = Slice (gru, at_{i}, at_{n}, axis_1)
  begin_{i} = Transpose <perm = [1, 0, 2]> (state_{i})
  all_{i}, end_{i} = GRU <hidden_size = 224, linear_before_reset = 1>
    (hidden_{i}, gru{i}_input, gru{i}_recurrent, gru{i}_bias, , begin_{i})
  found_{i} = Squeeze (all_{i}, axis_1)
  hidden_{n} = {sum}
"""

_WORDS = """
  ends = Concat <axis = 0> (end_0, end_1, end_2)
  gru_out = Transpose <perm = [1, 0, 2]> (ends)
  by_stream = Transpose <perm = [1, 0, 2]> (hidden_3)
  products = MatMul (by_stream, words_weight)
  scores = Add (products, words_bias)
  LOG_PROBABILITIES = LogSoftmax <axis = -1> (scores)
  biased = Add (scores, blank_bias)
  probabilities = Softmax <axis = -1> (biased)
  CONFIDENCES = ReduceMax <axes = [-1], keepdims = 0> (probabilities)
  best = ArgMax <axis = -1, keepdims = 0> (probabilities)
  TOKENS = Cast <to = 6> (best)
"""


def build(learned: dict[str, Array], chunk: int = CHUNK) -> onnx.ModelProto:
    """Returns the graph with the weights `learned` (see `from_torch`), checked by onnx.

    Inputs: AUDIO FP32 [B,chunk] in -1..1, `chunk` a multiple of 640; states pcm_tail [B,240],
    ema [B,1,40], conv1 [B,1,1,40], conv2 [B,24,1,20], gru [B,3,224]. Outputs: TOKENS INT32
    [B,chunk/640] (the likeliest token of each 40 ms, 0 the blank), CONFIDENCES FP32 of the same
    shape (its probability; both with BLANK_BIAS), LOG_PROBABILITIES FP32 [B,chunk/640,44]
    (without the bias), and the states.
    """
    frames = chunk // HOP
    tokens = frames // FRAMES_PER_TOKEN
    if chunk != tokens * FRAMES_PER_TOKEN * HOP:
        raise ValueError(
            f"a chunk has {chunk} samples, expected a multiple of {FRAMES_PER_TOKEN * HOP}"
        )
    states = {
        "pcm_tail": f"B,{_TAIL}",
        "ema": f"B,1,{MELS}",
        "conv1": f"B,1,1,{MELS}",
        "conv2": f"B,24,1,{MELS // 2}",
        "gru": f"B,3,{WIDTH}",
    }
    inputs = [
        f"float[B,{chunk}] AUDIO",
        *(f"float[{shape}] {name}" for name, shape in states.items()),
    ]
    outputs = [
        f"int32[B,{tokens}] TOKENS",
        f"float[B,{tokens}] CONFIDENCES",
        f"float[B,{tokens},{vocabulary.TOKENS}] LOG_PROBABILITIES",
        *(f"float[{shape}] {name}_out" for name, shape in states.items()),
    ]
    layers = "".join(
        _LAYER.format(
            i=i, n=i + 1, sum=f"Add (hidden_{i}, found_{i})" if i else "Identity (found_0)"
        )
        for i in range(3)
    )
    body = _front(frames) + _convolutions(frames) + layers + _WORDS
    graph = parser.parse_graph(
        f"spoken_numbers ({', '.join(inputs)}) => ({', '.join(outputs)}) {{ {body} }}"
    )
    used = {name for node in graph.node for name in node.input}
    constants = {**_numbers(frames), **_places(used), **learned}
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items() if name in used
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def learned_in(model: onnx.ModelProto) -> dict[str, Array]:
    """Returns the weights in a graph that `build` made, to build one of another chunk with."""
    named = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    return {name: value for name, value in named.items() if name.startswith(_LEARNED)}


def from_torch(weights: dict[str, Array]) -> dict[str, Array]:
    """Returns the weights of model.Recogniser under the graph's names and in ONNX's order."""
    found = {
        "conv1_weight": weights["conv1.weight"],
        "conv1_bias": weights["conv1.bias"],
        "conv2_weight": weights["conv2.weight"],
        "conv2_bias": weights["conv2.bias"],
        "words_weight": weights["words.weight"].T.copy(),
        "words_bias": weights["words.bias"],
    }
    for i in range(3):
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        parts = [_update_first(weights[f"layers.{i}.{kind}_l0"]) for kind in kinds]
        found[f"gru{i}_input"] = parts[0][None]
        found[f"gru{i}_recurrent"] = parts[1][None]
        found[f"gru{i}_bias"] = np.concatenate(parts[2:])[None]
    return found


_LEARNED = ("conv1_", "conv2_", "words_", "gru0_", "gru1_", "gru2_")


def _numbers(frames: int) -> dict[str, Array]:
    """Returns the constants that nobody learned."""
    filters = features.mel_filters()
    used = np.flatnonzero(filters.any(axis=1))
    angles = 2 * np.pi * np.outer(np.arange(WINDOW), used) / FFT
    window = features.window()[:, None]
    ages = np.arange(frames)[:, None] - np.arange(frames)
    keep = features.MEAN_KEEP
    bias = np.zeros(vocabulary.TOKENS)
    bias[vocabulary.BLANK] = BLANK_BIAS
    floats = {
        "fourier": np.concatenate([window * np.cos(angles), window * np.sin(angles)], axis=1),
        "mel_filters": np.concatenate([filters[used]] * 2),
        "floor": np.array(features.FLOOR),
        "mean_weights": np.where(ages >= 0, (1 - keep) * keep ** np.maximum(ages, 0), 0),
        "mean_decay": keep ** np.arange(1, frames + 1)[:, None],
        "scale": np.array(features.SCALE),
        "blank_bias": bias,
    }
    shapes = {
        "shape_pieces": [-1, (frames * HOP + _TAIL) // _HALF, _HALF],
        "shape_hidden": [frames // FRAMES_PER_TOKEN, -1, 32 * MELS // 4],
        "axis_1": [1],
    }
    made = {name: value.astype(np.float32) for name, value in floats.items()}
    return made | {name: np.array(value, np.int64) for name, value in shapes.items()}


def _places(used: set[str]) -> dict[str, Array]:
    """Returns the constants named at_N: where slices begin and end."""
    return {
        name: np.array([int(name.removeprefix("at_"))]) for name in used if name.startswith("at_")
    }


def _update_first(gates: Array) -> Array:
    """PyTorch keeps the gates as reset, update, new; ONNX wants update, reset, new."""
    reset, update, new = np.split(gates, 3)
    return np.concatenate([update, reset, new])
