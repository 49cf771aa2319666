"""A worker's calls of other models: `RemoteServer` there, `ServedCalls` in the gateway.

The gateway's side runs each call on the `ModelServer` of the instance and hands the responses back
through a thread of its own, as the engine's must not wait for a worker to take them.
"""

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, final

from streamgate.backend.contract import ModelServer, ServerCall
from streamgate.errors import StreamGateError
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Buffer
from streamgate_python.process.channel import Channel, ChannelError, Message
from streamgate_python.process.side import Side
from streamgate_python.process.values import (
    Buffers,
    Value,
    pack_call,
    pack_response,
    unpack_call,
    unpack_response,
)

UNTAKEN_MAX: Final = 10_000
"""Responses that may wait for the worker to take them. One that is so far behind has failed."""

_logger = logging.getLogger(__name__)


@final
class RemoteServer:
    """Implements `ModelServer` in a worker. Responses come on the side channel's thread."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._numbers = itertools.count(1)
        self._calls: dict[int, tuple[Request, Callable[[Response], None]]] = {}
        side.listen("response", self._receive)

    def infer(
        self,
        request: Request,
        on_response: Callable[[Response], None],
        *,
        decoupled: bool,
        holds_instance: bool,
    ) -> ServerCall:
        number = next(self._numbers)
        self._calls[number] = request, on_response
        buffers: list[Buffer] = []
        packed = pack_call(request, buffers)
        self._side.tell(["infer", number, packed, decoupled, holds_instance], buffers)
        return _RemoteCall(self._side, number)

    def is_model_ready(self, name: str, version: str) -> bool:
        return bool(self._side.ask("is_model_ready", name, version))

    def load_model(self, name: str, config: str | None, files: Mapping[str, bytes]) -> None:
        self._side.ask("load_model", name, config, list(files), buffers=list(files.values()))

    def unload_model(self, name: str, *, unload_dependents: bool) -> None:
        self._side.ask("unload_model", name, unload_dependents)

    def close(self) -> None:
        self._side.tell(["hang_up"])

    def _receive(self, message: Message) -> None:
        _, number, packed = message.header
        response_to, on_response = self._calls[number]
        response = unpack_response(packed, response_to, Buffers(message.buffers))
        if response.final:
            del self._calls[number]
        on_response(response)


@final
class _RemoteCall:
    """Implements `ServerCall` in a worker."""

    __slots__ = ("_number", "_side")

    def __init__(self, side: Side, number: int) -> None:
        self._side = side
        self._number = number

    def cancel(self) -> None:
        self._side.tell(["cancel", self._number])


@final
class ServedCalls:
    """What one worker asks of the server, in the gateway. `give_up` ends the worker, saying why."""

    def __init__(self, server: ModelServer, side: Channel, give_up: Callable[[str], None]) -> None:
        self._server = server
        self._side = side
        self._give_up = give_up
        self._calls: dict[int, ServerCall] = {}
        self._over: set[int] = set()
        self._untaken: deque[tuple[int, Response]] = deque()
        self._changed = threading.Condition()
        self._handing: threading.Thread | None = None
        self._closed = False

    # -- from the worker, on one thread

    def begin(
        self, number: int, packed: Value, buffers: Buffers, *, decoupled: bool, holds: bool
    ) -> None:
        """Start a call."""
        if self._handing is None:
            self._handing = threading.Thread(target=self._hand, name="worker-calls", daemon=True)
            self._handing.start()
        call = self._server.infer(
            unpack_call(packed, buffers),
            partial(self._receive, number),
            decoupled=decoupled,
            holds_instance=holds,
        )
        with self._changed:
            if number in self._over:
                self._over.discard(number)
            else:
                self._calls[number] = call

    def cancel(self, number: int) -> None:
        """The worker does not want a call's responses any more."""
        call = self._calls.get(number)
        if call is not None:
            call.cancel()

    def ask(self, kind: str, question: int, details: Value, buffers: list[Buffer]) -> None:
        """What takes its time to answer: on a thread of its own."""
        answer = partial(self._answer, kind, question, details, buffers)
        threading.Thread(target=answer, name=f"worker-{kind}", daemon=True).start()

    def hang_up(self) -> None:
        """The worker's instance is closed: its calls end, which it may still want to hear."""
        self._server.close()

    def close(self) -> None:
        """The worker is gone: its calls end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.close()

    def _answer(self, kind: str, question: int, details: Value, buffers: list[Buffer]) -> None:
        value, refusal = False, None
        try:
            match kind, details:
                case "is_model_ready", [name, version]:
                    value = self._server.is_model_ready(name, version)
                case "load_model", [name, config, paths]:
                    files = {path: bytes(data) for path, data in zip(paths, buffers, strict=True)}
                    self._server.load_model(name, config, files)
                case "unload_model", [name, unload_dependents]:
                    self._server.unload_model(name, unload_dependents=unload_dependents)
        except StreamGateError as error:
            refusal = [error.code.value, error.message]
        self._send(["answer", question, value, refusal], [])

    # -- to the worker

    def _receive(self, number: int, response: Response) -> None:
        """On the engine's thread."""
        with self._changed:
            if self._closed:
                return
            if response.final and self._calls.pop(number, None) is None:
                self._over.add(number)
            self._untaken.append((number, response))
            if len(self._untaken) > UNTAKEN_MAX:
                self._closed = True
            self._changed.notify_all()

    def _hand(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._untaken or self._closed)
                if self._closed:
                    break
                number, response = self._untaken.popleft()
            buffers: list[Buffer] = []
            self._send(["response", number, pack_response(response, buffers)], buffers)
        if len(self._untaken) > UNTAKEN_MAX:
            self._give_up(
                f"It did not take {UNTAKEN_MAX} responses of models that it had called, and was "
                "killed"
            )

    def _send(self, header: list[Any], buffers: list[Buffer]) -> None:
        try:
            self._side.send(header, buffers)
        except ChannelError as error:
            # It is gone, or does not listen: whoever keeps the process finds out.
            _logger.debug("a worker could not be told of a call: %s", error)
