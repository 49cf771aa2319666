"""Running sum per correlation ID, driven by request.flags() and request.correlation_id().

An INPUT of -1000 raises instead, so that a failing step in mid-sequence can be observed; one of
-2000 - N adds nothing but takes N milliseconds.
"""

import time

import numpy as np
import triton_python_backend_utils as pb_utils

START = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
END = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        flags = request.flags()
        key = request.correlation_id()
        value = int(pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()[0])
        if value == -1000:
            raise ValueError("asked to fail")
        if value <= -2000:
            time.sleep((-2000 - value) / 1000)
            value = 0
        total = value if flags & START else self.sums[key] + value
        self.sums[key] = total
        if flags & END:
            del self.sums[key]
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("OUTPUT", np.array([total], dtype=np.int32)),
                pb_utils.Tensor("FLAGS", np.array([flags], dtype=np.int32)),
                pb_utils.Tensor("CORRELATION", np.array([repr(key)], dtype=object)),
            ]
        )
