"""Which step is to blame when engines are lost again and again.

A step is suspected that was under way in an engine which was lost, for the second time. If no
other is suspected of the same losses, it is guilty. If there are others, each is tried alone: one
sequence after the other goes on, step by step, until the step in question is answered, or its
engine is lost again, and then it is guilty.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from streamgate.session.durable.lane import Lane, Step

SUSPECTED_AFTER: Final = 2
"""Losses of an engine while a step ran there."""


@dataclass(slots=True)
class Judgement:
    """Who goes on now, and whose step is not run any more. Others wait for their trial."""

    free: list[Lane] = field(default_factory=list)
    guilty: list[Lane] = field(default_factory=list)


class Trials:
    """At most one lane is on trial at a time, the others wait for theirs."""

    def __init__(self) -> None:
        self._waiting: deque[Lane] = deque()
        self._on_trial: Lane | None = None

    def is_on_trial(self, lane: Lane) -> bool:
        return self._on_trial is lane

    def note_loss(self, lane: Lane, blamed: Step | None = None) -> None:
        """The lane was lost: which of its steps was under way, if none is `blamed` for it? Call it
        before the epoch rises."""
        step = blamed or _under_way(lane)
        if step is not None:
            step.losses += 1
            lane.suspect = step

    def judge(self, lost: Sequence[Lane]) -> Judgement:
        """What is to be done about lanes that were lost together."""
        judgement = Judgement()
        suspected = [lane for lane in lost if _is_suspected(lane)]
        for lane in lost:
            if not _is_suspected(lane):
                judgement.free.append(lane)
        alone = len(suspected) == 1 and self._on_trial is None and not self._waiting
        for lane in suspected:
            if alone or (lane is self._on_trial and _has_failed_its_trial(lane)):
                judgement.guilty.append(lane)
            elif lane is self._on_trial:
                judgement.free.append(lane)
            elif lane not in self._waiting:
                self._waiting.append(lane)
        following = self._next()
        if following is not None:
            judgement.free.append(following)
        return judgement

    def leave(self, lane: Lane) -> Lane | None:
        """The lane's trial is over, or it needs none any more. Returns who is next, if anybody."""
        if lane in self._waiting:
            self._waiting.remove(lane)
        if self._on_trial is not lane:
            return None
        self._on_trial = None
        return self._next()

    def _next(self) -> Lane | None:
        if self._on_trial is not None:
            return None
        while self._waiting:
            lane = self._waiting.popleft()
            if lane.tenancies and _is_suspected(lane):
                self._on_trial = lane
                return lane
        return None


def _is_suspected(lane: Lane) -> bool:
    return lane.suspect is not None and lane.suspect.losses >= SUSPECTED_AFTER


def _has_failed_its_trial(lane: Lane) -> bool:
    return lane.suspect is not None and lane.suspect.losses > SUSPECTED_AFTER


def _under_way(lane: Lane) -> Step | None:
    """The oldest step that an engine ran when it was lost."""
    for tenancy in lane.tenancies:
        for step in tenancy.log:
            if step.sent == tenancy.log.epoch and step.answered != step.sent:
                return step if step.lost is not None and step.lost.ran else None
    return None
