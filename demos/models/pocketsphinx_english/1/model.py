"""Pocketsphinx in Triton's Python model API: a decoder for each sequence, used again for others."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils
from recogniser import AudioError, Decoders, Recogniser

_START = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
_END = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END


class TritonPythonModel:
    """AUDIO (and FLUSH, SPEECH_PROBABILITIES) -> text events, decoupled: as many as there are.

    There are no hooks for moving a sequence: what a decoder knows can't be read.
    """

    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self._end_silence_s = int(parameters["end_silence_ms"]["string_value"]) / 1000
        self._decoders = Decoders()
        self._recognisers = {}

    def execute(self, requests):
        for request in requests:
            self._step(request)

    def on_sequence_end(self, correlation_id, reason):
        recogniser = self._recognisers.pop(correlation_id, None)
        if recogniser is not None:
            recogniser.close()
            self._decoders.take_back(recogniser.decoder)

    def _step(self, request):
        key = request.correlation_id()
        if request.flags() & _START or key not in self._recognisers:
            self.on_sequence_end(key, "superseded")
            self._recognisers[key] = Recogniser(self._decoders.lend(), self._end_silence_s)
        ends = bool(request.flags() & _END)
        probabilities = _array(request, "SPEECH_PROBABILITIES")
        flush = _array(request, "FLUSH")
        sender = request.get_response_sender()
        try:
            events = self._recognisers[key].hear(
                _array(request, "AUDIO"),
                probabilities,
                flush=ends or (flush is not None and bool(flush[0])),
            )
        except AudioError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            sender.send(pb_utils.InferenceResponse(error=refusal))
        else:
            for event in events:
                sender.send(pb_utils.InferenceResponse(_tensors(event)))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        if ends:
            self.on_sequence_end(key, "client_end")


def _array(request, name):
    """All values of an input, None without it."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy().reshape(-1)


def _tensors(event):
    words = event.words
    texts = [word.text.encode() for word in words]
    times = [[word.start, word.end] for word in words]
    return [
        pb_utils.Tensor("STABLE", np.array([event.stable.encode()], dtype=object)),
        pb_utils.Tensor("TAIL", np.array([event.tail.encode()], dtype=object)),
        pb_utils.Tensor("FINAL", np.array([event.final])),
        pb_utils.Tensor("AUDIO_PROCESSED", np.array([event.processed_s])),
        pb_utils.Tensor("WORDS", np.array(texts, dtype=object)),
        pb_utils.Tensor("WORD_TIMES", np.array(times, np.float32).reshape(-1, 2)),
        pb_utils.Tensor("WORD_CONFIDENCES", np.array([w.confidence for w in words], np.float32)),
        pb_utils.Tensor("SPEECH_EVENT", np.array([event.speech], np.int32)),
        pb_utils.Tensor("EVENT_TIME", np.array([event.speech_at_s], np.float32)),
        pb_utils.Tensor("SPEECH_PROBABILITY", np.array([event.probability], np.float32)),
    ]
