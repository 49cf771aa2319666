"""Builds voice activity for steps of 160 ms, as speech recognisers take them: five chunks in one.

The graph of `voice_activity_graph` becomes a function of ONNX, called once for each 32 ms with the
states that the call before gave:

    AUDIO [B,2560] -> Split -> 5 x [B,512]
        states -> chunk 0 -> chunk 1 -> ... -> chunk 4 -> states_out
                  the outputs of all chunks side by side: [B,5]
"""

import onnx
from onnx import helper

import voice_activity_graph

WINDOWS = 5
_DOMAIN = "streamgate.demos"
_RESULTS = ("SPEECH_PROBABILITY", "SPEECH_EVENT", "EVENT_TIME")


def build(chunk: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the graph over `chunk`, which `voice_activity_graph.build` made, checked by onnx.

    Inputs: AUDIO FP32 [B,2560] (16 kHz, mono, -1..1). Outputs as those of `chunk`, but [B,5], a
    value for each 32 ms. States as those of `chunk`, with the same names and beginnings.
    """
    states = [value for value in chunk.graph.input if value.name != "AUDIO"]
    names = [value.name for value in chunk.graph.input]
    outputs = [value.name for value in chunk.graph.output]
    function = helper.make_function(
        _DOMAIN, "VoiceActivityChunk", names, outputs, chunk.graph.node, chunk.opset_import
    )
    windows = [f"AUDIO{window}" for window in range(WINDOWS)]
    nodes = [
        helper.make_node("Split", ["AUDIO"], windows, axis=1),
        *(_call(names, outputs, window) for window in range(WINDOWS)),
        *(
            helper.make_node("Concat", [f"{name}{w}" for w in range(WINDOWS)], [name], axis=1)
            for name in _RESULTS
        ),
    ]
    samples = WINDOWS * voice_activity_graph.CHUNK_SAMPLES
    audio = helper.make_tensor_value_info("AUDIO", onnx.TensorProto.FLOAT, ["B", samples])
    kinds = {value.name: value.type.tensor_type.elem_type for value in chunk.graph.output}
    results = [helper.make_tensor_value_info(n, kinds[n], ["B", WINDOWS]) for n in _RESULTS]
    after = [value for value in chunk.graph.output if value.name not in _RESULTS]
    graph = helper.make_graph(nodes, "voice_activity_160ms", [audio, *states], [*results, *after])
    model = helper.make_model(
        graph,
        functions=[function],
        opset_imports=[*chunk.opset_import, helper.make_opsetid(_DOMAIN, 1)],
        ir_version=voice_activity_graph.IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _call(names: list[str], outputs: list[str], window: int) -> onnx.NodeProto:
    """One call: a state comes from the window before, or from outside, and goes the same way."""
    before = "" if window == 0 else f"_out{window - 1}"
    last = window == WINDOWS - 1
    arguments = [f"AUDIO{window}" if name == "AUDIO" else f"{name}{before}" for name in names]
    results = [name if name.endswith("_out") and last else f"{name}{window}" for name in outputs]
    return helper.make_node("VoiceActivityChunk", arguments, results, domain=_DOMAIN)
