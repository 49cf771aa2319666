"""The server as its models see it: what a model may ask of it, from threads of its own.

Whatever a model asks is done on the engine's thread, over the same gateway as clients' requests.
Each instance has a connection of its own: what it asked for ends with it.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar
from weakref import WeakSet

from streamgate.engine.host import Host
from streamgate.errors import Code, Failure, StreamGateError
from streamgate.link.contract import Holder, ModelLink, Needs
from streamgate.model.request import Request, Response
from streamgate.session.connection import OpenCall, SessionConnection
from streamgate.session.gateway import ResponseSink
from streamgate.session.local import LocalGateway
from streamgate.session.routing import ModelTable, Route
from streamgate.session.waits import Waits

ANSWER_SECONDS: Final = 10.0
"""How long a model waits for an answer that takes no loading."""

LOAD_SECONDS: Final = 600.0
"""How long a model waits for another that it loads."""

T = TypeVar("T")

_EXITING = Failure(Code.UNAVAILABLE, "Server exiting")
_CLOSED = Failure(Code.UNAVAILABLE, "the model instance that makes the call is closed")


class ModelServers:
    """What all instances share: where their questions go, and who waits for whom."""

    def __init__(self, host: Host, table: ModelTable) -> None:
        self.host = host
        self.table = table
        self.waits = Waits()
        self._called: dict[str, set[str]] = {}
        self._gateway: LocalGateway | None = None
        self._lock = threading.Lock()
        self._open: WeakSet[InstanceServer] = WeakSet()
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def gateway(self) -> LocalGateway:
        assert self._gateway is not None, "a question before the gateway is there"
        return self._gateway

    def attach(self, gateway: LocalGateway) -> None:
        """Say where the questions go, before any model is loaded."""
        self._gateway = gateway

    def open(self, model: ModelLink, instance: str) -> "InstanceServer":
        """The server for an instance of `model`. From any thread."""
        server = InstanceServer(self, model, instance)
        with self._lock:
            self._open.add(server)
            closed = self._closed
        if closed:
            server.abandon(_EXITING)
        return server

    def answer(self, question: Callable[[], Coroutine[Any, Any, T]], answer: "Future[T]") -> None:
        """On the engine's thread: put a question, and hand its answer on when it is there."""

        def done(task: "asyncio.Task[T]") -> None:
            self._tasks.discard(task)
            if task.cancelled():
                _settle(answer, error=StreamGateError(Code.UNAVAILABLE, "the server gave it up"))
            elif (error := task.exception()) is not None:
                _settle(answer, error=error)
            else:
                _settle(answer, task.result())

        task = asyncio.ensure_future(question())
        self._tasks.add(task)
        task.add_done_callback(done)

    def note_call(self, caller: str, called: str) -> None:
        """A model called another, both by name."""
        self._called.setdefault(caller, set()).add(called)

    def called_by(self, name: str) -> frozenset[str]:
        """The models that this one has called since the server started."""
        return frozenset(self._called.get(name, ()))

    def close(self) -> None:
        """The engine's thread serves no more: whoever still waits is answered now."""
        with self._lock:
            self._closed = True
            servers = list(self._open)
        for server in servers:
            server.abandon(_EXITING)


