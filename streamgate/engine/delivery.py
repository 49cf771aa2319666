"""The way of answers to those who asked: each request gets one final response, and is counted.

On the host's thread. Knows no scheduler and no instances.
"""

import asyncio
from collections.abc import Sequence

from streamgate.core.ids import RequestNumber
from streamgate.engine.counters import Counters
from streamgate.engine.host import Host
from streamgate.engine.live import LiveRequest
from streamgate.engine.order import order_for
from streamgate.errors import Failure
from streamgate.model.config import ModelConfig
from streamgate.model.request import Response

CANCELED = "CANCELED"
BACKEND = "BACKEND"


class Delivery:
    """`lives` are the requests that still wait for their final response."""

    def __init__(self, config: ModelConfig, host: Host, counters: Counters) -> None:
        self.lives: dict[RequestNumber, LiveRequest] = {}
        self._host = host
        self._counters = counters
        self._order, self._orders_arrivals = order_for(config)
        self._when_empty: asyncio.Event | None = None

    def take_in(self, live: LiveRequest) -> None:
        """A request has arrived."""
        self.lives[live.number] = live
        if self._order is not None and self._orders_arrivals:
            self._order.enter(live)

    def begin(self, lives: Sequence[LiveRequest | None]) -> None:
        """The step of these requests begins, in this order."""
        if self._order is not None and not self._orders_arrivals:
            for live in lives:
                if live is not None:
                    self._order.enter(live)

    async def wait_empty(self) -> None:
        """Wait until it is said that each request has had its final response."""
        self._when_empty = asyncio.Event()
        await self._when_empty.wait()

    def say_empty(self) -> None:
        """Say so to who waits for it, if it is so."""
        if self._when_empty is not None and not self.lives:
            self._when_empty.set()

    def deliver(self, live: LiveRequest, response: Response) -> None:
        """A response of the model."""
        if live.closed:
            return
        if self._order is None:
            self._hand_over(live, response, BACKEND)
            return
        for held in self._order.answer(live, response, BACKEND):
            self._hand_over(*held)

    def fail(
        self,
        live: LiveRequest,
        failure: Failure,
        reason: str,
        *,
        admitted: bool = True,
        lost: bool = False,
    ) -> None:
        """Answer a request without the model. One that is cancelled, or not let in, has no turn to
        wait for."""
        if live.closed:
            return
        response = Response(
            live.request,
            live.model,
            live.version,
            failure=failure,
            admitted=admitted,
            position=live.position,
            lost=lost,
            ran=live.row is not None,
        )
        if self._order is None:
            self._hand_over(live, response, reason)
            return
        if admitted and reason != CANCELED:
            released = self._order.answer(live, response, reason)
        else:
            self._hand_over(live, response, reason)
            released = self._order.leave(live)
        for held in released:
            self._hand_over(*held)

    def _hand_over(self, live: LiveRequest, response: Response, reason: str) -> None:
        if live.closed:
            # Whoever was told of another's answer has cancelled this one.
            return
        response.index = live.index
        live.index += 1
        if response.final:
            live.closed = True
            del self.lives[live.number]
            duration_ns = self._host.now() - live.arrived_ns
            if response.failure is None:
                self._counters.success.add(duration_ns)
            elif response.admitted:
                self._counters.count_failure(reason, duration_ns)
            self.say_empty()
        live.sink(response)
