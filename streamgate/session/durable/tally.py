"""How lost sequences have gone on, in one line of the log for all that were lost together."""

import logging
from typing import final

from streamgate.session.durable.lane import Lane

log = logging.getLogger(__name__)


@final
class Tally:
    """Of one model. It tells when none is waited for any more."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._waited_for: dict[Lane, None] = {}
        self._seconds: list[float] = []

    def wait_for(self, lane: Lane) -> None:
        """It was lost, or is to move."""
        self.look()
        self._waited_for[lane] = None

    def note(self, lane: Lane, seconds: float) -> None:
        """It goes on, so long after that."""
        self._waited_for.pop(lane, None)
        self._seconds.append(seconds)
        self.look()

    def look(self) -> None:
        """Tell, unless some are waited for still: those that are over are not."""
        while self._waited_for:
            lane = next(iter(self._waited_for))
            if lane.tenancies and lane.is_recovering:
                return
            del self._waited_for[lane]
        if self._seconds:
            log.info(
                "%d sequences of model '%s' go on, after %.3f to %.3f s",
                *(len(self._seconds), self._model, min(self._seconds), max(self._seconds)),
            )
            self._seconds.clear()
