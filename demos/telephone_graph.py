"""Builds the graph that turns telephone audio into what the voice-activity model listens to.

Telephone lines carry 8000 samples a second, each of them a byte in G.711 mu-law. The graph decodes
32 ms of them and doubles their rate, with the end of the chunk before as its state, so that chunks
join without a seam:

    MULAW [B,256] -> table -> samples     history [B,15]
                                 \\         /      \\
                                concatenate        history_out
                                 /       \\
              samples themselves           those halfway between two, by 16 taps
                                 \\       /
                                AUDIO [B,512], 1 ms late

What it makes runs in plain ONNX Runtime.
"""

from collections.abc import Sequence
from math import cos, pi, sin

import onnx
from onnx import parser

CHUNK_SAMPLES = 256
TAPS = 16


def decoded(byte: int) -> float:
    """A sample of G.711 mu-law, from -1 to 1."""
    bits = ~byte & 0xFF
    magnitude = ((((bits & 0x0F) << 3) + 0x84) << ((bits >> 4) & 0x07)) - 0x84
    return (-magnitude if bits & 0x80 else magnitude) / 32768


def taps() -> list[float]:
    """Weights of the samples around the point halfway between two: a windowed sinc."""
    places = [tap - (TAPS - 1) / 2 for tap in range(TAPS)]
    weights = [sin(pi * at) / (pi * at) * (0.5 + 0.5 * cos(2 * pi * at / TAPS)) for at in places]
    return [weight / sum(weights) for weight in weights]


def build() -> onnx.ModelProto:
    """MULAW UINT8 [B,256] and state `history` -> AUDIO FP32 [B,512]; state `history_out`."""
    kept = TAPS - 1
    middle = TAPS // 2 - 1
    model = parser.parse_model(f"""
<ir_version: 8, opset_import: ["": 16]>
telephone_audio (uint8[B,{CHUNK_SAMPLES}] MULAW, float[B,{kept}] history)
  => (float[B,{2 * CHUNK_SAMPLES}] AUDIO, float[B,{kept}] history_out)
{{
  table = Constant <value_floats = [{_listed([decoded(byte) for byte in range(256)])}]> ()
  codes = Cast <to = 7> (MULAW)
  samples = Gather (table, codes)
  line = Concat <axis = 1> (history, samples)

  one = Constant <value_ints = [1]> ()
  two = Constant <value_ints = [2]> ()
  signal = Unsqueeze (line, one)
  weights = Constant <value_floats = [{_listed(taps())}]> ()
  kernel_shape = Constant <value_ints = [1, 1, {TAPS}]> ()
  kernel = Reshape (weights, kernel_shape)
  filtered = Conv (signal, kernel)
  between = Squeeze (filtered, one)

  first = Constant <value_ints = [{middle}]> ()
  last = Constant <value_ints = [{middle + CHUNK_SAMPLES}]> ()
  themselves = Slice (line, first, last, one)
  left = Unsqueeze (themselves, two)
  right = Unsqueeze (between, two)
  pairs = Concat <axis = 2> (left, right)
  audio_shape = Constant <value_ints = [-1, {2 * CHUNK_SAMPLES}]> ()
  AUDIO = Reshape (pairs, audio_shape)

  size = Constant <value_ints = [{CHUNK_SAMPLES}]> ()
  end = Constant <value_ints = [{CHUNK_SAMPLES + kept}]> ()
  history_out = Slice (line, size, end, one)
}}
""")
    onnx.checker.check_model(model, full_check=True)
    return model


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.9f}" for value in values)
