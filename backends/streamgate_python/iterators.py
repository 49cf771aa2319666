"""The answers to a model's calls as the model sees them: one response, or an iterator of many."""

from typing import final

from streamgate.errors import Code
from streamgate.model.request import Response
from streamgate_python.calls import Call
from streamgate_python.errors import TritonError
from streamgate_python.responses import InferenceResponse
from streamgate_python.tensors import InputTensor


def only_response(call: Call) -> InferenceResponse:
    """The one response of a call of a model that is not decoupled. Blocks."""
    try:
        return _received(call, call.take())
    finally:
        call.cancel()


async def only_response_async(call: Call) -> InferenceResponse:
    """As `only_response`, while the event loop goes on. Cancelled with its task."""
    try:
        return _received(call, await call.take_async())
    finally:
        call.cancel()


@final
class ResponseIterator:
    """The responses of a call, as they come, errors among them. For one thread or task at a time.

    The last is empty when the model sent its final flag alone. An iterator that is dropped before
    its end cancels the call.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __iter__(self) -> "ResponseIterator":
        return self

    def __next__(self) -> InferenceResponse:
        response = self._call.take()
        if response is None:
            raise StopIteration
        return _received(self._call, response)

    def __aiter__(self) -> "ResponseIterator":
        return self

    async def __anext__(self) -> InferenceResponse:
        response = await self._call.take_async()
        if response is None:
            raise StopAsyncIteration
        return _received(self._call, response)

    def cancel(self) -> None:
        """The rest is not wanted: the next response may be the last, an error of code CANCELLED."""
        self._call.cancel()

    def __del__(self) -> None:
        self._call.cancel()


def _received(call: Call, response: Response | None) -> InferenceResponse:
    assert response is not None, "a call without a response"
    failure = response.failure
    error = None
    if failure is not None and response.admitted:
        # The model's own code is lost here, as in Triton.
        error = TritonError(failure.message)
    elif failure is not None:
        cancelled = failure.code is Code.CANCELLED
        error = TritonError(
            f"Model {call.model_name} - Error when running inference: {failure.message}",
            TritonError.CANCELLED if cancelled else TritonError.INTERNAL,
        )
    made = InferenceResponse([InputTensor(tensor) for tensor in response.outputs], error)
    # Its own check refuses floats, which another kind of model may well have sent.
    made._parameters = dict(response.parameters)
    return made
