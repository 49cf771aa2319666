"""Counts down, one response for each number: the smallest decoupled model."""

import numpy as np
import triton_python_backend_utils as pb_utils

_COUNT_MAX = 10_000


class TritonPythonModel:
    """COUNT INT32 [1] -> COUNT responses with REMAINING INT32 [1]: COUNT, ..., 2, 1."""

    def execute(self, requests):
        for request in requests:
            self._answer(request)

    def _answer(self, request):
        sender = request.get_response_sender()
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        count = int(pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()[0])
        if not 0 <= count <= _COUNT_MAX:
            text = f"COUNT is {count}, expected 0 to {_COUNT_MAX}"
            error = pb_utils.TritonError(text, pb_utils.TritonError.INVALID_ARG)
            sender.send(pb_utils.InferenceResponse(error=error), flags=final)
            return
        for remaining in range(count, 0, -1):
            if sender.is_cancelled():
                break
            tensor = pb_utils.Tensor("REMAINING", np.array([remaining], dtype=np.int32))
            sender.send(pb_utils.InferenceResponse([tensor]))
        sender.send(flags=final)
