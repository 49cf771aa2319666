"""The place of each request in its sequence: 0 for START, then one more for each request.

One table for each model version, whatever connection a sequence's requests come over. Also knows
who is to be told when a sequence ends.
"""

from collections.abc import Callable
from dataclasses import dataclass

from streamgate.errors import EndReason
from streamgate.model.request import Request, SequenceKey

EndListener = Callable[[SequenceKey, EndReason], None]


@dataclass(slots=True)
class _Live:
    """`tenancies` counts STARTs of this ID whose sequences have not ended yet."""

    next_position: int = 0
    tenancies: int = 0
    listener: EndListener | None = None


class Positions:
    """The live sequences of one model version."""

    def __init__(self) -> None:
        self._live: dict[SequenceKey, _Live] = {}

    def assign(self, request: Request, listener: EndListener | None) -> int:
        """The request's position; -1 for one that belongs to no sequence, or to none that lives.

        The listener of a sequence's newest request is told of its end.
        """
        key = request.sequence
        live = self._live.get(key)
        if request.start:
            if live is None:
                live = self._live[key] = _Live()
            live.next_position = 0
            live.tenancies += 1
        elif live is None:
            return -1
        live.listener = listener
        position = live.next_position
        live.next_position += 1
        return position

    def refuse(self, request: Request) -> None:
        """The scheduler did not admit this request after all."""
        live = self._live.get(request.sequence)
        if live is None or not request.start:
            return
        live.tenancies -= 1
        if live.tenancies <= 0:
            del self._live[request.sequence]

    def end(self, key: SequenceKey, reason: EndReason) -> None:
        """A sequence ended: tell its listener."""
        live = self._live.get(key)
        if live is None:
            return
        live.tenancies -= 1
        listener = live.listener
        if live.tenancies <= 0:
            del self._live[key]
        if listener is not None:
            listener(key, reason)

    def __len__(self) -> int:
        return len(self._live)
