"""Builds the streaming voice-activity graph from the ONNX file of the `silero-vad` package.

The package's file scores one chunk at a time and leaves everything around it to Python: the
64 samples of the chunk before, the recurrent state, and the decision where speech starts and
ends. Here all of that becomes part of one graph with named states, so that a server can keep
the states and put many streams into one step:

    AUDIO [B,512]  context [B,64]      position, speaking, silence_start [B,1]
         \\           /                              |
          concatenate -> silero core (16 kHz) -> hysteresis -> SPEECH_EVENT, EVENT_TIME
                             |      \\
              state [2,B,128] -> state_out    SPEECH_PROBABILITY

`silero_vad` itself is never imported (it would import torch): only its data file is read. The
module knows nothing about StreamGate; what it writes runs in plain ONNX Runtime.
"""

from importlib import metadata
from pathlib import Path

import onnx
from onnx import helper, numpy_helper, parser

SAMPLE_RATE = 16_000
CHUNK_SAMPLES = 512
CONTEXT_SAMPLES = 64
IR_VERSION = 8

# The hysteresis of silero-vad's own streaming iterator with its default settings: speech starts
# at 0.5, is over once the probability stayed below 0.35 for 100 ms counted from the end of the
# first quiet chunk, and both times are moved 30 ms outwards.
_START_PROBABILITY = 0.5
_END_PROBABILITY = 0.35
_SILENCE_SAMPLES = CHUNK_SAMPLES + SAMPLE_RATE // 10
_MARGIN_SAMPLES = SAMPLE_RATE * 3 // 100

_FRONT = f"""
front (float[B,{CHUNK_SAMPLES}] AUDIO, float[B,{CONTEXT_SAMPLES}] context)
  => (float[B,{CONTEXT_SAMPLES + CHUNK_SAMPLES}] input, float[B,{CONTEXT_SAMPLES}] context_out)
{{
  input = Concat <axis = 1> (context, AUDIO)
  chunk_size = Constant <value_ints = [{CHUNK_SAMPLES}]> ()
  input_size = Constant <value_ints = [{CONTEXT_SAMPLES + CHUNK_SAMPLES}]> ()
  sample_axis = Constant <value_ints = [1]> ()
  context_out = Slice (input, chunk_size, input_size, sample_axis)
}}
"""

_EVENTS = f"""
events (float[B,1] SPEECH_PROBABILITY, int64[B,1] position, int32[B,1] speaking,
        int64[B,1] silence_start)
  => (int32[B,1] SPEECH_EVENT, float[B,1] EVENT_TIME, int64[B,1] position_out,
      int32[B,1] speaking_out, int64[B,1] silence_start_out)
{{
  chunk = Constant <value_int = {CHUNK_SAMPLES}> ()
  position_out = Add (position, chunk)

  start_probability = Constant <value_float = {_START_PROBABILITY}> ()
  end_probability = Constant <value_float = {_END_PROBABILITY}> ()
  loud = GreaterOrEqual (SPEECH_PROBABILITY, start_probability)
  quiet = Less (SPEECH_PROBABILITY, end_probability)
  was_speaking = Cast <to = 9> (speaking)
  was_silent = Not (was_speaking)
  started = And (loud, was_silent)

  none = Constant <value_int = -1> ()
  zero = Constant <value_int = 0> ()
  silence_kept = Where (loud, none, silence_start)
  no_silence = Less (silence_kept, zero)
  quiet_speech = And (quiet, was_speaking)
  silence_begins = And (quiet_speech, no_silence)
  silence_seen = Where (silence_begins, position, silence_kept)

  silence_length = Sub (position_out, silence_seen)
  silence_needed = Constant <value_int = {_SILENCE_SAMPLES}> ()
  silence_is_long = GreaterOrEqual (silence_length, silence_needed)
  ended = And (quiet_speech, silence_is_long)
  silence_start_out = Where (ended, none, silence_seen)

  not_ended = Not (ended)
  is_speaking = Or (was_speaking, started)
  still_speaking = And (is_speaking, not_ended)
  speaking_out = Cast <to = 6> (still_speaking)

  event_start = Cast <to = 6> (started)
  event_ended = Cast <to = 6> (ended)
  event_end = Add (event_ended, event_ended)
  SPEECH_EVENT = Add (event_start, event_end)

  margin = Constant <value_int = {_MARGIN_SAMPLES}> ()
  start_early = Sub (position, margin)
  start_sample = Max (start_early, zero)
  end_sample = Add (silence_seen, margin)
  edge_sample = Where (started, start_sample, end_sample)
  edge_float = Cast <to = 1> (edge_sample)
  rate = Constant <value_float = {float(SAMPLE_RATE)}> ()
  edge_time = Div (edge_float, rate)
  no_time = Constant <value_float = -1.0> ()
  has_event = Or (started, ended)
  EVENT_TIME = Where (has_event, edge_time, no_time)
}}
"""


