"""Running sum of each sequence, kept by the model itself in Triton's Python model API.

Under the direct strategy a request's place in the batch is its sequence's slot, so one list of
sums is all the state there is. Places without a step arrive with READY 0. `get_state` and
`set_state`, which name a sequence and not its slot, let it be moved.
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """INPUT INT32 [1,1] -> OUTPUT INT32 [1,1], the sum since START, once for each request."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self._sums = np.zeros(config["max_batch_size"], dtype=np.int32)
        self._keys = [None] * config["max_batch_size"]
        self._arrived = {}  # sums that came from elsewhere, until their first step here

    def execute(self, requests):
        return [self._step(slot, request) for slot, request in enumerate(requests)]

    def on_sequence_end(self, correlation_id, reason):
        self._arrived.pop(correlation_id, None)

    def get_state(self, correlation_id):
        value = self._arrived.get(correlation_id)
        if value is None:
            value = self._sums[self._keys.index(correlation_id)]
        return json.dumps({"sum": int(value)}).encode()

    def set_state(self, correlation_id, state):
        self._arrived[correlation_id] = np.int32(json.loads(state)["sum"])

    def _step(self, slot, request):
        if _value(request, "READY"):
            key = self._keys[slot] = request.correlation_id()
            arrived = self._arrived.pop(key, None)
            if _value(request, "START"):
                self._sums[slot] = 0
            elif arrived is not None:
                self._sums[slot] = arrived
            self._sums[slot] += _value(request, "INPUT")
        output = np.full((1, 1), self._sums[slot], dtype=np.int32)
        if _value(request, "END"):
            self._sums[slot] = 0
            self._keys[slot] = None
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", output)])


def _value(request, name):
    """The single element of the input `name`."""
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy().reshape(-1)[0]
