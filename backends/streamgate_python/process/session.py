"""The engine's side of a model instance in a process of its own: an ordinary `RequestSession`.

What a batch is answered with when `execute` returns comes with its return; what the model sends
through senders comes over the side channel, as it is sent. `execute` returns after all that was
sent before it: nothing overtakes.
"""

import logging
import resource
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, final

from streamgate.backend.contract import LoadContext, ModelRequest, SessionLostError, lose
from streamgate.errors import Code, EndReason, Failure, LoadError
from streamgate.model.request import SequenceKey
from streamgate.model.tensor import Buffer
from streamgate_python.errors import TritonModelException
from streamgate_python.faults import ModelRuleError
from streamgate_python.process.beginning import DRAIN_SECONDS, begin, unhealthy
from streamgate_python.process.calls import ServedCalls
from streamgate_python.process.channel import ChannelError, Header, Message
from streamgate_python.process.keeper import WorkerProcess
from streamgate_python.process.metrics import HeldMetrics
from streamgate_python.process.output import log_record
from streamgate_python.process.pace import HeldThreads
from streamgate_python.process.values import (
    Buffers,
    Value,
    pack_request,
    unpack_failure,
    unpack_states,
    unpack_tensors,
)

FINALIZE_SECONDS_MAX: Final = 10.0
"""How long a process that is closed may take, `finalize` included, before it is ended."""

_logger = logging.getLogger(__name__)


