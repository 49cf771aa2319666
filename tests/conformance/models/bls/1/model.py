"""Makes the calls of PROGRAM, one after another, and reports what came back or was raised."""

import asyncio
import json

import numpy as np
import triton_python_backend_utils as pb_utils

TYPES = {"INT32": np.int32, "FP32": np.float32, "BYTES": np.object_}


class TritonPythonModel:
    def initialize(self, args):
        self.before = self.attempt({"model": "add_sub"})

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        program = pb_utils.get_input_tensor_by_name(request, "PROGRAM").as_numpy()[0]
        report = [self.attempt(call) for call in json.loads(program)]
        text = np.array([json.dumps(report, sort_keys=True)], dtype=object)
        return pb_utils.InferenceResponse([pb_utils.Tensor("REPORT", text)])

    def attempt(self, call):
        try:
            return getattr(self, call.get("do", "exec"))(call)
        except Exception as error:  # noqa: BLE001 - what was raised is the report
            return f"{type(error).__name__}: {error}"

    def exec(self, call):
        return shown(request_of(call).exec())

    def exec_many(self, call):
        return [shown(response) for response in request_of(call).exec(decoupled=True)]

    def exec_many_twice(self, call):
        responses = request_of(call).exec(decoupled=True)
        first = [shown(response) for response in responses]
        return [first, [shown(response) for response in responses]]

    def async_exec(self, call):
        return shown(asyncio.run(one(call)))

    def async_exec_many(self, call):
        return asyncio.run(many(call))

    def gather(self, call):
        return [shown(response) for response in asyncio.run(all_of(call["calls"]))]

    def in_initialize(self, call):
        return self.before

    def is_model_ready(self, call):
        return pb_utils.is_model_ready(call["model"], call.get("version", ""))

    def load_model(self, call):
        return pb_utils.load_model(call["model"])

    def unload_model(self, call):
        return pb_utils.unload_model(call["model"])


async def one(call):
    return await request_of(call).async_exec()


async def many(call):
    return [shown(response) for response in await request_of(call).async_exec(decoupled=True)]


async def all_of(calls):
    return await asyncio.gather(*(one(call) for call in calls))


def request_of(call):
    inputs = [
        pb_utils.Tensor(name, np.array(values, dtype=TYPES[datatype]).reshape(shape))
        for name, datatype, shape, values in call.get("inputs", [])
    ]
    more = {
        name: call[name]
        for name in ("request_id", "correlation_id", "model_version", "flags", "timeout")
        if name in call
    }
    if "parameters" in call:
        more["parameters"] = call["parameters"]
    return pb_utils.InferenceRequest(
        model_name=call["model"],
        inputs=inputs,
        requested_output_names=call.get("outputs", []),
        **more,
    )


def shown(response):
    if response.has_error():
        return {"error": response.error().message(), "code": int(response.error().code())}
    outputs = {}
    for tensor in response.output_tensors():
        values = tensor.as_numpy()
        elements = [
            element.decode() if isinstance(element, bytes) else element
            for element in values.ravel().tolist()
        ]
        outputs[tensor.name()] = [list(values.shape), elements]
    return outputs
