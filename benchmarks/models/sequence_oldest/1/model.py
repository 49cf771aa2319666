"""OUTPUT0 is the sum of INPUT0 over the steps of a sequence so far."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        def value(name):
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

        total = value("INPUT0")
        if value("READY").flat[0]:
            key = int(value("CORRID").flat[0])
            if not value("START").flat[0]:
                total = self.sums[key] + total
            self.sums[key] = total
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUTPUT0", total)])
