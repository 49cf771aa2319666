"""A decoupled model that is a coroutine and streams what another decoupled model answers."""

import asyncio

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    async def execute(self, requests):
        await asyncio.gather(*(self.answer(request) for request in requests))

    async def answer(self, request):
        sender = request.get_response_sender()
        call = pb_utils.InferenceRequest(
            model_name="decoupled_repeat",
            inputs=[pb_utils.get_input_tensor_by_name(request, "PROGRAM")],
            requested_output_names=["OUTPUT"],
        )
        for response in await call.async_exec(decoupled=True):
            if response.has_error():
                sender.send(pb_utils.InferenceResponse(error=response.error()))
            elif response.output_tensors():
                sender.send(pb_utils.InferenceResponse(response.output_tensors()))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
