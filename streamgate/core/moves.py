"""How sequences come from elsewhere and leave for it, and how slots change hands.

Knows no steps and no states: those are copied by who is told to, and say so when they are.
"""

from typing import final

from streamgate.core.commands import (
    Command,
    HandOverRefused,
    Rejection,
    RestoreRefused,
    SequenceStays,
)
from streamgate.core.endings import Endings
from streamgate.core.events import Arrived, Copied, HandOver, Hibernate, NotCopied, Restore
from streamgate.core.ids import NO_REQUEST, InstanceIndex, Ns
from streamgate.core.instance import Instance
from streamgate.core.sequence import Eviction, Sequence
from streamgate.core.tenancies import Tenancies
from streamgate.core.turns import Turns
from streamgate.errors import EndReason


@final
class Moves:
    """Sequences whose state is on its way in or out. `can_move` is false where a model names its
    sequences itself, which nobody else could then ask for. Commands go to `out`."""

    def __init__(
        self,
        tenancies: Tenancies,
        endings: Endings,
        instances: dict[InstanceIndex, Instance],
        out: list[Command],
        *,
        can_move: bool,
    ) -> None:
        self._tenancies = tenancies
        self._endings = endings
        self._instances = instances
        self._out = out
        self._can_move = can_move
        self._turns: Turns | None = None

    def restore(self, event: Restore, no_starts: Rejection | None, now: Ns) -> None:
        """Let a sequence in, unless no new ones are, for this reason."""
        reason = no_starts
        if not self._can_move:
            reason = Rejection.NOTHING_TO_RESERVE
        elif not event.sequence:
            reason = Rejection.NO_CORRELATION_ID
        elif reason is None:
            newest = self._tenancies.roster.newest(event.sequence)
            if newest is not None and newest.open:
                reason = Rejection.SEQUENCE_LIVES
        if reason is not None:
            self._out.append(RestoreRefused(event.request, reason))
            return
        sequence = self._tenancies.restore(event.sequence, event.request, now)
        self._tenancies.roster.note_owner(sequence, event.owner)

    def arrive(self, event: Arrived, now: Ns) -> None:
        """The state that came has been put in its slot, or could not be."""
        sequence = self._tenancies.coming.get(event.request)
        if sequence is None:
            return
        assert sequence.slot is not None, "it came before it was asked for"
        if event.failed:
            self._endings.finish(sequence, EndReason.ENGINE_LOST, Rejection.RESTORE_FAILED, now)
        else:
            del self._tenancies.coming[event.request]
            sequence.restores = NO_REQUEST
            sequence.held = False
            self._tenancies.settle(sequence, now)

    def hand_over(self, event: HandOver, now: Ns) -> None:
        """Let the newest sequence of an ID leave."""
        sequence = self._tenancies.roster.newest(event.sequence)
        if sequence is None or not sequence.open or sequence.reserved or not self._can_move:
            self._out.append(HandOverRefused(event.request))
            return
        sequence.hand_over = event.request
        sequence.open = False
        self._leave_if_at_rest(sequence, now)

    def copied(self, event: Copied, now: Ns) -> None:
        """The state of one that was to go is copied."""
        sequence = self._find(event)
        if sequence is None or not self._may_go(sequence):
            self._out.append(SequenceStays(event.instance, event.slot, event.generation))
        elif sequence.queue:
            self._tenancies.park(sequence, event.request, now)
            return
        else:
            self._tenancies.leave(sequence, now)
            return
        if sequence is not None:
            sequence.eviction = None
            self._go_on(sequence, now)

    def not_copied(self, event: NotCopied, now: Ns) -> None:
        """The state of one that was to go could not be had."""
        sequence = self._find(event)
        if sequence is None:
            return
        if sequence.hand_over != NO_REQUEST and sequence.eviction is None:
            # Who asked for it is told by whoever could not copy it.
            sequence.hand_over = NO_REQUEST
            sequence.open = not sequence.followed
            if not sequence.open and sequence.closing is None:
                sequence.closing = EndReason.SUPERSEDED
        sequence.pinned = event.for_ever
        self._tenancies.wait_again(sequence, now)
        self._go_on(sequence, now)

    def hibernate(self, event: Hibernate, now: Ns) -> None:
        """From now on slots change hands."""
        if self._turns is None and self._can_move:
            self._turns = Turns(event.idle_ns, event.turn_ns)
            self._tenancies.take_turns(self._turns, now)

    def evict(self, now: Ns) -> None:
        """Tell those to go whose slots are wanted."""
        if self._turns is None:
            return
        since, wanted = self._tenancies.backlog.first_since, self._wanted
        if since is None or wanted <= 0:
            return
        chosen = self._turns.choose(wanted, since, now, self._is_useful)
        for sequence, may_stay in chosen.items():
            if may_stay:
                self._tenancies.hibernate(sequence)
            else:
                self._tenancies.preempt(sequence)

    def next_at(self, now: Ns) -> Ns | None:
        """When time alone will make somebody go."""
        if self._turns is None:
            return None
        since = self._tenancies.backlog.first_since
        if since is None or self._wanted <= 0:
            return None
        return self._turns.next_at(since, now)

    @property
    def _wanted(self) -> int:
        """How many slots are wanted beyond those that will be free soon."""
        return self._tenancies.backlog.eligible - self._tenancies.going_soon()

    def _is_useful(self, sequence: Sequence) -> bool:
        assert sequence.slot is not None
        return self._instances[sequence.slot.instance].member.takes

    def _find(self, event: Copied | NotCopied) -> Sequence | None:
        """Who is in this slot, if it is still the tenant that was to go."""
        handle = event.instance, event.slot, event.generation
        sequence = self._tenancies.going.pop(handle)
        slot = sequence.slot
        if sequence.over or slot is None:
            return None
        return sequence if slot.generation == event.generation else None

    def _may_go(self, sequence: Sequence) -> bool:
        if sequence.running is not None or sequence.eviction is Eviction.CALLED_OFF:
            return False
        if sequence.eviction is Eviction.HIBERNATING:
            return not sequence.queue and sequence.closing is None
        return bool(sequence.queue) or sequence.closing is None

    def _go_on(self, sequence: Sequence, now: Ns) -> None:
        """What held up its steps, or kept it from leaving, is over."""
        if sequence.held and sequence.restores == NO_REQUEST:
            sequence.held = False
            self._tenancies.settle(sequence, now)
        elif sequence.hand_over != NO_REQUEST:
            self._leave_if_at_rest(sequence, now)

    def _leave_if_at_rest(self, sequence: Sequence, now: Ns) -> None:
        """One that is to leave has nothing to wait for, if it has a slot and no more to run."""
        if sequence.slot is not None and sequence.running is None and not sequence.queue:
            self._tenancies.rouse(sequence)
            self._tenancies.settle(sequence, now)
