"""OUTPUT0 is INPUT0 + INPUT1 and OUTPUT1 is INPUT0 - INPUT1, always both and in this order."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            left = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            right = pb_utils.get_input_tensor_by_name(request, "INPUT1").as_numpy()
            responses.append(
                pb_utils.InferenceResponse(
                    output_tensors=[
                        pb_utils.Tensor("OUTPUT0", left + right),
                        pb_utils.Tensor("OUTPUT1", left - right),
                    ]
                )
            )
        return responses
