"""Every way in which a model can fail, by name: see SELECTOR in `execute`.

A name of a TritonError code in small letters returns that error; the others are in `ways`.
"""

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
CODES = (
    "UNKNOWN",
    "INTERNAL",
    "NOT_FOUND",
    "INVALID_ARG",
    "UNAVAILABLE",
    "UNSUPPORTED",
    "ALREADY_EXISTS",
    "CANCELLED",
)


def answer(**tensors):
    return pb_utils.InferenceResponse(
        output_tensors=[pb_utils.Tensor(name, values) for name, values in tensors.items()]
    )


def number(value):
    return np.array([value], dtype=np.int32)


def good():
    return answer(OUTPUT=number(7), SECOND=number(8))


class TritonPythonModel:
    def execute(self, requests):
        selector = pb_utils.get_input_tensor_by_name(requests[0], "SELECTOR").as_numpy()[0]
        name = selector.decode()
        if name.upper() in CODES:
            code = getattr(pb_utils.TritonError, name.upper())
            return [
                pb_utils.InferenceResponse(error=pb_utils.TritonError(f"model says {name}", code))
            ]
        return getattr(self, name)(requests[0])

    def ok(self, request):
        return [good()]

    def default_code(self, request):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("no code given"))]

    def error_with_outputs(self, request):
        tensors = [pb_utils.Tensor("OUTPUT", number(1))]
        return [pb_utils.InferenceResponse(tensors, pb_utils.TritonError("error wins"))]

    def raise_value_error(self, request):
        raise ValueError("asked to raise")

    def raise_model_exception(self, request):
        raise pb_utils.TritonModelException("asked to raise")

    def empty_list(self, request):
        return []

    def two_responses(self, request):
        return [good(), good()]

    def tuple_of_responses(self, request):
        return (good(),)

    def list_of_text(self, request):
        return ["text"]

    def wrong_datatype(self, request):
        return [answer(OUTPUT=np.array([1.5], dtype=np.float32), SECOND=number(8))]

    def wrong_shape(self, request):
        return [answer(OUTPUT=np.arange(6, dtype=np.int32).reshape(2, 3), SECOND=number(8))]

    def unknown_output(self, request):
        return [answer(NOBODY=number(1))]

    def extra_output(self, request):
        return [answer(NOBODY=number(1), OUTPUT=number(7), SECOND=number(8))]

    def missing_output(self, request):
        return [answer(SECOND=number(8))]

    def reversed_outputs(self, request):
        return [answer(SECOND=number(8), OUTPUT=number(7))]

    def no_outputs(self, request):
        return [answer()]

    def sender(self, request):
        request.get_response_sender().send(good(), flags=FINAL)
        return [None]

    def sender_final_apart(self, request):
        sender = request.get_response_sender()
        sender.send(good())
        sender.send(flags=FINAL)
        return [None]

    def sender_error(self, request):
        error = pb_utils.TritonError("sent as an error", pb_utils.TritonError.NOT_FOUND)
        request.get_response_sender().send(pb_utils.InferenceResponse(error=error), flags=FINAL)
        return [None]

    def sender_final_only(self, request):
        request.get_response_sender().send(flags=FINAL)
        return [None]

    def sender_bad_flags(self, request):
        request.get_response_sender().send(good(), flags=4)
        return [None]

    def sender_nothing(self, request):
        request.get_response_sender().send(flags=0)
        return [None]

    def sender_after_final(self, request):
        sender = request.get_response_sender()
        sender.send(good(), flags=FINAL)
        sender.send(good())
        return [None]

    def unnamed_tensor(self, request):
        return [answer(**{"": number(1)})]

    def tensor_from_list(self, request):
        return [answer(OUTPUT=[1])]

    def error_from_text(self, request):
        return [pb_utils.InferenceResponse(error="text")]

    def none_in_outputs(self, request):
        return [pb_utils.InferenceResponse(output_tensors=[None])]
