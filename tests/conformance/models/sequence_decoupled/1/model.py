"""Answers a step with INPUT responses of (step of the sequence, index, flags), then FINAL."""

import numpy as np
import triton_python_backend_utils as pb_utils

START = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def initialize(self, args):
        self.steps = {}

    def execute(self, requests):
        for request in requests:
            key, flags = request.correlation_id(), request.flags()
            step = 0 if flags & START else self.steps[key] + 1
            self.steps[key] = step
            count = int(pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()[0])
            sender = request.get_response_sender()
            for index in range(count):
                values = np.array([step, index, flags], dtype=np.int32)
                sender.send(
                    pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUTPUT", values)])
                )
            sender.send(flags=FINAL)
