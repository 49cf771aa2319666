"""A model that computes: for each row it multiplies matrices, as often as the parameter `count`
says, without the interpreter's lock."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

SIZE = 384


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.matrix = np.full((SIZE, SIZE), 1 / SIZE, np.float32)
        self.count = int(config["parameters"]["count"]["string_value"])

    def execute(self, requests):
        product = self.matrix
        for _ in range(self.count * len(requests)):
            product = product @ self.matrix
        return [self.answer(request) for request in requests]

    def answer(self, request):
        value = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", value)])
