"""A device in place of a model: a step of b rows keeps it for fixed + per_row·b milliseconds, which
are read before each step from the file that the parameter `knob` names, so that they can change."""

import json
import time
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.knob = Path(config["parameters"]["knob"]["string_value"])

    def execute(self, requests):
        fixed_ms, per_row_ms = map(float, self.knob.read_text().split())
        time.sleep((fixed_ms + per_row_ms * len(requests)) / 1000)
        return [self.answer(request) for request in requests]

    def answer(self, request):
        value = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", value)])
