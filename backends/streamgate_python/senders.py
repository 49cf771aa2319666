"""`InferenceResponseSender`: one request's way back, for models that answer by themselves.

A sender may be used from any thread and outlives `execute`. A model that is not decoupled has one
response: it is held until the final flag, because only then is it complete.
"""

from collections.abc import Collection
from typing import final

from streamgate.backend.contract import ModelRequest
from streamgate.model.tensor import Tensor as ModelTensor
from streamgate_python.answers import Answers
from streamgate_python.errors import TritonModelException
from streamgate_python.kept_states import KeptStates
from streamgate_python.responses import InferenceResponse

RESPONSE_COMPLETE_FINAL = 1


@final
class InferenceResponseSender:
    """Sends the responses of one request. Made by `InferenceRequest.get_response_sender()`."""

    __slots__ = ("_answers", "_closed", "_held", "_kept", "_sent", "_source", "_wanted")

    def __init__(
        self,
        source: ModelRequest,
        wanted: Collection[str],
        answers: Answers,
        kept: KeptStates,
    ) -> None:
        self._source = source
        self._kept = kept
        self._wanted = wanted
        self._answers = answers
        self._held: tuple[list[ModelTensor], InferenceResponse] | None = None
        self._sent = 0
        self._closed = False

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        """Send a response, the final flag, or both at once.

        Raises TritonModelException for unknown flags, for nothing to send, after the final flag,
        and when a model that is not decoupled sends twice or finishes before it has answered.
        """
        if flags not in {0, RESPONSE_COMPLETE_FINAL}:
            raise TritonModelException("Unable to send response. Unsupported flag provided.")
        final = flags == RESPONSE_COMPLETE_FINAL
        if response is None:
            if not final:
                raise TritonModelException(
                    "Inference Response object must be provided when the response flags is set to "
                    "zero."
                )
            self._finish()
            return
        if not isinstance(response, InferenceResponse):
            raise TypeError(f"send: response must be an InferenceResponse, found {type(response)}")
        tensors = self._answers.tensors(response, self._wanted, self._kept)
        decoupled = self._answers.decoupled
        with self._answers.lock:
            if self._sent and not decoupled:
                raise TritonModelException(
                    "Unable to send response. Non-decoupled model cannot send more than one "
                    "response."
                )
            self._check_open()
            self._sent += 1
            self._closed = final
            if not final and not decoupled:
                self._held = tensors, response
                return
        self._deliver(tensors, response, final=final)

    def is_cancelled(self) -> bool:
        """Whether the client no longer wants the request."""
        return self._source.reply.is_cancelled()

    def _finish(self) -> None:
        with self._answers.lock:
            if not self._sent and not self._answers.decoupled:
                raise TritonModelException(
                    "Unable to send response. Non-decoupled model cannot send complete final "
                    "before sending a response."
                )
            self._check_open()
            self._closed = True
            held, self._held = self._held, None
        if held is None:
            self._source.reply.finish()
        else:
            self._deliver(*held, final=True)

    def _deliver(
        self, tensors: list[ModelTensor], response: InferenceResponse, *, final: bool
    ) -> None:
        self._source.reply.send(
            tensors, response._failure, final=final, parameters=response._parameters
        )

    def _check_open(self) -> None:
        if self._closed:
            raise TritonModelException("Unable to send response. Response sender has been closed.")

    def _close(self) -> bool:
        """Allow no more responses. Returns whether the final one is still owed."""
        with self._answers.lock:
            owed = not self._closed
            self._closed = True
            return owed

    def __del__(self) -> None:
        # Triton leaves the client waiting for ever when a model forgets a sender. One of a request
        # that runs again has a successor.
        if self._closed or self._source.reschedule:
            return
        self._closed = True
        if self._held is not None:
            self._deliver(*self._held, final=True)
            return
        failure = self._answers.failure(
            "the response sender was released before the final response was sent"
        )
        self._source.reply.send((), failure, final=True)
