"""What a front end refuses of an engine that it has given up."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, final

from streamgate.link.messages import HandedOver, Snapped
from streamgate.link.stale import StaleCounts, Version
from streamgate.link.steps import Result
from streamgate.model.snapshot import Snapshot

log = logging.getLogger(__name__)


@final
class Refusals:
    """Counts for one connection: results and snapshots are stale, the rest is nothing. `models` and
    `questions` tell which version the number of a model, or of a request, stands for."""

    def __init__(
        self,
        engine: str,
        counts: StaleCounts,
        models: Mapping[int, Version],
        questions: Mapping[int, Version],
    ) -> None:
        self._engine = engine
        self._counts = counts
        self._models = models
        self._questions = questions
        self._results = 0
        self._snapshots = 0

    def noted(self) -> dict[type, Callable[[Any], None]]:
        """What is done about messages, by class."""
        return {
            Result: self._note_result,
            Snapped: self._note_snapped,
            HandedOver: self._note_handed_over,
        }

    def tell(self, why: str) -> None:
        """The connection is over."""
        log.log(
            logging.WARNING if self._results or self._snapshots else logging.INFO,
            "the engine at %s that was given up: %s; %d results and %d snapshots were refused",
            *(self._engine, why, self._results, self._snapshots),
        )

    def _note_result(self, result: Result) -> None:
        self._results += 1
        self._counts.note_result(self._questions.get(result.number))

    def _note_snapped(self, snapped: Snapped) -> None:
        self._snapshots += 1
        self._counts.note_snapshot(self._models.get(snapped.model))

    def _note_handed_over(self, handed_over: HandedOver) -> None:
        if isinstance(handed_over.outcome, Snapshot):
            self._snapshots += 1
            self._counts.note_snapshot(self._questions.get(handed_over.number))
