"""What a model's outputs say, and what breaks the contract."""

import numpy as np
import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.speech.tensors import text_event
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Array, Tensor


def response(**changes: Array) -> Response:
    def text(word: str) -> Array:
        return np.array([[word.encode()]], dtype=np.object_)

    outputs = {
        "STABLE": text("oak"),
        "TAIL": text(""),
        "FINAL": np.array([[True]]),
        "AUDIO_PROCESSED": np.array([[1.5]]),
        "WORDS": text("oak"),
        "WORD_TIMES": np.array([[[0.5, 1.0]]], np.float32),
        "WORD_CONFIDENCES": np.array([[0.9]], np.float32),
        **changes,
    }
    kinds = {"O": DataType.BYTES, "b": DataType.BOOL, "f": DataType.FP32}
    tensors = [Tensor.of(name, array, kinds[array.dtype.kind]) for name, array in outputs.items()]
    return Response(Request("m"), "m", "1", tensors)


def test_an_event_is_read() -> None:
    event = text_event(response(), 3, 2.0)
    assert (event.stable, event.tail, event.final, event.audio_seconds) == ("oak", "", True, 1.5)
    (word,) = event.words
    assert (word.text, word.start_seconds, word.end_seconds) == ("oak", 0.5, 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUDIO_PROCESSED", [[np.nan]]),
        ("WORD_TIMES", [[[0.5, np.inf]]]),
        ("WORD_CONFIDENCES", [[np.nan]]),
    ],
)
def test_numbers_that_are_none_are_the_models_fault(name: str, value: list[object]) -> None:
    with pytest.raises(StreamGateError, match=name) as raised:
        text_event(response(**{name: np.array(value, np.float32)}), 0, 1.0)
    assert raised.value.code is Code.INTERNAL


def test_times_that_do_not_fit_the_words_are_told() -> None:
    times = np.zeros((1, 2, 2), np.float32)
    with pytest.raises(StreamGateError, match="1 WORDS, 4 WORD_TIMES"):
        text_event(response(WORD_TIMES=times), 0, 1.0)
