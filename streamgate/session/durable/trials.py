"""Which step is to blame when engines are lost again and again.

A step is suspected that was under way each time that an engine was lost, twice; three times where
nobody knows why the engine ended, since it may have been killed from outside. Losses that have
nothing to do with what ran there don't count. If no other step ran there each time, it is guilty.
If others did, each is tried alone: one sequence after the other goes on, step by step, until the
step in question is answered, or its engine is lost again, and then it is guilty.

An engine runs several models: their sequences have one court.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from streamgate.link.losses import Cause, Loss
from streamgate.session.durable.lane import Lane, Step

SUSPECTED_AFTER: Final = 2
"""Losses of an engine while a step ran there, of which at least one was its own fault."""

SUSPECTED_AFTER_UNEXPLAINED: Final = 3
"""If it is not known of any of them why."""

GoOn = Callable[[Lane], None]
"""Lets a lane go on whose trial begins."""


@dataclass(slots=True)
class Judgement:
    """Who goes on now, and whose step is not run any more. Others wait for their trial."""

    free: list[Lane] = field(default_factory=list)
    guilty: list[Lane] = field(default_factory=list)


class Trials:
    """At most one lane is on trial at a time, the others wait for theirs."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Lane, GoOn]] = deque()
        self._on_trial: Lane | None = None
        self._tried: Step | None = None
        self._counted_before = 0

    def is_on_trial(self, lane: Lane) -> bool:
        return self._on_trial is lane

    def note_loss(self, lane: Lane, loss: Loss, step: Step | None) -> None:
        """The lane was lost, while this step of it was under way, if any was."""
        if step is not None:
            loss.under_way.add(step)
            step.losses = (*step.losses, loss)
            lane.suspect = step

    @staticmethod
    def unexplained(lane: Lane) -> list[Loss]:
        """Losses of which has to be known first why, until the lane can be judged."""
        step = lane.suspect
        if step is None:
            return []
        may_count = [loss for loss in step.losses if loss.cause is not Cause.OUTSIDE]
        if len(may_count) < SUSPECTED_AFTER:
            return []
        return [loss for loss in may_count if loss.cause is None]

    def judge(self, lost: Sequence[Lane], go_on: GoOn) -> Judgement:
        """What is to be done about lanes that were lost together. `go_on` is for those of them that
        have to wait for their trial."""
        judgement = Judgement()
        for lane in lost:
            if not _is_suspected(lane):
                judgement.free.append(lane)
            elif self._is_guilty(lane):
                judgement.guilty.append(lane)
            elif lane is self._on_trial:
                judgement.free.append(lane)
            elif all(waiting is not lane for waiting, _ in self._waiting):
                self._waiting.append((lane, go_on))
        self._go_on()
        return judgement

    def leave(self, lane: Lane) -> None:
        """The lane's trial is over, or it needs none any more: the next one begins."""
        self._waiting = deque(each for each in self._waiting if each[0] is not lane)
        if self._on_trial is lane:
            self._on_trial = self._tried = None
            self._go_on()

    def _go_on(self) -> None:
        while self._on_trial is None and self._waiting:
            lane, go_on = self._waiting.popleft()
            if lane.tenancies and _is_suspected(lane):
                self._on_trial, self._tried = lane, lane.suspect
                self._counted_before = _counted(lane)
                go_on(lane)

    def _is_guilty(self, lane: Lane) -> bool:
        if lane is self._on_trial:
            return lane.suspect is self._tried and _counted(lane) > self._counted_before
        return self._on_trial is None and not self._waiting and _was_alone(lane)


def _counting(step: Step | None) -> list[Loss]:
    losses = step.losses if step is not None else ()
    return [loss for loss in losses if loss.cause is not Cause.OUTSIDE]


def _counted(lane: Lane) -> int:
    return len(_counting(lane.suspect))


def _is_suspected(lane: Lane) -> bool:
    losses = _counting(lane.suspect)
    is_own = any(loss.cause is Cause.ITS_OWN for loss in losses)
    return len(losses) >= (SUSPECTED_AFTER if is_own else SUSPECTED_AFTER_UNEXPLAINED)


def _was_alone(lane: Lane) -> bool:
    """Whether no other step was under way there each time."""
    others = set.intersection(*(loss.under_way for loss in _counting(lane.suspect)))
    return others <= {lane.suspect}
