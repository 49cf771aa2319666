"""`pb_utils.InferenceRequest`: what `execute` receives, and what a model makes to call another."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, final, overload

from streamgate.backend.contract import ModelRequest
from streamgate.model.request import (
    FLAG_SEQUENCE_END,
    FLAG_SEQUENCE_START,
    ParameterValue,
    Request,
    SequenceKey,
)
from streamgate_python.answers import Answers
from streamgate_python.calling import calling_model
from streamgate_python.calls import Call
from streamgate_python.errors import TritonModelException
from streamgate_python.iterators import ResponseIterator, only_response, only_response_async
from streamgate_python.kept_states import KeptStates
from streamgate_python.responses import InferenceResponse, check_parameters
from streamgate_python.senders import InferenceResponseSender
from streamgate_python.tensors import InputTensor, Tensor

NEWEST = -1
"""The model version that stands for the newest that is ready."""

CORRELATION_ID_BYTES_MAX = 128

RELEASE_ALL = 1
RELEASE_RESCHEDULE = 2

TRITONSERVER_MEMORY_CPU = 1
TRITONSERVER_MEMORY_GPU = 0


@final
class PreferredMemory:
    """Where a model wants the outputs of another model that it calls."""

    __slots__ = ("device_id", "memory_type")

    def __init__(self, preferred_memory_type: int, preferred_device_id: int = 0) -> None:
        self.memory_type = preferred_memory_type
        self.device_id = preferred_device_id


@final
class InferenceTrace:
    """The trace that a request belongs to. It carries no context yet."""

    __slots__ = ()

    def get_context(self) -> str | None:
        return None


class InferenceRequest:
    """A request to another model of this server.

    `preferred_memory` is accepted and changes nothing: outputs come in host memory. Raises
    TypeError for missing or mistyped arguments, TritonModelException for empty inputs or names,
    for a correlation ID that no client could send and for parameters of another type than bool,
    int or str.
    """

    __slots__ = (
        "_correlation_id",
        "_flags",
        "_inputs",
        "_model_name",
        "_model_version",
        "_parameters",
        "_request_id",
        "_requested_output_names",
        "_timeout",
        "_trace",
    )

    _inputs: list[Tensor] | None

    def __init__(
        self,
        request_id: str = "",
        correlation_id: SequenceKey = 0,
        *,
        inputs: Sequence[Tensor],
        requested_output_names: Sequence[str],
        model_name: str,
        model_version: int = NEWEST,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: PreferredMemory | None = None,
        trace: InferenceTrace | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        _check_correlation_id(correlation_id)
        for kind, empty in (("Input tensor", None), ("Requested output name", "")):
            if empty in (inputs if empty is None else requested_output_names):
                raise TritonModelException(
                    f"{kind} for request with id '{request_id}' and model name '{model_name}' "
                    "should not be empty."
                )
        for tensor in inputs:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"InferenceRequest: inputs must hold Tensors, found {type(tensor)}")
        if timeout < 0:
            raise TypeError(f"InferenceRequest: timeout must be 0 or more us, found {timeout}")
        self._request_id = request_id
        self._correlation_id = correlation_id
        self._inputs = list(inputs)
        self._requested_output_names = list(requested_output_names)
        self._model_name = model_name
        self._model_version = model_version
        self._flags = flags
        self._timeout = timeout
        self._trace = trace or InferenceTrace()
        self._parameters = check_parameters(parameters)

    def inputs(self) -> list[Tensor]:
        assert self._inputs is not None
        return self._inputs

    def request_id(self) -> str:
        return self._request_id

    def correlation_id(self) -> SequenceKey:
        return self._correlation_id

    def flags(self) -> int:
        return self._flags

    def set_flags(self, flags: int) -> None:
        self._flags = flags

    def timeout(self) -> int:
        return self._timeout

    def parameters(self) -> str:
        """The request's parameters as JSON."""
        return json.dumps(self._parameters)

    def requested_output_names(self) -> set[str]:
        return set(self._requested_output_names)

    def trace(self) -> InferenceTrace:
        return self._trace

    @overload
    def exec(self, decoupled: Literal[False] = False) -> InferenceResponse: ...

    @overload
    def exec(self, decoupled: Literal[True]) -> ResponseIterator: ...

    def exec(self, decoupled: bool = False) -> InferenceResponse | ResponseIterator:
        """Run the request and wait for its response; with `decoupled`, iterate over its responses.

        Whatever goes wrong with the request is a response with an error. Raises
        TritonModelException outside `execute`, and where waiting would stop the engine.
        """
        call = self._begin(decoupled=decoupled)
        return ResponseIterator(call) if decoupled else only_response(call)

    async def async_exec(self, decoupled: bool = False) -> InferenceResponse | ResponseIterator:
        """As `exec`, while the event loop goes on; with `decoupled`, until the first response."""
        call = self._begin(decoupled=decoupled)
        if not decoupled:
            return await only_response_async(call)
        iterator = ResponseIterator(call)
        await call.wait_async()
        return iterator

    def get_response_sender(self) -> InferenceResponseSender:
        raise TritonModelException("Only a request that execute received has a response sender.")

    def is_cancelled(self) -> bool:
        return False

    def set_release_flags(self, flags: int) -> None:
        raise TritonModelException("Only a request that execute received can be released.")

    def _begin(self, *, decoupled: bool) -> Call:
        model = calling_model()
        if model is None:
            raise TritonModelException("BLS: no model is calling")
        return model.others.begin(self._outgoing(), decoupled=decoupled)

    def _outgoing(self) -> Request:
        """The request as the server takes it, with its own copy of the data."""
        version = self._model_version
        return Request(
            self._model_name,
            "" if version == NEWEST else str(version),
            self._request_id,
            [tensor._outgoing() for tensor in self.inputs()],
            self._requested_output_names,
            self._parameters,
            self._correlation_id,
            start=bool(self._flags & FLAG_SEQUENCE_START),
            end=bool(self._flags & FLAG_SEQUENCE_END),
            timeout_us=self._timeout,
        )


