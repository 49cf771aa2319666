"""The configurations of a recogniser made of an exported encoder and our two ends.

Texts only; docs/bring-your-own-model.md shows them filled in, and a test holds both together.
"""

from collections.abc import Mapping, Sequence

CLASSES = "streamgate.speech.models."
_IDLE = "  max_sequence_idle_microseconds: 60000000\n"
_EVENTS = (
    ("STABLE", "TYPE_STRING", "1"),
    ("TAIL", "TYPE_STRING", "1"),
    ("FINAL", "TYPE_BOOL", "1"),
    ("AUDIO_PROCESSED", "TYPE_FP64", "1"),
    ("WORDS", "TYPE_STRING", "-1"),
    ("WORD_TIMES", "TYPE_FP32", "[ -1, 2 ]"),
    ("WORD_CONFIDENCES", "TYPE_FP32", "-1"),
)

Maps = Sequence[tuple[str, str]]
"""A model's tensors and what the ensemble calls them."""


def parameters(values: Mapping[str, str]) -> str:
    """Parameters, one a line."""
    return "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{text}" }} }}\n'
        for key, text in values.items()
    )


def ensemble(
    name: str, features: Maps, encoder: tuple[Maps, Maps], text: Maps, values: Mapping[str, str]
) -> str:
    """The model that clients name. `features` are outputs of the first step, `encoder` the inputs
    and outputs of the second, `text` the inputs of the last."""
    lines = [
        'platform: "ensemble"',
        "max_batch_size: 1",
        'input { name: "AUDIO" data_type: TYPE_FP32 dims: -1 }',
        'input { name: "FLUSH" data_type: TYPE_BOOL dims: 1 optional: true }',
        *(f'output {{ name: "{n}" data_type: {t} dims: {d} }}' for n, t, d in _EVENTS),
        "ensemble_scheduling {",
        *_step(f"{name}_features", [("AUDIO", "AUDIO"), ("FLUSH", "FLUSH")], features),
        *_step(f"{name}_encoder", *encoder),
        *_step(f"{name}_text", text, [(n, n) for n, _, _ in _EVENTS]),
        "}",
    ]
    return "\n".join(lines) + "\n" + parameters(values)


def _step(model: str, inputs: Maps, outputs: Maps) -> list[str]:
    return [
        "  step {",
        f'    model_name: "{model}" model_version: -1',
        *(f'    input_map {{ key: "{key}" value: "{value}" }}' for key, value in inputs),
        *(f'    output_map {{ key: "{key}" value: "{value}" }}' for key, value in outputs),
        "  }",
    ]


def python_model(class_name: str, values: Mapping[str, str], delay_us: int = 0) -> str:
    """One of our ends: `features:FbankFeatures`, `transducer:TransducerText` or `ctc:CtcText`."""
    return (
        'backend: "python"\nmax_batch_size: 32\n'
        + _sequences("", delay_us)
        + parameters({"streamgate.python_class": CLASSES + class_name, **values})
    )


def encoder(tensors: Sequence[str], states: Sequence[str], values: Mapping[str, str]) -> str:
    """An ONNX encoder with implicit state; what is not listed is read from its graph."""
    lines = "".join(f"{tensor}\n" for tensor in tensors)
    body = "".join(f"  {state}\n" for state in states)
    return (
        'backend: "onnxruntime"\nmax_batch_size: 32\n'
        + lines
        + _sequences(body, 5000)
        + parameters(values)
    )


def _sequences(states: str, delay_us: int) -> str:
    delay = f" max_queue_delay_microseconds: {delay_us}" if delay_us else ""
    oldest = f"  oldest {{ max_candidate_sequences: 256{delay} }}\n"
    return "sequence_batching {\n" + _IDLE + oldest + states + "}\n"
