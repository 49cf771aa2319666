"""A device in place of a model: a step of b rows keeps it for fixed + per_row·b milliseconds, which
are read before each step from the file that the parameter `knob` names, so that they can change.
Models with one `device`, a file, have one device together: it does one step at a time, in the order
in which they come."""

import contextlib
import fcntl
import json
import time
from pathlib import Path

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.knob = Path(parameters["knob"]["string_value"])
        self.device = None
        if "device" in parameters:
            self.device = Path(parameters["device"]["string_value"]).open("w")  # noqa: SIM115 - for the life of the model

    def execute(self, requests):
        fixed_ms, per_row_ms = map(float, self.knob.read_text().split())
        with self.alone():
            time.sleep((fixed_ms + per_row_ms * len(requests)) / 1000)
        return [self.answer(request) for request in requests]

    @contextlib.contextmanager
    def alone(self):
        if self.device is None:
            yield
            return
        fcntl.flock(self.device, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.device, fcntl.LOCK_UN)

    def answer(self, request):
        value = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", value)])

    def finalize(self):
        if self.device is not None:
            self.device.close()