class InstanceServer:
    """Implements `streamgate.backend.contract.ModelServer` for one instance of a model."""

    def __init__(self, servers: ModelServers, model: ModelLink, instance: str) -> None:
        self.holder: Holder = model, instance
        self._servers = servers
        self._lock = threading.Lock()
        self._calls: set[ModelCall] = set()
        self._questions: set[Future[Any]] = set()
        self._refusal: Failure | None = None
        self._connection: SessionConnection | None = None

    # -- calls

    def infer(
        self,
        request: Request,
        on_response: ResponseSink,
        *,
        decoupled: bool,
        holds_instance: bool,
    ) -> "ModelCall":
        call = ModelCall(self, self._servers, request, on_response, decoupled, holds_instance)
        with self._lock:
            refusal = self._refusal
            if refusal is None:
                self._calls.add(call)
        if refusal is None:
            self._servers.host.post(call.begin, urgent=True)
        else:
            call.fail(refusal)
        return call

    def connection(self) -> SessionConnection:
        """On the engine's thread."""
        if self._connection is None:
            self._connection = self._servers.gateway.connect()
        return self._connection

    def forget(self, call: "ModelCall") -> None:
        with self._lock:
            self._calls.discard(call)

    # -- questions

    def is_model_ready(self, name: str, version: str) -> bool:
        gateway = self._servers.gateway
        return self._ask(lambda: gateway.is_model_ready(name, version), ANSWER_SECONDS)

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        gateway = self._servers.gateway
        self._ask(lambda: gateway.load_for_model(name, config, files), LOAD_SECONDS)

    def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        gateway = self._servers.gateway
        self._ask(
            lambda: gateway.unload_model(name, unload_dependents=unload_dependents), ANSWER_SECONDS
        )

    def _ask(self, question: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
        answer: Future[T] = Future()
        with self._lock:
            if self._refusal is not None:
                raise StreamGateError(self._refusal.code, self._refusal.message)
            self._questions.add(answer)
        self._servers.host.post(lambda: self._servers.answer(question, answer), urgent=True)
        try:
            return answer.result(seconds)
        except TimeoutError:
            raise StreamGateError(
                Code.UNAVAILABLE, f"the server gave no answer within {seconds:g} s"
            ) from None
        finally:
            with self._lock:
                self._questions.discard(answer)

    # -- the end

    def close(self) -> None:
        with self._lock:
            if self._refusal is not None:
                return
            self._refusal = _CLOSED
        self._servers.host.post(self._hang_up)

    def abandon(self, failure: Failure) -> None:
        """Answer everything under way, on this thread: the engine's serves no more."""
        with self._lock:
            self._refusal = failure
            calls, questions = list(self._calls), list(self._questions)
        for call in calls:
            call.fail(failure)
        for question in questions:
            _settle(question, error=StreamGateError(failure.code, failure.message))

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close(abort=True)


class ModelCall:
    """Implements `streamgate.backend.contract.ServerCall`. All but `cancel` is called on the
    engine's thread, and where that has gone, by whoever answers in its place."""

    def __init__(
        self,
        server: InstanceServer,
        servers: ModelServers,
        request: Request,
        on_response: ResponseSink,
        decoupled: bool,
        holds_instance: bool,
    ) -> None:
        self._server = server
        self._servers = servers
        self._request = request
        self._on_response = on_response
        self._decoupled = decoupled
        self._holds_instance = holds_instance
        self._cancelled = False
        self._open: OpenCall | None = None
        self._link: ModelLink | None = None
        self._is_waited_for = False
        self._over = False

    def cancel(self) -> None:
        self._cancelled = True
        self._servers.host.post(self._cancel)

    def begin(self) -> None:
        if self._over:
            return
        if self._cancelled:
            self.fail(Failure(Code.CANCELLED, "the call was cancelled"))
            return
        try:
            self._begin()
        except StreamGateError as error:
            self.fail(error.failure)

    def needs(self) -> Needs:
        """For `Waits`."""
        assert self._link is not None
        if self._open is None:
            return self._link.needs_for(self._request)
        return self._link.needs_of(self._open.number)

    def fail(self, failure: Failure) -> None:
        """Answer without a model."""
        request = self._request
        self._receive(
            Response(request, request.model, request.version, failure=failure, admitted=False)
        )

    def _begin(self) -> None:
        request = self._request
        route = self._route()
        self._link = route.link
        if route.config.decoupled and not self._decoupled:
            raise StreamGateError(
                Code.INTERNAL,
                f"Model {request.model} is using the decoupled. The current BLS request call "
                "doesn't support models using the decoupled transaction policy. Please use "
                "'decoupled=True' argument to the 'exec' or 'async_exec' calls for decoupled "
                "models.'",
            )
        holder = self._server.holder
        caller = holder[0].config.name
        self._servers.note_call(caller, route.config.name)
        if self._holds_instance:
            if not self._servers.waits.begin(holder, self):
                raise StreamGateError(
                    Code.INTERNAL,
                    f"model '{caller}' would wait for itself: what '{request.model}' needs to "
                    f"answer waits for a call that ends at '{caller}'. Give one of them more "
                    "instances, or call from a thread that 'execute' does not wait for",
                )
            self._is_waited_for = True
        self._open = self._server.connection().submit(request, self._receive)

    def _route(self) -> Route:
        request = self._request
        try:
            return self._servers.table.route(request.model, request.version)
        except StreamGateError:
            raise StreamGateError(
                Code.INTERNAL,
                f"Failed for execute the inference request. Model '{request.model}' is not ready.",
            ) from None

    def _cancel(self) -> None:
        if self._open is not None and not self._over:
            self._open.cancel()

    def _receive(self, response: Response) -> None:
        if self._over:
            return
        if response.final:
            self._over = True
            self._server.forget(self)
            if self._is_waited_for:
                self._servers.waits.end(self._server.holder, self)
        self._on_response(response)


def _settle(answer: "Future[T]", result: Any = None, error: BaseException | None = None) -> None:
    """Answer a question that may have been answered already: the server went meanwhile."""
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
