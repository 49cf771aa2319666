"""Whose slot is given to somebody who waits for one. Knows no commands and moves nobody.

Nobody is asked to go while nobody waits. Otherwise as many go as wait:

- first those that have been idle for `idle_ns`, the longest idle one first;
- once the first in the backlog has waited for `turn_ns`, those that have had their slot for
  `turn_ns`, the longest seated one first, busy or not: after the step that runs. Whoever has
  something to run has a step before.

A sequence that went while it had requests waits in the backlog behind all others. So with n slots
whose sequences can be moved, who has k others before it in the backlog waits at most for
`longest_wait_ns`, however busy the others are. Slots do not count while their sequence can't be
moved: its START has not run, what it has is pinned, its model owes it answers of earlier steps, or
its instance is away.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import final

from streamgate.core.ids import NO_REQUEST, Ns
from streamgate.core.sequence import Sequence
from streamgate.core.timers import Countdown


@final
class Turns:
    """`rested` runs while a sequence is idle, `seated` while it has its slot."""

    def __init__(self, idle_ns: int, turn_ns: int) -> None:
        self.turn_ns = turn_ns
        self.rested: Countdown[Sequence] = Countdown(idle_ns)
        self.seated: Countdown[Sequence] = Countdown(turn_ns)

    def choose(
        self, wanted: int, since: Ns, now: Ns, is_useful: Callable[[Sequence], bool]
    ) -> dict[Sequence, bool]:
        """At most so many to evict now, where the first in the backlog has waited since then: true
        for those who may stay if a step of them comes, which is so until their turn is over.

        `is_useful` tells whether others could have a sequence's slot.
        """
        turns_end = now >= since + self.turn_ns
        chosen: dict[Sequence, bool] = {}
        for sequence in self._candidates(now, turns_end=turns_end):
            if len(chosen) >= wanted:
                break
            if _is_movable(sequence) and is_useful(sequence):
                chosen[sequence] = not (turns_end and self.seated.is_due(sequence, now))
        return chosen

    def _candidates(self, now: Ns, *, turns_end: bool) -> Iterator[Sequence]:
        yield from self.rested.due_by(now)
        if turns_end:
            yield from self.seated.due_by(now)

    def next_at(self, since: Ns, now: Ns) -> Ns | None:
        """When time alone will make one a candidate that is none now."""
        patient_until = Ns(since + self.turn_ns)
        times: Iterable[Ns | None] = (
            patient_until if patient_until > now else None,
            self.rested.next_after(now),
            self.seated.next_after(now),
        )
        return min((at for at in times if at is not None), default=None)


def longest_wait_ns(turn_ns: int, step_ns: int, copy_ns: int, before: int, slots: int) -> int:
    """What who waits behind `before` others has to wait at most. In each round `slots` of them get
    theirs: a turn is over, a step that has just begun comes back, perhaps one more that was waited
    for, a copy that is not needed any more is made, the one state goes and the next comes, behind
    another step each."""
    return (before // slots + 2) * (turn_ns + 5 * step_ns + 3 * copy_ns)


def _is_movable(sequence: Sequence) -> bool:
    if sequence.steps == 0 and sequence.queue and not sequence.queue[0].paused:
        return False  # it came for that step
    return not (
        sequence.fresh
        or sequence.held
        or sequence.pinned
        or sequence.eviction is not None
        or sequence.hand_over != NO_REQUEST
    )
