"""A client that sends more than it may is not read for a while: nothing of it is lost, it waits."""

import asyncio
from collections.abc import Callable
from typing import final

from streamgate.session.gateway import Gateway


@final
class Hold:
    """Of one connection: what it sends is counted by the gateway, which says when to pause.

    `on_over` is called when it may be read again.
    """

    __slots__ = ("_gateway", "_on_over", "_timer")

    def __init__(self, gateway: Gateway, on_over: Callable[[], None]) -> None:
        self._gateway = gateway
        self._on_over = on_over
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_on(self) -> bool:
        """Whether the client is not to be read now."""
        return self._timer is not None

    def receive(self, size_bytes: int) -> None:
        """It has sent so much."""
        seconds = self._gateway.owe(size_bytes)
        if seconds > 0:
            self.stop()
            self._timer = asyncio.get_running_loop().call_later(seconds, self._end)

    def stop(self) -> None:
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._timer = None
        self._on_over()