class GraphSourceError(Exception):
    """The installed `silero-vad` is absent or its graph is not of the shape this module cuts."""


def build(source: Path) -> onnx.ModelProto:
    """Returns the streaming graph made from the silero-vad file at `source`, checked by onnx.

    Inputs: AUDIO FP32 [B,512] (16 kHz, mono, -1..1). Outputs: SPEECH_PROBABILITY FP32 [B,1],
    SPEECH_EVENT INT32 [B,1] (0 none, 1 start, 2 end), EVENT_TIME FP32 [B,1] (seconds from the
    start of the stream; -1 without an event). States, each `x` answered by `x_out`: state FP32
    [2,B,128], context FP32 [B,64], position INT64, speaking INT32, silence_start INT64 (all
    [B,1]). All states begin at zero but silence_start, which begins at -1.
    """
    original = onnx.load(source)
    core = _core_at_16khz(original, source)
    front = parser.parse_graph(_FRONT)
    events = parser.parse_graph(_EVENTS)
    state_out = helper.make_tensor_value_info("state_out", onnx.TensorProto.FLOAT, [2, "B", 128])
    state_in = helper.make_tensor_value_info("state", onnx.TensorProto.FLOAT, [2, "B", 128])
    outputs = [events.input[0], *events.output[:2], state_out, front.output[1], *events.output[2:]]
    graph = helper.make_graph(
        [*front.node, *core, *events.node],
        "voice_activity",
        inputs=[front.input[0], state_in, front.input[1], *events.input[1:]],
        outputs=outputs,
    )
    model = helper.make_model(graph, opset_imports=original.opset_import, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def installed_source() -> Path:
    """Returns the path of `silero_vad.onnx` in the installed `silero-vad` distribution.

    Raises GraphSourceError when the distribution or the file is missing.
    """
    try:
        distribution = metadata.distribution("silero-vad")
    except metadata.PackageNotFoundError:
        raise GraphSourceError(
            "the voice-activity demo model is made from the data file of the package "
            "'silero-vad', which is not installed; "
            "`pip install --no-deps silero-vad` is enough (torch is not needed)"
        ) from None
    for file in distribution.files or []:
        if file.name == "silero_vad.onnx":
            return Path(str(distribution.locate_file(file)))
    raise GraphSourceError(
        f"silero-vad {distribution.version} is installed but holds no file 'silero_vad.onnx'"
    )


def _core_at_16khz(model: onnx.ModelProto, source: Path) -> list[onnx.NodeProto]:
    """Returns the nodes that score one chunk at 16 kHz: `input`, `state` -> the outputs named
    SPEECH_PROBABILITY and `state_out`. The input `sr` and the other rate's weights are left out.
    """
    branch = _branch_at_16khz(model.graph, source)
    if len(branch.output) != 2:
        raise GraphSourceError(
            f"{source}: the 16 kHz branch has {len(branch.output)} outputs, "
            "expected 2 (probability, state)"
        )
    renamed = {branch.output[0].name: "SPEECH_PROBABILITY", branch.output[1].name: "state_out"}
    nodes = [helper.make_node("Identity", [old], [new]) for old, new in renamed.items()]
    initializers = [
        helper.make_node("Constant", [], [tensor.name], value=tensor)
        for tensor in branch.initializer
    ]
    return [*initializers, *branch.node, *nodes]


def _branch_at_16khz(graph: onnx.GraphProto, source: Path) -> onnx.GraphProto:
    """Returns the subgraph that `If (sr == RATE)` chooses when sr is 16000."""
    names = {value.name for value in graph.input}
    if names != {"input", "state", "sr"}:
        raise GraphSourceError(f"{source}: inputs are {sorted(names)}, expected input, sr, state")
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type != "If":
            continue
        rate = _rate_compared(made_by.get(node.input[0]), made_by)
        if rate is None:
            continue
        wanted = "then_branch" if rate == SAMPLE_RATE else "else_branch"
        return next(item.g for item in node.attribute if item.name == wanted)
    raise GraphSourceError(
        f"{source}: found no choice between sample rates (If on sr == 16000 or sr == 8000)"
    )


def _rate_compared(
    condition: onnx.NodeProto | None, made_by: dict[str, onnx.NodeProto]
) -> int | None:
    """Returns the rate that `condition` compares `sr` with, or None if it is something else."""
    if condition is None or condition.op_type != "Equal" or "sr" not in condition.input:
        return None
    other = next(name for name in condition.input if name != "sr")
    constant = made_by.get(other)
    if constant is None or constant.op_type != "Constant":
        return None
    rate = int(numpy_helper.to_array(constant.attribute[0].t).item())
    return rate if rate in (8_000, SAMPLE_RATE) else None