@final
class ReceivedRequest(InferenceRequest):
    """A request that a client sent. Everything is read from its source when it is asked for."""

    __slots__ = ("_answers", "_kept", "_sender", "_source")

    def __init__(self, source: ModelRequest, answers: Answers) -> None:
        self._source = source
        self._answers = answers
        self._inputs = None
        self._kept = KeptStates(source.states, answers.lock)
        self._sender: InferenceResponseSender | None = None

    def inputs(self) -> list[Tensor]:
        inputs = self._inputs
        if inputs is None:
            inputs = self._inputs = [InputTensor(tensor) for tensor in self._source.inputs]
        return inputs

    def request_id(self) -> str:
        return self._source.request_id

    def correlation_id(self) -> SequenceKey:
        return self._source.correlation_id

    def flags(self) -> int:
        return self._source.flags

    def set_flags(self, flags: int) -> None:
        self._source.flags = flags

    def timeout(self) -> int:
        """The request's timeout in microseconds, 0 when it has none."""
        return self._source.timeout_us

    def parameters(self) -> str:
        """The client's parameters as JSON."""
        parameters = self._source.parameters
        if not parameters:
            return "{}"
        return json.dumps(dict(parameters), ensure_ascii=False, separators=(",", ":"))

    def requested_output_names(self) -> set[str]:
        """The outputs that the client wants: all of them when it named none."""
        return set(self._wanted())

    def trace(self) -> InferenceTrace:
        return InferenceTrace()

    def get_response_sender(self) -> InferenceResponseSender:
        sender = self._sender
        if sender is None:
            sender = self._sender = InferenceResponseSender(
                self._source, self._wanted(), self._answers, self._kept
            )
        return sender

    def is_cancelled(self) -> bool:
        return self._source.reply.is_cancelled()

    def set_release_flags(self, flags: int) -> None:
        """Say whether the request is done with, or goes through the scheduler once more."""
        if flags not in {RELEASE_ALL, RELEASE_RESCHEDULE}:
            raise TritonModelException(
                f"set_release_flags: expected {RELEASE_ALL} (all) or {RELEASE_RESCHEDULE} "
                f"(reschedule), found {flags}"
            )
        self._source.reschedule = flags == RELEASE_RESCHEDULE

    def _wanted(self) -> Collection[str]:
        source = self._source
        return source.requested_outputs or (() if source.null else self._answers.outputs)

    def _begin(self, *, decoupled: bool) -> Call:
        raise TritonModelException("A request that execute received can't be executed again.")


def _check_correlation_id(correlation_id: SequenceKey) -> None:
    if isinstance(correlation_id, str):
        if len(correlation_id.encode()) > CORRELATION_ID_BYTES_MAX:
            raise TritonModelException(
                f"string correlation ID cannot be longer than {CORRELATION_ID_BYTES_MAX} characters"
            )
    elif not isinstance(correlation_id, int):
        raise TritonModelException("Correlation ID must be integer or string")
    elif not 0 <= correlation_id < 2**64:
        raise TritonModelException(
            f"Correlation ID must be an unsigned 64-bit integer, found {correlation_id}"
        )
