"""The translator of numbers in Triton's Python model API: one sentence for each sequence."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils
from translator import TextError, Translator, Turn

_TEXT_CHARACTERS_MAX = 4096
_START = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
_END = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END


class TritonPythonModel:
    """TEXT (and TEXT_TAIL, FLUSH, TARGET_LANGUAGE) [1,1] -> STABLE, TAIL, FINAL [1,1], decoupled.

    A step is answered with one response if it changed anything, else with none. An input that is
    not understood is an error of that request (INVALID_ARG); the sequence goes on without it.
    """

    def initialize(self, args):
        self._translator = Translator(pb_utils.get_model_dir())
        parameters = json.loads(args["model_config"])["parameters"]
        offered = parameters["streamgate.speech.target_languages"]["string_value"].split(",")
        self._default_language = offered[0]
        self._sentences = {}

    def execute(self, requests):
        turns = []
        for request in requests:
            try:
                turns.append((request, self._turn(request)))
            except TextError as error:
                _refuse(request, str(error))
                self._forget_after_end(request)
        events = self._translator.advance([turn for _, turn in turns])
        for (request, _), event in zip(turns, events, strict=True):
            _answer(request, event)
            self._forget_after_end(request)

    def on_sequence_end(self, correlation_id, reason):
        self._sentences.pop(correlation_id, None)

    def get_state(self, correlation_id):
        return self._sentences[correlation_id].to_bytes()

    def set_state(self, correlation_id, state):
        self._sentences[correlation_id] = self._translator.restored(state)

    def _turn(self, request):
        """Raises TextError; the sequence's sentence is as it was then, or new."""
        key, flags = request.correlation_id(), request.flags()
        if flags & _START or key not in self._sentences:
            self._sentences[key] = self._translator.sentence(self._default_language)
        language = _text(request, "TARGET_LANGUAGE")
        turn = Turn(
            self._sentences[key],
            text=_text(request, "TEXT"),
            tail=_text(request, "TEXT_TAIL"),
            flush=_is_set(request, "FLUSH") or bool(flags & _END),
            asked_for=_is_set(request, "FLUSH"),
        )
        self._translator.check(turn)
        if language:
            turn.sentence.next_language = self._translator.language(language)
        return turn

    def _forget_after_end(self, request):
        if request.flags() & _END:
            self._sentences.pop(request.correlation_id(), None)


def _text(request, name):
    """The one string of an input, "" without it. Raises TextError for what is no UTF-8."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return ""
    raw = tensor.as_numpy().reshape(-1)[0]
    try:
        text = raw.decode() if isinstance(raw, bytes) else str(raw)
    except UnicodeDecodeError as error:
        raise TextError(f"{name} is not UTF-8 ({error.reason} at byte {error.start})") from None
    if len(text) > _TEXT_CHARACTERS_MAX:
        raise TextError(
            f"{name} has {len(text)} characters, expected at most {_TEXT_CHARACTERS_MAX}: "
            "send long texts in several steps"
        )
    return text


def _is_set(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return tensor is not None and bool(tensor.as_numpy().reshape(-1)[0])


def _answer(request, event):
    sender = request.get_response_sender()
    if event is not None:
        tensors = [
            pb_utils.Tensor("STABLE", np.array([[event.stable.encode()]], dtype=object)),
            pb_utils.Tensor("TAIL", np.array([[event.tail.encode()]], dtype=object)),
            pb_utils.Tensor("FINAL", np.array([[event.final]])),
        ]
        sender.send(pb_utils.InferenceResponse(tensors))
    sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _refuse(request, text):
    error = pb_utils.TritonError(text, pb_utils.TritonError.INVALID_ARG)
    request.get_response_sender().send(
        pb_utils.InferenceResponse(error=error),
        flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL,
    )
