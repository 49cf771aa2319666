"""OUTPUT is INPUT plus the number of this version."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.version = int(args["model_version"])

    def execute(self, requests):
        responses = []
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
            output = pb_utils.Tensor("OUTPUT", values + values.dtype.type(self.version))
            responses.append(pb_utils.InferenceResponse(output_tensors=[output]))
        return responses
