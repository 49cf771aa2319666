"""The speech contract on tensors: a step's inputs, and what its outputs say.

`docs/speech-models.md` describes it for those who write models.
"""

from collections.abc import Callable

import numpy as np

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.speech.events import SpeechChange, TextEvent, Word
from streamgate.frontends.speech.models import SpeechModel, TranslationModel
from streamgate.frontends.speech.timeline import Timeline
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import Response
from streamgate.model.tensor import Array, Tensor

Outputs = dict[str, Tensor]


def audio_inputs(model: SpeechModel, samples: Array, *, flush: bool) -> list[Tensor]:
    """A step's inputs: `AUDIO` FP32 `[n]`, and `FLUSH` BOOL `[1]` for a model that has it, each
    with a batch dimension of 1 in front for a model that batches."""
    inputs = [_one("AUDIO", DataType.FP32, samples, model.config)]
    if model.takes_flush:
        inputs.append(_one("FLUSH", DataType.BOOL, np.array([flush]), model.config))
    return inputs


def translation_inputs(
    model: TranslationModel, stable: str, tail: str, target: str, *, flush: bool
) -> list[Tensor]:
    """A step's inputs: `TEXT` BYTES `[1]`, and those of `TEXT_TAIL`, `TARGET_LANGUAGE` (BYTES) and
    `FLUSH` (BOOL) that the model has."""
    inputs = [_text("TEXT", stable, model.config)]
    if model.takes_tail:
        inputs.append(_text("TEXT_TAIL", tail, model.config))
    if model.takes_flush:
        inputs.append(_one("FLUSH", DataType.BOOL, np.array([flush]), model.config))
    if model.takes_target:
        inputs.append(_text("TARGET_LANGUAGE", target, model.config))
    return inputs


def text_event(
    response: Response, position: int, end_seconds: float, timeline: Timeline | None = None
) -> TextEvent:
    """What a response's outputs say, in the client's times. `end_seconds` is where the step's audio
    ends, in the model's time, for models that don't say how much they have processed.

    Raises StreamGateError (INTERNAL) for outputs that don't keep the contract.
    """
    outputs = {tensor.name: tensor for tensor in response.outputs}

    def client(seconds: float) -> float:
        return timeline.client_seconds(seconds) if timeline is not None else seconds

    probabilities = _values(outputs, "SPEECH_PROBABILITY")
    final = _values(outputs, "FINAL")
    return TextEvent(
        _string(response, outputs, "STABLE"),
        _string(response, outputs, "TAIL"),
        bool(final[0]) if final is not None and final.size else False,
        client(_number(outputs, "AUDIO_PROCESSED", end_seconds)),
        [
            Word(word.text, client(word.start_seconds), client(word.end_seconds), word.confidence)
            for word in _words(response, outputs)
        ],
        _speech_change(outputs, client, end_seconds),
        float(probabilities.max()) if probabilities is not None and probabilities.size else None,
        position,
        response.index,
    )


def _words(response: Response, outputs: Outputs) -> list[Word]:
    if "WORDS" not in outputs or not outputs["WORDS"].count:
        return []
    texts = outputs["WORDS"].array.reshape(-1)
    count = texts.size
    times = _values(outputs, "WORD_TIMES")
    if times is None:
        times = np.zeros(0)
    confidences = _values(outputs, "WORD_CONFIDENCES")
    if confidences is None:
        confidences = np.ones(count)
    if times.size != 2 * count or confidences.size != count:
        raise StreamGateError(
            Code.INTERNAL,
            f"model '{response.model}' gave {count} WORDS, {times.size} WORD_TIMES and "
            f"{confidences.size} WORD_CONFIDENCES, expected twice as many times as words and as "
            "many confidences",
        )
    return [
        Word(_decoded(text), float(start), float(end), float(confidence))
        for text, (start, end), confidence in zip(
            texts, times.reshape(-1, 2), confidences, strict=True
        )
    ]


def _speech_change(
    outputs: Outputs, client: Callable[[float], float], end_seconds: float
) -> SpeechChange | None:
    kind = int(_number(outputs, "SPEECH_EVENT", 0))
    if kind not in (1, 2):
        return None
    return SpeechChange(kind == 1, client(_number(outputs, "EVENT_TIME", end_seconds)))


def _values(outputs: Outputs, name: str) -> Array | None:
    """All elements of an output, if the model gave it.

    Raises StreamGateError (INTERNAL) for numbers that are none: no dialect could write them.
    """
    tensor = outputs.get(name)
    if tensor is None:
        return None
    array = tensor.array.reshape(-1)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise StreamGateError(Code.INTERNAL, f"the model gave a {name} that is no finite number")
    return array


def _number(outputs: Outputs, name: str, default: float) -> float:
    array = _values(outputs, name)
    return float(array[0]) if array is not None and array.size else default


def _string(response: Response, outputs: Outputs, name: str) -> str:
    array = _values(outputs, name)
    if array is None or array.size != 1:
        found = "none" if array is None else str(array.size)
        raise StreamGateError(
            Code.INTERNAL,
            f"model '{response.model}' gave {found} elements of {name}, expected one string",
        )
    return _decoded(array[0])


def _decoded(text: bytes | str) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else text


def _one(name: str, datatype: DataType, array: Array, config: ModelConfig) -> Tensor:
    return Tensor.of(name, array[None] if config.batches else array, datatype)


def _text(name: str, text: str, config: ModelConfig) -> Tensor:
    return _one(name, DataType.BYTES, np.array([text.encode()], dtype=np.object_), config)
