"""SEEN is each control tensor as it came: name, type, shape and values."""

import numpy as np
import triton_python_backend_utils as pb_utils

NAMES = ("START", "END", "READY", "CORRID")


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        lead = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy().shape[:-1]
        found = [(name, pb_utils.get_input_tensor_by_name(request, name)) for name in NAMES]
        shown = " ".join(
            f"{name} {tensor.as_numpy().dtype} {tensor.as_numpy().tolist()}"
            for name, tensor in found
            if tensor is not None
        )
        text = np.full((*lead, 1), shown, dtype=object)
        return pb_utils.InferenceResponse([pb_utils.Tensor("SEEN", text)])
