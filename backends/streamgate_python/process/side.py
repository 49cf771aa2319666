"""A worker's side channel: what it tells the gateway, and what it asks it, from any thread."""

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, final

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.model.tensor import Buffer
from streamgate_python.process.channel import Channel, ChannelError, Header, Message
from streamgate_python.process.values import unpack_failure

GATEWAY_GONE = 70
"""The exit status of a worker whose gateway is gone."""


def end_process() -> None:
    """Whatever the model's threads do: there is nobody to do it for."""
    os._exit(GATEWAY_GONE)


@final
class Side:
    """The worker's end. A worker whose gateway is gone ends at once."""

    def __init__(self, channel: Channel, on_gone: Callable[[], None] = end_process) -> None:
        self._channel = channel
        self._process = os.getpid()
        self._on_gone = on_gone
        self._lock = threading.RLock()
        self._questions = itertools.count()
        self._answers: dict[int, _Awaited] = {}
        self._listeners: dict[str, Callable[[Message], None]] = {"answer": self._receive_answer}
        self.sent = 0
        threading.Thread(target=self._listen, name="side-channel", daemon=True).start()

    def tell(self, header: Header, buffers: Sequence[Buffer] = ()) -> None:
        """Send a message to the gateway."""
        if os.getpid() != self._process:
            # A copy of the worker, which the model has forked, has nothing to say: what it frees
            # is the worker's.
            return
        with self._lock:
            # Counted first: while it is sent, another may be sent on this thread.
            self.sent += 1
            try:
                self._channel.send(header, buffers)
            except ChannelError:
                self._on_gone()

    def listen(self, kind: str, receive: Callable[[Message], None]) -> None:
        """Messages of this kind go there, on this channel's thread, which must not be held up."""
        self._listeners[kind] = receive

    def ask(self, kind: str, *details: Any, buffers: Sequence[Buffer] = ()) -> Any:
        """Ask the gateway, and wait for its answer. Raises StreamGateError when it refuses."""
        if os.getpid() != self._process:
            raise StreamGateError(
                Code.UNSUPPORTED, "a process that the model has forked can't ask the server"
            )
        number = next(self._questions)
        awaited = self._answers[number] = _Awaited()
        self.tell([kind, number, *details], buffers)
        awaited.arrived.wait()
        if awaited.refusal is not None:
            raise StreamGateError(awaited.refusal.code, awaited.refusal.message)
        return awaited.value

    def _listen(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except ChannelError:
                self._on_gone()
                return
            self._listeners[message.header[0]](message)

    def _receive_answer(self, message: Message) -> None:
        _, number, value, refusal = message.header
        awaited = self._answers.pop(number)
        awaited.value = value
        awaited.refusal = unpack_failure(refusal)
        awaited.arrived.set()


class _Awaited:
    """An answer that a thread waits for."""

    __slots__ = ("arrived", "refusal", "value")

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.value: Any = None
        self.refusal: Failure | None = None
