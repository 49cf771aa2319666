"""See config.pbtxt."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class Mind:
    def __init__(self):
        self.source = ""
        self.said = 0


class TritonPythonModel:
    def initialize(self, args):
        self.minds = {}

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for stable, tail, final in self.step(request):
                sender.send(
                    pb_utils.InferenceResponse(
                        [
                            text("STABLE", stable),
                            text("TAIL", tail),
                            pb_utils.Tensor("FINAL", np.array([[final]])),
                        ]
                    )
                )
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def on_sequence_end(self, correlation_id, reason):
        self.minds.pop(name_of(correlation_id), None)

    def get_state(self, correlation_id):
        return json.dumps(vars(self.minds[name_of(correlation_id)])).encode()

    def set_state(self, correlation_id, state):
        mind = self.minds[name_of(correlation_id)] = Mind()
        vars(mind).update(json.loads(state))

    def step(self, request):
        def value(name, default):
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            return default if tensor is None else tensor.as_numpy().ravel()[0]

        key = value("CORRID", b"")
        if value("START", 0):
            self.minds[key] = Mind()
        mind = self.minds[key]
        target = value("TARGET_LANGUAGE", b"de").decode()
        ends = bool(value("FLUSH", False)) or bool(value("END", 0))
        mind.source += value("TEXT", b"").decode()
        words = mind.source.split()
        sure = words if ends else words[:-1]
        rest = words[len(sure) :] + value("TEXT_TAIL", b"").decode().split()
        for place in range(mind.said, len(sure)):
            yield foreign(sure[place], place, target), "", False
        mind.said = len(sure)
        if rest and not ends:
            tail = "".join(foreign(each, mind.said + at, target) for at, each in enumerate(rest))
            yield "", tail, False
        if ends:
            if words:
                yield "", "", True
            mind.source, mind.said = "", 0


def name_of(correlation_id):
    """As the control CORRID has it."""
    return str(correlation_id).encode()


def foreign(word, place, target):
    word = word[::-1].upper() if target == "fr" else word[::-1]
    return (" " if place else "") + word


def text(name, words):
    return pb_utils.Tensor(name, np.array([[words.encode()]], dtype=np.object_))
