"""`pb_utils.InferenceRequest`: what `execute` receives, and what a model makes to call another."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn, final

from streamgate.backend.contract import ModelRequest
from streamgate.model.request import ParameterValue, SequenceKey
from streamgate_python.answers import Answers, States
from streamgate_python.errors import TritonModelException
from streamgate_python.responses import check_parameters
from streamgate_python.senders import InferenceResponseSender
from streamgate_python.tensors import InputTensor, Tensor

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

    It can be made and read; `exec` and `async_exec` say that calling other models is not served.
    Raises TypeError for missing or mistyped arguments, TritonModelException for empty inputs or
    names and for parameters of another type than bool, int or str.
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
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: PreferredMemory | None = None,
        trace: InferenceTrace | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        if not isinstance(correlation_id, int | str):
            raise TritonModelException("Correlation ID must be integer or string")
        for kind, empty in (("Input tensor", None), ("Requested output name", "")):
            if empty in (inputs if empty is None else requested_output_names):
                raise TritonModelException(
                    f"{kind} for request with id '{request_id}' and model name '{model_name}' "
                    "should not be empty."
                )
        for tensor in inputs:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"InferenceRequest: inputs must hold Tensors, found {type(tensor)}")
        self._request_id = request_id
        self._correlation_id = correlation_id
        self._inputs = list(inputs)
        self._requested_output_names = set(requested_output_names)
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
        return self._requested_output_names

    def trace(self) -> InferenceTrace:
        return self._trace

    def exec(self, decoupled: bool = False) -> Any:
        """ModelRuleError with TritonModelException: business logic scripting is not served yet."""
        self._refuse()

    async def async_exec(self, decoupled: bool = False) -> Any:
        """ModelRuleError with TritonModelException: business logic scripting is not served yet."""
        self._refuse()

    def get_response_sender(self) -> InferenceResponseSender:
        raise TritonModelException("Only a request that execute received has a response sender.")

    def is_cancelled(self) -> bool:
        return False

    def set_release_flags(self, flags: int) -> None:
        raise TritonModelException("Only a request that execute received can be released.")

    def _refuse(self) -> NoReturn:
        raise TritonModelException(
            f"BLS is not served yet: the request for model '{self._model_name}' was not executed."
        )


@final
class ReceivedRequest(InferenceRequest):
    """A request that a client sent. Everything is read from its source when it is asked for."""

    __slots__ = ("_answers", "_sender", "_source", "_states")

    def __init__(self, source: ModelRequest, answers: Answers) -> None:
        self._source = source
        self._answers = answers
        self._inputs = None
        self._states: States | None = source.states
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
                self._source, self._wanted(), self._answers, self._states
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

    def _end_states(self) -> None:
        """`execute` has returned: what is answered from now on can't set the state any more."""
        self._states = None
        if self._sender is not None:
            self._sender._states = None

    def _wanted(self) -> Collection[str]:
        source = self._source
        return source.requested_outputs or (() if source.null else self._answers.outputs)

    def _refuse(self) -> NoReturn:
        raise TritonModelException("A request that execute received can't be executed again.")
