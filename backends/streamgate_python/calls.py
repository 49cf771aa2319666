"""One instance's way to other models of the server: `exec`, `async_exec`, loading, readiness.

The responses of a call come on the engine's thread and wait here until the model takes them.
Whoever waits looks up every now and then: a call ends early when its timeout has passed, when
nobody wants the request any more that it is made for, and when the instance or the server closes.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, final

from streamgate.backend.contract import ModelServer, ServerCall
from streamgate.errors import Code, Failure, StreamGateError
from streamgate.model.request import Request, Response
from streamgate_python.errors import TritonModelException
from streamgate_python.execution import EXECUTION, ModelExecution

LOOK_UP_SECONDS: Final = 0.1
"""How soon a call whose request was cancelled ends."""

UNREAD_MAX: Final = 10_000
"""Responses of one call that may wait to be read. More end it."""


@final
class OtherModels:
    """What one model instance may ask of the server. Open between `initialize` and `finalize`."""

    def __init__(self, server: ModelServer | None, model_name: str, instance: str) -> None:
        self._server = server
        self._model_name = model_name
        self._instance = instance
        self._open = False

    def open(self) -> None:
        """`initialize` is over: other models may be called."""
        self._open = True

    def end_calls(self) -> None:
        """`finalize` begins: no more calls."""
        self._open = False

    def close(self) -> None:
        """The instance is closed: what is under way ends."""
        self._open = False
        if self._server is not None:
            self._server.close()

    def begin(self, request: Request, *, decoupled: bool) -> "Call":
        """Start a call.

        Raises TritonModelException outside `execute`, and where waiting would stop the engine.
        """
        if not self._open:
            raise TritonModelException("BLS is only supported during the 'execute' function.")
        execution = EXECUTION.get()
        server = self._reachable("other models can't be called")
        call = Call(request, execution)
        call.start(server, decoupled=decoupled)
        return call

    def is_model_ready(self, name: str, version: str) -> bool:
        """Raises TritonModelException when there is no answer."""
        server = self._reachable("the readiness of models can't be asked for")
        try:
            return server.is_model_ready(name, version)
        except StreamGateError as error:
            raise self._failed("check readiness of", error.message) from None

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        """Raises TritonModelException with why the model was not loaded."""
        server = self._reachable("models can't be loaded")
        if name == self._model_name and not self._open:
            raise self._failed("load", f"'{name}' is being loaded")
        try:
            server.load_model(name, config, files)
        except StreamGateError as error:
            raise self._failed("load", error.message) from None

    def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        """Raises TritonModelException with why the model was not unloaded."""
        server = self._reachable("models can't be unloaded")
        try:
            server.unload_model(name, unload_dependents=unload_dependents)
        except StreamGateError as error:
            raise self._failed("unload", error.message) from None

    def _failed(self, action: str, message: str) -> TritonModelException:
        return TritonModelException(
            f"Failed to {action} model: Failed to process the request for model "
            f"'{self._instance}', message: {message}"
        )

    def _reachable(self, refused: str) -> ModelServer:
        execution = EXECUTION.get()
        if execution is not None and execution.holds_engine:
            raise TritonModelException(
                f"{refused} from a model with 'streamgate.execution: inline', which runs on the "
                "thread that would have to answer. Leave the parameter out, or ask from a thread "
                "of the model's own"
            )
        if self._server is None:
            raise TritonModelException(f"{refused}: there is no server here")
        return self._server


@final
class Call:
    """A call under way: its responses, in order, until the final one is taken.

    One thread or task takes them at a time; they come from the engine's.
    """

    def __init__(self, request: Request, execution: ModelExecution | None) -> None:
        self.model_name = request.model
        self._request = request
        # A model that calls another after its request was cancelled knows why: to tidy up.
        self._execution = None if execution is None or execution.is_cancelled() else execution
        self._timeout_ns = request.timeout_us * 1000
        self._waiting_since_ns = time.monotonic_ns()
        self._server_call: ServerCall | None = None
        self._gave_up: Failure | None = None
        self._unread: deque[Response] = deque()
        self._changed = threading.Condition()
        self._wake: Callable[[], object] | None = None
        self._is_over = False

    def start(self, server: ModelServer, *, decoupled: bool) -> None:
        execution = self._execution
        self._server_call = server.infer(
            self._request,
            self._receive,
            decoupled=decoupled,
            holds_instance=execution is not None and execution.holds_instance,
        )
        if self._gave_up is not None:
            # More came already than may lie unread, before there was anything to cancel.
            self._server_call.cancel()

    def take(self) -> Response | None:
        """The next response, waited for; None after the final one."""
        self._waiting_since_ns = time.monotonic_ns()
        while True:
            with self._changed:
                if self._changed.wait_for(self._is_settled, LOOK_UP_SECONDS):
                    return self._unread.popleft() if self._unread else None
            self._look_up()

    async def take_async(self) -> Response | None:
        """As `take`, while the event loop goes on."""
        await self.wait_async()
        with self._changed:
            return self._unread.popleft() if self._unread else None

    async def wait_async(self) -> None:
        """Until there is a response, or none will come any more."""
        loop = asyncio.get_running_loop()
        self._waiting_since_ns = time.monotonic_ns()
        while True:
            arrived = asyncio.Event()
            with self._changed:
                if self._is_settled():
                    return
                self._wake = partial(loop.call_soon_threadsafe, arrived.set)
            try:
                async with asyncio.timeout(LOOK_UP_SECONDS):
                    await arrived.wait()
            except TimeoutError:
                self._look_up()

    def cancel(self, failure: Failure | None = None) -> None:
        """The rest is not wanted. The final response comes soon, with this failure. Idempotent."""
        if self._is_over or self._gave_up is not None:
            return
        self._gave_up = failure or Failure(Code.CANCELLED, "the call was cancelled")
        if self._server_call is not None:
            self._server_call.cancel()

    def _is_settled(self) -> bool:
        return bool(self._unread) or self._is_over

    def _look_up(self) -> None:
        """While waiting: is this still worth it?"""
        waited_ns = time.monotonic_ns() - self._waiting_since_ns
        if self._timeout_ns and waited_ns > self._timeout_ns:
            self.cancel(Failure(Code.INTERNAL, "Request timeout expired"))
        elif self._execution is not None and self._execution.is_cancelled():
            self.cancel(
                Failure(Code.CANCELLED, "the request that the call was made for is cancelled")
            )

    def _receive(self, response: Response) -> None:
        """From the engine's thread."""
        with self._changed:
            self._is_over = response.final
            if response.final and response.failure is not None and self._gave_up is not None:
                response.failure, response.admitted = self._gave_up, False
            is_room = len(self._unread) < UNREAD_MAX or response.final
            if is_room:
                self._unread.append(response)
            self._changed.notify_all()
            wake, self._wake = self._wake, None
        if not is_room:
            self.cancel(
                Failure(Code.INTERNAL, f"more than {UNREAD_MAX} responses were left unread")
            )
        if wake is not None:
            # The event loop that waited may be closed.
            with suppress(RuntimeError):
                wake()
