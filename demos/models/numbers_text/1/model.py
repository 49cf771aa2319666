"""The second half of the demo model `numbers`: the recogniser's tokens as text events."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import triton_python_backend_utils as pb_utils

from streamgate.speech.endpoint import Endpointer, EndpointRule, EndpointState
from streamgate.speech.text import spaced

from .reading import BLANK, FRAME_SECONDS, Reader, Reading

_READING = len(Reading().row())
BEFORE = "word"
"""Stands for the words that an utterance has already: they are not kept, and all end in letters."""


class TritonPythonModel:
    """TOKENS INT32 [1,4], CONFIDENCES FP32 [1,4], FLUSH BOOL [1,1] (optional) -> text events.

    The outputs are those of a speech model, one event for each step. All that is remembered of a
    stream is the state `state` FP64 [1,10]: a Reading, then the frames of the utterance, how many
    of them at its end are silent, and its number of stable words.
    """

    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        seconds = float(parameters["end_silence_ms"]["string_value"]) / 1000
        words = Path(args["model_repository"], "words.txt").read_text(encoding="utf-8").split()
        self._reader = Reader(("", *words))
        rule = EndpointRule(needs_speech=True, trailing_silence_s=seconds)
        self._endpointer = Endpointer(FRAME_SECONDS, (rule,))

    def execute(self, requests):
        return _responses([self._step(request) for request in requests])

    def _step(self, request):
        row = _values(request, "state").tolist()
        reading = Reading(*row[:_READING])
        frames, silent, count = map(int, row[_READING:])
        tokens = _values(request, "TOKENS").tolist()
        words = []
        for token, confidence in zip(tokens, _values(request, "CONFIDENCES").tolist(), strict=True):
            words += self._reader.read(reading, token, confidence)
            frames += 1
            silent = silent + 1 if token == BLANK else 0
        forced = _is_set(request, "END") or _is_set(request, "FLUSH")
        if forced:
            words += self._reader.finish(reading)
        has_words = count + len(words) > 0
        # Asked once a step, so that an event has one utterance's words only.
        final = has_words and (
            forced or self._endpointer.ended(EndpointState(frames, silent, has_words)) is not None
        )
        held = [self._reader.tail(reading)] if reading.held != BLANK else []
        texts = [word.text for word in words]
        stable = spaced(texts, after=BEFORE if count else "")
        tail = spaced(held, after=BEFORE if has_words else "")
        count += len(words)
        counters = (0, 0, 0) if final else (frames, silent, count)
        seconds = reading.frames * FRAME_SECONDS
        return _Event(stable, tail, final, seconds, words, (*reading.row(), *counters))


def _values(request, name):
    """The values of one row of the input `name`."""
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)


def _is_set(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return tensor is not None and bool(tensor.as_numpy().reshape(-1)[0])


class _Event(NamedTuple):
    """What came of one request: an event, and the state behind it."""

    stable: str
    tail: str
    final: bool
    seconds: float
    words: list
    state: tuple


def _responses(events):
    """A response for each event. What all have in one shape is made for all at once."""
    columns = {
        "STABLE": _texts([event.stable for event in events]).reshape(-1, 1),
        "TAIL": _texts([event.tail for event in events]).reshape(-1, 1),
        "FINAL": np.array([[event.final] for event in events], dtype=bool),
        "AUDIO_PROCESSED": np.array([[event.seconds] for event in events], dtype=np.float64),
        "state_out": np.array([event.state for event in events], dtype=np.float64),
    }
    responses = []
    for at, event in enumerate(events):
        outputs = [pb_utils.Tensor(name, all_[at : at + 1]) for name, all_ in columns.items()]
        about = _about(event.words) if event.words else _NO_WORDS
        outputs += [pb_utils.Tensor(name, each) for name, each in about.items()]
        responses.append(pb_utils.InferenceResponse(outputs))
    return responses


def _about(words):
    times = [(word.start, word.end) for word in words]
    return {
        "WORDS": _texts([word.text for word in words]),
        "WORD_TIMES": np.array(times, dtype=np.float32).reshape(1, -1, 2),
        "WORD_CONFIDENCES": np.array([[word.confidence for word in words]], dtype=np.float32),
    }


def _texts(values):
    """BYTES [1, n]."""
    return np.array([value.encode() for value in values], dtype=object).reshape(1, -1)


# Most steps have no words.
_NO_WORDS = _about([])
