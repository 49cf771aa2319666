"""Running sum per correlation ID, driven by the control tensors alone.

OUTPUT is the sum, CONTROLS is (START, END, READY) as seen, PLACE is (row, rows of the batch).
Rows that are not READY are padding: they get a response too, which nobody reads.
"""

import numpy as np
import triton_python_backend_utils as pb_utils


def scalar(request, name):
    return int(pb_utils.get_input_tensor_by_name(request, name).as_numpy().flat[0])


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self.answer(row, len(requests), request) for row, request in enumerate(requests)]

    def answer(self, row, rows, request):
        start, end, ready = (scalar(request, name) for name in ("START", "END", "READY"))
        total = 0
        if ready:
            correlation_id = scalar(request, "CORRID")
            total = 0 if start else self.sums[correlation_id]
            total += scalar(request, "INPUT")
            self.sums[correlation_id] = total
            if end:
                del self.sums[correlation_id]
        values = {"OUTPUT": [total], "CONTROLS": [start, end, ready], "PLACE": [row, rows]}
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor(name, np.array([value], dtype=np.int32))
                for name, value in values.items()
            ]
        )
