"""PASSES is how often the request came, FLAGS the flags of each time."""

import numpy as np
import triton_python_backend_utils as pb_utils

START = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
RESCHEDULE = pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE


class TritonPythonModel:
    def initialize(self, args):
        self.flags = {}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        key, flags = request.correlation_id(), request.flags()
        seen = [] if flags & START else self.flags[key]
        seen.append(flags)
        self.flags[key] = seen
        wanted = int(pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy().flat[0])
        if len(seen) < wanted:
            request.set_release_flags(RESCHEDULE)
            return None
        del self.flags[key]
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("PASSES", np.array([[len(seen)]], np.int32)),
                pb_utils.Tensor("FLAGS", np.array([[str(seen)]], dtype=object)),
            ]
        )
