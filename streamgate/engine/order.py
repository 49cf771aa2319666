"""Keeps answers back so that they leave in the order of their requests, whoever is done first.

A request enters when its turn is settled: one without sequences when it arrives, one of a sequence
when its step begins. (A sequence that waits for a slot must hold up nobody: whom it waits for may
be waiting for an answer.) So each that has entered is answered some day, and nobody waits for ever.
"""

from collections import OrderedDict

from streamgate.engine.live import LiveRequest
from streamgate.model.config import DynamicBatching, ModelConfig, OldestStrategy
from streamgate.model.request import Response

Held = tuple[LiveRequest, Response, str]
"""An answer that may leave, and how it is counted if it is a failure."""


class AnswerOrder:
    """The requests that have entered, and the answers of those whose turn has not come.

    Bounded by the requests that the model may have under way. For models that answer each request
    once: those that answer often would be held up for as long as others go on.
    """

    def __init__(self) -> None:
        self._entered: OrderedDict[LiveRequest, Held | None] = OrderedDict()

    def enter(self, live: LiveRequest) -> None:
        """The request takes its turn. One that runs again keeps the turn that it has."""
        self._entered.setdefault(live)

    def answer(self, live: LiveRequest, response: Response, reason: str) -> list[Held]:
        """An answer is there: all that may leave now, in order."""
        held = (live, response, reason)
        if live not in self._entered:
            return [held]
        self._entered[live] = held
        return self._released()

    def leave(self, live: LiveRequest) -> list[Held]:
        """The request is answered out of turn: all that may leave for it, in order."""
        if live not in self._entered:
            return []
        del self._entered[live]
        return self._released()

    def _released(self) -> list[Held]:
        released: list[Held] = []
        for held in self._entered.values():
            if held is None:
                break
            released.append(held)
        for live, _, _ in released:
            del self._entered[live]
        return released


def order_for(config: ModelConfig) -> tuple[AnswerOrder | None, bool]:
    """What a model's `preserve_ordering` asks for, and whether requests enter as they arrive."""
    scheduling = config.scheduling
    if config.decoupled:
        return None, False
    if isinstance(scheduling, DynamicBatching):
        return (AnswerOrder() if scheduling.preserve_ordering else None), True
    sequences = config.sequences
    if sequences is not None and isinstance(sequences.strategy, OldestStrategy):
        return (AnswerOrder() if sequences.strategy.preserve_ordering else None), False
    return None, False
