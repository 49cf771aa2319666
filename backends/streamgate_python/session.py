"""One loaded instance of a Python model: requests in, answers out.

A session needs nothing but its load context and the replies of the requests, so it can run in a
worker process as well as here. Rules and texts are those of Triton's Python backend (2.51 and
its newest sources); where Triton leaves a client waiting, the request fails here.
"""

import asyncio
import logging
from asyncio import iscoroutine
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, final

from streamgate.backend.contract import ModelRequest
from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey
from streamgate_python.answers import Answers
from streamgate_python.calling import CURRENT, CallingModel, calling
from streamgate_python.errors import TritonModelException
from streamgate_python.event_loop import EventLoopThread
from streamgate_python.execution import EXECUTION, ModelExecution, executing
from streamgate_python.faults import ModelRuleError, describe
from streamgate_python.installed import ModelCode
from streamgate_python.requests import ReceivedRequest
from streamgate_python.responses import InferenceResponse

_logger = logging.getLogger(__name__)

MOVED: Final = "moved"
"""What a model is told of a sequence that has left it, and has not ended."""

MODEL_FAULTS = (Exception, SystemExit, asyncio.CancelledError)
"""What a model may raise and the gateway survives: a model's `sys.exit()` ends no server."""


@final
class PythonSession:
    """A model instance after `initialize`."""

    def __init__(
        self,
        model: Any,
        answers: Answers,
        identity: CallingModel,
        modules: ModelCode,
        path: str,
        *,
        inline: bool,
    ) -> None:
        self._model = model
        self._answers = answers
        self._identity = identity
        self._modules = modules
        self._path = path
        self._inline = inline
        self._execute = getattr(model, "execute", None)
        self._loop: EventLoopThread | None = None
        self.tells_readiness = hasattr(model, "is_ready")
        self.hears_sequence_ends = hasattr(model, "on_sequence_end")
        self.keeps_states = hasattr(model, "get_state") and hasattr(model, "set_state")
        identity.others.open()

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        """Call the model's `execute` and answer what it returns; a fault fails the whole call."""
        answers = self._answers
        received = [ReceivedRequest(source, answers) for source in requests]
        token = CURRENT.set(self._identity)
        execution = ModelExecution(holds_engine=self._inline, requests=requests)
        running = EXECUTION.set(execution)
        try:
            if self._execute is None:
                raise ModelRuleError(
                    "the model instance is closed"
                    if self._model is None
                    else f"Python model {self._path} does not implement `execute` method."
                )
            returned = self._execute(received.copy())
            # The test for a coroutine is slow, and most models return one of these two.
            if returned is not None and type(returned) is not list and iscoroutine(returned):
                if answers.decoupled:
                    execution.go_to_background()
                    self._start(returned, received)
                    return
                returned = self._event_loop().run(returned)
            self._settle(received, returned)
        except MODEL_FAULTS as error:
            self._fail(received, error)
        finally:
            execution.go_to_background()
            EXECUTION.reset(running)
            CURRENT.reset(token)
            if answers.states:
                for request in received:
                    request._kept.end()

    def close(self) -> None:
        """Call the model's `finalize` and forget its code. What `finalize` raises is logged."""
        self._identity.others.end_calls()
        if self._loop is not None:
            self._loop.close()
        finalize = getattr(self._model, "finalize", None)
        if finalize is not None:
            try:
                with self._calling():
                    finalize()
            except MODEL_FAULTS as error:
                _logger.exception(
                    "finalize of model instance '%s' failed: %s",
                    self._identity.instance,
                    describe(error),
                )
        self._model = self._execute = None
        self._modules.unload()
        self._identity.others.close()

    def is_ready(self) -> bool:
        """What the model's `is_ready` returns.

        Raises ModelRuleError when that is no bool, and with the text of what the model raised.
        """
        answer = self._call("is_ready")
        if not isinstance(answer, bool):
            raise ModelRuleError(f"is_ready must return a bool, found type '{type(answer)}'")
        return answer

    def on_sequence_end(self, correlation_id: SequenceKey, reason: EndReason) -> None:
        """Tell the model that a sequence is over. Raises ModelRuleError with what it raised."""
        self._call("on_sequence_end", correlation_id, reason.value)

    def drop_state(self, correlation_id: SequenceKey) -> None:
        """Tell the model that a sequence goes on elsewhere. Raises as `on_sequence_end`."""
        if self.hears_sequence_ends:
            self._call("on_sequence_end", correlation_id, MOVED)

    def get_state(self, correlation_id: SequenceKey) -> bytes:
        """What the model's `get_state` returns. Raises ModelRuleError when that is no bytes, and
        with the text of what the model raised."""
        state = self._call("get_state", correlation_id)
        if not isinstance(state, bytes | bytearray | memoryview):
            raise ModelRuleError(f"get_state must return bytes, found type '{type(state)}'")
        return bytes(state)

    def set_state(self, correlation_id: SequenceKey, state: bytes) -> None:
        """Hand the model what `get_state` gave. Raises ModelRuleError with what it raised."""
        self._call("set_state", correlation_id, state)

    def _call(self, hook: str, *arguments: object) -> object:
        try:
            with self._calling():
                return getattr(self._model, hook)(*arguments)
        except MODEL_FAULTS as error:
            raise ModelRuleError(describe(error)) from None

    @contextmanager
    def _calling(self) -> Iterator[None]:
        execution = ModelExecution(holds_engine=self._inline)
        with calling(self._identity), executing(execution):
            yield

    def _event_loop(self) -> EventLoopThread:
        if self._loop is None:
            self._loop = EventLoopThread(f"{self._identity.instance} event loop")
        return self._loop

    def _start(self, coroutine: Any, received: list[ReceivedRequest]) -> None:
        """Run a decoupled model's coroutine in the background, as Triton does."""

        def done(future: "Future[Any]") -> None:
            try:
                self._settle(received, future.result())
            except MODEL_FAULTS as error:
                self._fail(received, error)

        self._event_loop().start(coroutine, done)

    def _settle(self, received: list[ReceivedRequest], returned: Any) -> None:
        """Answer with what `execute` returned. Raises ModelRuleError before anything is sent."""
        if returned is None:
            for request in received:
                self._release(request)
            return
        if self._answers.decoupled:
            raise ModelRuleError(
                f"Python model '{self._answers.instance}' is using the decoupled mode and the "
                "execute function must return None."
            )
        self._check(received, returned)
        for request, response in zip(received, returned, strict=True):
            if response is None:
                self._release(request)
            else:
                self._answer(request, response)

    @staticmethod
    def _check(received: list[ReceivedRequest], returned: Any) -> None:
        if not isinstance(returned, list):
            raise ModelRuleError(
                f"Expected a list in the execute return, found type '{type(returned)}'."
            )
        if len(received) != len(returned):
            raise ModelRuleError(
                "Number of InferenceResponse objects do not match the number of InferenceRequest "
                f"objects. InferenceRequest(s) size is:{len(received)}, and InferenceResponse(s) "
                f"size is:{len(returned)}\n"
            )
        for request, response in zip(received, returned, strict=True):
            if response is None:
                continue
            if request._source.reschedule:
                raise ModelRuleError(
                    "Expected a None object in the execute function return list for reschduled "
                    f"request, found type '{type(response)}'."
                )
            if not isinstance(response, InferenceResponse):
                raise ModelRuleError(
                    "Expected an 'InferenceResponse' object in the execute function return list, "
                    f"found type '{type(response)}'."
                )

    def _answer(self, request: ReceivedRequest, response: InferenceResponse) -> None:
        sender = request._sender
        source = request._source
        if sender is not None and (sender._sent or not sender._close()):
            _logger.warning(
                "model instance '%s' returned a response for a request that it had answered "
                "through its response sender; only the first is delivered",
                self._answers.instance,
            )
            return
        try:
            tensors = self._answers.tensors(response, request._wanted(), request._kept)
        except TritonModelException as error:
            source.reply.send((), self._answers.failure(str(error)), final=True)
            return
        source.reply.send(tensors, response._failure, final=True, parameters=response._parameters)

    def _release(self, request: ReceivedRequest) -> None:
        """Let go of a request without a returned response: its sender or a later pass answers."""
        if request._sender is not None or request._source.reschedule:
            return
        request._source.reply.send(
            (),
            self._answers.failure(
                "execute returned no response for the request and took no response sender"
            ),
            final=True,
        )

    def _fail(self, received: list[ReceivedRequest], error: BaseException) -> None:
        failure = self._answers.failure(describe(error))
        _logger.error("%s", failure.message, exc_info=error)
        for request in received:
            request._source.reschedule = False
            if request._sender is None or request._sender._close():
                request._kept.drop()
                request._source.reply.send((), failure, final=True)
