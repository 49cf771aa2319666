"""Answers that models give on their own, from any thread: before, or after, their step is over."""

from collections.abc import Callable
from functools import partial

from streamgate.core.commands import Row
from streamgate.engine.delivery import Delivery
from streamgate.engine.host import Host
from streamgate.engine.live import LiveRequest
from streamgate.engine.pressure import Pressure
from streamgate.model.request import Response


class LateAnswers:
    """Brings them to the host's thread. `on_delivered` is told there of each, with the row as which
    its request ran, and whether it was news to the client."""

    def __init__(self, host: Host, pressure: Pressure | None, delivery: Delivery) -> None:
        self._host = host
        self._pressure = pressure
        self._delivery = delivery
        self.on_delivered: Callable[[LiveRequest, Row, Response, bool], None] = _nobody

    def deliver(self, live: LiveRequest, response: Response) -> None:
        """From any thread, while or after the step runs. Waits where `Pressure` says so."""
        if self._pressure is not None:
            self._pressure.enter(live)
        self._host.post(partial(self._deliver, live, response))

    def _deliver(self, live: LiveRequest, response: Response) -> None:
        if self._pressure is not None:
            self._pressure.take(live)
        row = live.row
        is_news = not live.closed
        self._delivery.deliver(live, response)
        if row is not None:
            self.on_delivered(live, row, response, is_news)


def _nobody(live: LiveRequest, row: Row, response: Response, is_news: bool) -> None:
    del live, row, response, is_news
