"""Where speech begins and ends, from probabilities: an end-pointer in front of a recogniser."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

from streamgate.speech.endpoint import GateState, SpeechGate

NONE, BEGAN, ENDED = 0, 1, 2


class TritonPythonModel:
    """PROBABILITIES FP32 [1,n], FLUSH BOOL [1,1] (optional) -> ENDED, SPEECH_EVENT, EVENT_TIME and
    SPEECH_PROBABILITY [1,1], one response for each step.

    The state `gate` FP64 [1,4] holds a `GateState` (speaking, against, frames) and, counted from 1,
    the frame with which speech began that was not told of yet, or 0. One step can tell of one event
    only, and the end of an utterance comes first.
    """

    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]

        def milliseconds(name):
            return int(parameters[name]["string_value"])

        part_ms = milliseconds("part_ms")
        self._part_s = part_ms / 1000
        self._gate = SpeechGate(
            begin_frames=max(1, round(milliseconds("begin_ms") / part_ms)),
            end_frames=max(1, round(milliseconds("end_silence_ms") / part_ms)),
        )

    def execute(self, requests):
        return [self._step(request) for request in requests]

    def _step(self, request):
        probabilities = _values(request, "PROBABILITIES")
        speaking, against, frames, owed = _values(request, "gate")
        state = GateState(bool(speaking), int(against), int(frames))
        state, _, edges = self._gate.feed(state, probabilities)
        ends = [edge.frame for edge in edges if not edge.begins]
        begins = ([int(owed) - 1] if owed else []) + [e.frame for e in edges if e.begins]
        event, frame = (ENDED, ends[-1]) if ends else (BEGAN, begins[-1]) if begins else (NONE, 0)
        owed = begins[-1] + 1 if event == ENDED and state.speaking else 0
        flush = pb_utils.get_input_tensor_by_name(request, "FLUSH")
        flushed = flush is not None and bool(flush.as_numpy().reshape(-1)[0])
        return _response(
            ENDED=np.array([[bool(ends) or flushed]]),
            SPEECH_EVENT=np.array([[event]], np.int32),
            EVENT_TIME=np.array([[frame * self._part_s if event else -1]], np.float32),
            SPEECH_PROBABILITY=np.array([[max(probabilities, default=0)]], np.float32),
            gate_out=np.array([[state.speaking, state.against, state.frames, owed]], np.float64),
        )


def _values(request, name):
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)


def _response(**arrays):
    return pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in arrays.items()])
