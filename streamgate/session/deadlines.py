"""When the sequences that are being drained will end: told with each of their responses, for
clients that can't be told otherwise."""

import time
from collections.abc import Callable
from typing import Final, final

from streamgate.errors import EndWarning
from streamgate.model.request import Response, SequenceKey

DRAIN_PARAMETER: Final = "streamgate_drain_seconds_left"


@final
class Deadlines:
    """Those of one model version. `now` is a clock in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._due: dict[SequenceKey, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def note(self, key: SequenceKey, warning: EndWarning) -> None:
        """A sequence will end."""
        if warning.is_drain:
            self._due[key] = self._now() + warning.seconds_left

    def forget(self, key: SequenceKey) -> None:
        """It has ended, or goes on elsewhere."""
        self._due.pop(key, None)

    def say(self, response: Response) -> None:
        """Put the time that is left into the parameters of a response of such a sequence."""
        due = self._due.get(response.request.sequence)
        if due is not None:
            left = round(max(0.0, due - self._now()), 3)
            response.parameters = {**response.parameters, DRAIN_PARAMETER: left}
