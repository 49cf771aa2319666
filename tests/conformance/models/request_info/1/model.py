"""INFO is a JSON object of what the Python API tells about the request; EXTRA is INPUT."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        values = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
        parameters = request.parameters()
        info = {
            "request_id": request.request_id(),
            "correlation_id": request.correlation_id(),
            "flags": request.flags(),
            "timeout": request.timeout(),
            "parameters": json.loads(parameters) if parameters else {},
            "requested_output_names": sorted(request.requested_output_names()),
            "inputs": [tensor.name() for tensor in request.inputs()],
            "cancelled": request.is_cancelled(),
        }
        text = np.array([json.dumps(info, sort_keys=True)], dtype=object)
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor("INFO", text), pb_utils.Tensor("EXTRA", values)]
        )