@final
class ProcessSession:
    """A model instance in a worker process.

    Raises LoadError when the model can't be loaded, or its process does not start or survive it.
    """

    def __init__(self, context: LoadContext) -> None:
        self._context = context
        self._instance = context.instance.name
        limits = context.config.worker_limits
        self._step_seconds = limits.step_timeout_ns / 1e9 or None
        self._memory_bytes = limits.memory_bytes
        self._open: dict[int, ModelRequest] = {}
        self._numbers = 0
        self._lock = threading.Lock()
        self._busy = True
        self._closing = False
        self._was_told = False
        self._closed_failure = Failure(
            Code.INTERNAL,
            f"Failed to process the request(s) for model '{self._instance}', message: the model "
            "instance is closed",
        )
        self._lost: SessionLostError | None = None
        files = context.files
        self._metrics = HeldMetrics((files.name, files.version, self._instance))
        self._calls: ServedCalls | None = None
        self._held = HeldThreads(lambda question: self._tell(question, True))
        self._worker = worker = WorkerProcess(
            self._instance, files.name, self._receive, self._process_ended, self._held.look
        )
        if context.server is not None:
            self._calls = ServedCalls(context.server, worker.side, worker.kill)
        try:
            self._load(limits.load_timeout_ns / 1e9 or None)
        except BaseException:
            self._closing = True
            self._worker.kill("")
            self._worker.wait_end(DRAIN_SECONDS)
            raise
        self._metrics.loaded()
        self._busy = False

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._worker.pid

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        """Run the batch in the process. Raises SessionLostError when that ends, or is ended."""
        if self._closing:
            self._refuse(requests)
            return
        buffers: list[Any] = []
        packed: Value = []
        for request in requests:
            self._numbers += 1
            self._open[self._numbers] = request
            packed.append(pack_request(self._numbers, request, buffers))
        message = self._ask(["execute", packed], buffers, self._step_seconds)
        try:
            self._settle(message, requests)
        except Exception as error:
            _logger.exception("the process of model instance '%s' gave no answer", self._instance)
            self._worker.kill(f"It gave an answer that can't be read ({error}), and was killed")
            raise self._lost_error() from None
        if self._memory_bytes:
            self._check_memory()

    def close(self) -> None:
        """Let the model finalize and end its process, whatever it takes."""
        with self._lock:
            self._closing = True
        if self._lost is None:
            try:
                self._worker.step.send(["close"])
            except ChannelError:
                _logger.debug("the process of '%s' can't be asked to close", self._instance)
            if not self._worker.wait_end(FINALIZE_SECONDS_MAX):
                _logger.error(
                    "the process of model instance '%s' has not ended within %g s of being asked "
                    "to, finalize included, and is ended",
                    self._instance,
                    FINALIZE_SECONDS_MAX,
                )
                self._worker.terminate()
            elif not self._worker.ended_well:
                _logger.error(
                    "the process of model instance '%s' did not end well when it was closed: %s",
                    self._instance,
                    self._worker.fate,
                )
        self._worker.wait_end(DRAIN_SECONDS)

    def is_ready(self) -> bool:
        """As `PythonSession.is_ready`."""
        return bool(self._call("is_ready").header[3])

    def on_sequence_end(self, correlation_id: SequenceKey, reason: EndReason) -> None:
        """As `PythonSession.on_sequence_end`."""
        self._call("on_sequence_end", correlation_id, reason.value)

    def drop_state(self, correlation_id: SequenceKey) -> None:
        """As `PythonSession.drop_state`."""
        if self.hears_sequence_ends:
            self._call("drop_state", correlation_id)

    def get_state(self, correlation_id: SequenceKey) -> bytes:
        """As `PythonSession.get_state`."""
        [state] = self._call("get_state", correlation_id).buffers
        return bytes(state)

    def set_state(self, correlation_id: SequenceKey, state: bytes) -> None:
        """As `PythonSession.set_state`."""
        self._call("set_state", correlation_id, buffers=[state])

    # -- asking the process

    def _call(self, hook: str, *arguments: Any, buffers: Sequence[Buffer] = ()) -> Message:
        """Call a hook of the model. Raises what the session that is in the process does, and
        SessionLostError, of which the engine hears by `on_lost`: no step tells it."""
        try:
            message = self._ask(["call", hook, arguments], buffers, self._step_seconds)
        except SessionLostError as error:
            self._tell_lost(error)
            raise
        fault = message.header[2]
        if fault is not None:
            raise ModelRuleError(fault)
        return message

    def _ask(self, header: Header, buffers: Sequence[Any], seconds: float | None) -> Message:
        """One question and its answer. Raises SessionLostError."""
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._busy = True
        worker = self._worker
        try:
            worker.step.send(header, buffers)
            message = worker.step.receive(seconds)
            worker.wait_messages(message.header[1], DRAIN_SECONDS)
        except TimeoutError:
            worker.kill(
                f"A step took longer than {seconds:g} s (streamgate.step_timeout_seconds), and "
                "its process was killed"
            )
            raise self._lost_error() from None
        except ChannelError as error:
            worker.kill("")
            _logger.debug("asking the process of '%s' failed: %s", self._instance, error)
            raise self._lost_error() from None
        except (LookupError, TypeError) as error:
            worker.kill(f"It gave an answer that can't be read ({error}), and was killed")
            raise self._lost_error() from None
        finally:
            with self._lock:
                self._busy = False
        return message

    def _lost_error(self) -> SessionLostError:
        """What has become of the process, waited for."""
        self._worker.wait_end(DRAIN_SECONDS)
        return self._lost or SessionLostError(unhealthy(self._instance, ""))

    def _load(self, seconds: float | None) -> None:
        context = self._context
        details = (context.config, context.files, context.instance, self._calls is not None)
        message = begin(self._worker, context.files.name, "load", details, seconds)
        _, _, fault, hooks = message.header
        if fault is not None:
            raise LoadError(fault)
        self.tells_readiness, self.hears_sequence_ends, self.keeps_states = hooks

    def _check_memory(self) -> None:
        """End a process that has grown too large; its step is answered all the same."""
        try:
            fields = Path(f"/proc/{self.pid}/statm").read_bytes().split()
        except OSError:
            return  # it is just ending, which shows by itself
        held = int(fields[1]) * resource.getpagesize()
        if held > self._memory_bytes:
            self._worker.kill(
                f"Its process held {held / 2**20:.0f} MB after a step, more than "
                f"streamgate.worker_memory_limit_mb ({self._memory_bytes / 2**20:g}), and was "
                "killed"
            )

    # -- answers

    def _settle(self, message: Message, requests: Sequence[ModelRequest]) -> None:
        buffers = Buffers(message.buffers)
        first = self._numbers - len(requests) + 1
        for number, request, outcome in zip(
            range(first, first + len(requests)), requests, message.header[2], strict=True
        ):
            reschedule, states, answer = outcome
            request.reschedule = reschedule
            request.states = unpack_states(states, buffers)
            if answer is not None:
                self._answer(number, answer, buffers)

    def _answer(self, number: int, answer: Value, buffers: Buffers) -> None:
        """One response, or the final flag alone, as `replies` packs them."""
        final, tensors, failure, parameters = answer
        request = self._open.pop(number, None) if final else self._open.get(number)
        if request is None:
            return
        if tensors is None:
            request.reply.finish()
        else:
            request.reply.send(
                unpack_tensors(tensors, buffers),
                unpack_failure(failure),
                final=final,
                parameters=parameters,
            )

    def _refuse(self, requests: Sequence[ModelRequest]) -> None:
        for request in requests:
            request.reply.send((), self._closed_failure, final=True)

    # -- the keeping thread

    def _receive(self, message: Message) -> None:
        """A message of the side channel."""
        match message.header:
            case ["reply", number, answer]:
                self._answer(number, answer, Buffers(message.buffers))
            case ["dropped", number]:
                self._open.pop(number, None)
            case ["is_cancelled", question, number]:
                request = self._open.get(number)
                cancelled = request is not None and request.reply.is_cancelled()
                self._tell(question, cancelled)
            case ["room", question, number]:
                self._held.ask(question, self._open.get(number))
            case ["metric", question, operation, name, *details]:
                self._do_metric(question, operation, name, details)
            case ["log", record]:
                log_record(record)
            case ["infer", number, packed, decoupled, holds] if self._calls is not None:
                self._calls.begin(
                    number, packed, Buffers(message.buffers), decoupled=decoupled, holds=holds
                )
            case ["cancel", number] if self._calls is not None:
                self._calls.cancel(number)
            case ["hang_up"] if self._calls is not None:
                self._calls.hang_up()
            case [
                "is_model_ready" | "load_model" | "unload_model" as kind,
                question,
                *details,
            ] if self._calls is not None:
                self._calls.ask(kind, question, details, message.buffers)
            case _:
                raise ValueError(f"an unknown message '{message.header[0]}'")

    def _do_metric(
        self, question: int | None, operation: str, name: str, details: list[Any]
    ) -> None:
        value, refusal = None, None
        try:
            value = self._metrics.do(operation, name, details)
        except TritonModelException as error:
            refusal = [Code.INTERNAL.value, str(error)]
        if question is not None:
            self._tell(question, value, refusal)

    def _tell(self, question: int, value: Any, refusal: Value | None = None) -> None:
        """What a thread of the worker waits for."""
        try:
            self._worker.side.send(["answer", question, value, refusal])
        except ChannelError:
            # It is gone, or has not listened for long.
            self._worker.kill("")

    def _process_ended(self) -> None:
        """The process is gone: whatever it owed fails, and the engine hears of it."""
        why = self._worker.fate
        with self._lock:
            expected = self._closing
            error = self._lost = SessionLostError(unhealthy(self._instance, self._worker.why))
            idle = not self._busy
        open_requests, self._open = self._open, {}
        for request in list(open_requests.values()):
            if expected:
                request.reply.send((), self._closed_failure, final=True)
            else:
                lose(request.reply, error.failure)
        self._metrics.end(lost=not expected)
        if self._calls is not None:
            self._calls.close()
        if expected:
            return
        _logger.error("the process of model instance '%s' is gone: %s", self._instance, why)
        if idle:
            self._tell_lost(error)

    def _tell_lost(self, error: SessionLostError) -> None:
        with self._lock:
            was_told, self._was_told = self._was_told, True
        if not was_told:
            self._context.on_lost(error)
