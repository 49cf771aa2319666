"""A worker's side channel: what it tells the gateway, and what it asks it, from any thread."""

import itertools
import os
import threading
from collections.abc import Sequence
from typing import Any, final

from streamgate.model.tensor import Buffer
from streamgate_python.process.channel import Channel, ChannelError, Header

GATEWAY_GONE = 70
"""The exit status of a worker whose gateway is gone."""


@final
class Side:
    """The worker's end. A worker whose gateway is gone ends at once."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.RLock()
        self._questions = itertools.count()
        self._answers: dict[int, _Awaited] = {}
        self.sent = 0
        threading.Thread(target=self._listen, name="side-channel", daemon=True).start()

    def tell(self, header: Header, buffers: Sequence[Buffer] = ()) -> None:
        """Send a message to the gateway."""
        with self._lock:
            # Counted first: while it is sent, another may be sent on this thread.
            self.sent += 1
            try:
                self._channel.send(header, buffers)
            except ChannelError:
                os._exit(GATEWAY_GONE)

    def ask(self, kind: str, *details: Any) -> Any:
        """Ask the gateway, and wait for its answer: it always comes soon."""
        number = next(self._questions)
        awaited = self._answers[number] = _Awaited()
        self.tell([kind, number, *details])
        awaited.arrived.wait()
        return awaited.value

    def _listen(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except ChannelError:
                os._exit(GATEWAY_GONE)
            _, number, value = message.header
            awaited = self._answers.pop(number)
            awaited.value = value
            awaited.arrived.set()


class _Awaited:
    """An answer that a thread waits for."""

    __slots__ = ("arrived", "value")

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.value: Any = None
