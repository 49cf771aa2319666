"""One request's way to the gateway and its responses' way back. Knows no transport."""

from __future__ import annotations

import asyncio
from typing import final

from streamgate.model.request import Request, Response
from streamgate.session.gateway import Gateway, ResponseSink


@final
class Exchange:
    """A request under way, over a gateway connection of its own.

    The connection is closed with the last response; a sequence that the request belongs to goes
    on, as its next request may come over any connection.
    """

    __slots__ = ("_call", "_connection", "_is_done", "_sink")

    def __init__(self, gateway: Gateway, request: Request, sink: ResponseSink) -> None:
        """Raises StreamGateError for what can be told at once."""
        self._sink: ResponseSink | None = sink
        self._is_done = False
        self._connection = gateway.connect()
        try:
            self._call = self._connection.submit(request, self._receive)
        except BaseException:
            self._connection.close(abort=False)
            raise

    def pause(self) -> None:
        """The client reads more slowly than responses come."""
        self._connection.pause()

    def resume(self) -> None:
        """It has caught up."""
        self._connection.resume()

    def cancel(self) -> None:
        """The client has gone: cancel what is still to come, and tell nobody. Idempotent."""
        self._sink = None
        if not self._is_done:
            self._call.cancel()

    def _receive(self, response: Response) -> None:
        if response.final:
            self._is_done = True
            self._connection.close(abort=False)
        if self._sink is not None:
            self._sink(response)


async def exchange_one(gateway: Gateway, request: Request) -> tuple[Response | None, int]:
    """The first response to a request and how many there were, once the last has come.

    A response that only ends a decoupled request does not count. Cancelling the task cancels the
    request. Raises StreamGateError for what can be told at once.
    """
    first: Response | None = None
    count = 0
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def receive(response: Response) -> None:
        nonlocal first, count
        if not response.empty:
            count += 1
            if first is None:
                first = response
        if response.final and not done.done():
            done.set_result(None)

    exchange = Exchange(gateway, request, receive)
    try:
        await done
    finally:
        exchange.cancel()
    return first, count
