"""Sends as many responses as PROGRAM says, through the response sender."""

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            program = pb_utils.get_input_tensor_by_name(request, "PROGRAM").as_numpy()
            count, error_index, final_with_last, raises = (int(entry) for entry in program)
            if raises:
                raise ValueError("asked to raise")
            sender = request.get_response_sender()
            for index in range(count):
                last = index == count - 1
                sender.send(
                    self.response(index, index == error_index),
                    flags=FINAL if last and final_with_last else 0,
                )
            if count == 0 or not final_with_last:
                sender.send(flags=FINAL)

    def response(self, index, fails):
        if fails:
            error = pb_utils.TritonError(f"boom {index}", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        values = np.array([index], dtype=np.int32)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUTPUT", values)])
