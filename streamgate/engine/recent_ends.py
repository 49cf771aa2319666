"""Why sequences ended that somebody may still send to: the newest ones that ended before their END.

A client that finds its sequence gone is told the reason beside Triton's text.
"""

from collections import OrderedDict
from typing import Final

from streamgate.errors import EndReason
from streamgate.model.request import SequenceKey

LIMIT: Final = 1_024
"""So many sequences are remembered of each model version."""

_EXPECTED = (EndReason.CLIENT_END, EndReason.SUPERSEDED)
_ELSEWHERE = (EndReason.ENGINE_LOST, None)


class RecentEnds:
    """The reasons by correlation ID. Those who did not end but left count, too."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._reasons: OrderedDict[SequenceKey, EndReason | None] = OrderedDict()

    def note(self, key: SequenceKey, reason: EndReason) -> None:
        """A sequence ended."""
        self.forget(key)
        if reason not in _EXPECTED:
            self._add(key, reason)

    def note_moved(self, key: SequenceKey) -> None:
        """A sequence left, or could not come: it lives elsewhere, if at all."""
        self.forget(key)
        self._add(key, None)

    def _add(self, key: SequenceKey, reason: EndReason | None) -> None:
        self._reasons[key] = reason
        if len(self._reasons) > self._limit:
            self._reasons.popitem(last=False)

    def forget(self, key: SequenceKey) -> None:
        """A new sequence of the ID begins."""
        self._reasons.pop(key, None)

    def is_lost(self, key: SequenceKey) -> bool:
        """Whether the ID's last sequence lost its state or left, so that what is sent to it may be
        run elsewhere."""
        return key in self._reasons and self._reasons[key] in _ELSEWHERE

    def reason_of(self, key: SequenceKey) -> EndReason | None:
        """Why the ID's last sequence ended, if it did and that is remembered."""
        return self._reasons.get(key)
