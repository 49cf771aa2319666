"""INPUT is (value, milliseconds): takes that long, then JOURNAL tells what has run so far.

The journal is of the form "correlation id:value", in the order of execution; a value of 0 begins
it anew.
"""

import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.entries = []

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        program = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
        value, milliseconds = (int(entry) for entry in program.flat)
        time.sleep(milliseconds / 1000)
        if value == 0:
            self.entries = []
        self.entries.append(f"{request.correlation_id()}:{value}")
        text = np.full((*program.shape[:-1], 1), " ".join(self.entries), dtype=object)
        return pb_utils.InferenceResponse([pb_utils.Tensor("JOURNAL", text)])
