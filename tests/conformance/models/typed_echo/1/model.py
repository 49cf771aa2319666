"""Gives each IN_<type> that is present back as OUT_<type>, sorted by name."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                output_tensors=[
                    pb_utils.Tensor(tensor.name().replace("IN_", "OUT_"), tensor.as_numpy())
                    for tensor in sorted(request.inputs(), key=lambda tensor: tensor.name())
                ]
            )
            for request in requests
        ]
