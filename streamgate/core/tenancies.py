"""Who holds a slot, who waits for one, and how it ends.

Every START that is let in leads to one tenancy of a slot, or to none if it is given up before;
either way one SequenceEnded follows. A reservation is a tenancy to which the START comes later.
Knows no steps: of instances it sees the line-ups only.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import final

from streamgate.core.backlog import Backlog
from streamgate.core.commands import (
    Command,
    Evict,
    HandOverRefused,
    IdleWarning,
    Leave,
    SequenceEnded,
    SequenceLeft,
    SequenceParked,
    SlotTaken,
)
from streamgate.core.ids import (
    NO_GENERATION,
    NO_INSTANCE,
    NO_REQUEST,
    NO_SLOT,
    Generation,
    InstanceIndex,
    Ns,
    RequestNumber,
    SlotIndex,
)
from streamgate.core.instance import Instance
from streamgate.core.roster import Roster
from streamgate.core.scheduler import SlotHolder
from streamgate.core.sequence import Eviction, Sequence
from streamgate.core.slots import Slot, SlotPool
from streamgate.core.timers import Countdown, Timers
from streamgate.core.turns import Turns
from streamgate.errors import EndReason
from streamgate.model.config import SequenceBatching
from streamgate.model.request import SequenceKey

Handle = tuple[InstanceIndex, SlotIndex, Generation]
"""One tenancy of a slot."""


@final
class Tenancies:
    """The sequences of a model and their way from START to SequenceEnded.

    Commands go to `out`. An instance may have `limit` tenants, if that is less than its slots. A
    sequence is idle from the moment at which nothing of it is queued or
    running any more. `idle` runs until its end, or until the warning of it; `warned` from there to
    the end. `lifetime` runs from its START's arrival, or from the moment at which a START takes
    over. Both count from its reservation if it has one. `countdowns` are those of the three that
    the rules ask for. `coming` are those whose state comes from elsewhere, by its number, `going`
    those whose state is being copied, until it is, whatever has become of them.
    """

    def __init__(
        self,
        rules: SequenceBatching,
        slots: int,
        instances: Mapping[InstanceIndex, Instance],
        timers: Timers[object],
        out: list[Command],
        limit: Callable[[InstanceIndex], int] | None = None,
    ) -> None:
        self.roster = Roster()
        self.backlog = Backlog(rules.max_backlog, timers)
        self.slots = SlotPool(slots, limit)
        self.idle: Countdown[Sequence] = Countdown(rules.max_idle_ns - rules.idle_warning_ns)
        self.warned: Countdown[Sequence] | None = None
        self.lifetime: Countdown[Sequence] | None = None
        self.countdowns = [self.idle]
        if rules.idle_warning_ns > 0:
            self.warned = Countdown(rules.idle_warning_ns)
            self.countdowns.append(self.warned)
        if rules.max_lifetime_ns > 0:
            self.lifetime = Countdown(rules.max_lifetime_ns)
            self.countdowns.append(self.lifetime)
        self._warning_ns = rules.idle_warning_ns
        self._has_idle_limit = rules.max_idle_ns > 0
        self._instances = instances
        self._out = out
        self.coming: dict[RequestNumber, Sequence] = {}
        self.going: dict[Handle, Sequence] = {}
        self._opened = 0
        self._held = False
        self._evicted: set[Sequence] = set()
        self.turns: Turns | None = None

    def open(self, key: SequenceKey, now: Ns) -> Sequence | None:
        """A new sequence, in a slot or in the backlog; None when it must wait and may not."""
        slot = None if self.roster.newest(key) is not None else self.slots.take()
        if slot is None and self.backlog.is_full:
            return None
        return self._open(key, slot, now)

    def restore(self, key: SequenceKey, number: RequestNumber, now: Ns) -> Sequence:
        """A sequence whose state comes by this number, in a slot or in the backlog."""
        slot = None if self.roster.newest(key) is not None else self.slots.take()
        return self._open(key, slot, now, number)

    def reserve(self, key: SequenceKey, now: Ns) -> Sequence | None:
        """A new sequence without a START, in a slot; None for no free one. Its ID has no other."""
        slot = self.slots.take()
        if slot is None:
            return None
        sequence = self._open(key, slot, now)
        sequence.reserved = True
        self.settle(sequence, now)
        return sequence

    def _open(
        self,
        key: SequenceKey,
        slot: Slot | None,
        now: Ns,
        restores: RequestNumber = NO_REQUEST,
    ) -> Sequence:
        self._opened += 1
        sequence = Sequence(key, self._opened, now)
        if restores != NO_REQUEST:
            sequence.fresh = False
            sequence.restores = restores
            self.coming[restores] = sequence
        self.roster.add(sequence)
        if self.lifetime is not None:
            self.lifetime.start(sequence, now)
        if slot is None:
            self.backlog.add(sequence)
        else:
            self._seat(sequence, slot, now)
        return sequence

    def settle(self, sequence: Sequence, now: Ns) -> None:
        """A sequence with a slot is neither running nor in a line-up: what is next for it?"""
        assert sequence.slot is not None
        if sequence.held:
            return
        if sequence.eviction is Eviction.DUE:
            sequence.eviction = None
            if self.backlog.eligible > self.going_soon():
                self._preempt(sequence)
                return
        if sequence.queue:
            if not sequence.queue[0].paused:
                self._instances[sequence.slot.instance].add(sequence, now)
        elif sequence.closing is not None:
            self.end(sequence, sequence.closing, now)
        elif sequence.hand_over != NO_REQUEST:
            if sequence.eviction is None:  # else it is being copied already
                self._say_leave(sequence)
        else:
            self._rest(sequence, now)

    def _rest(self, sequence: Sequence, now: Ns) -> None:
        if self._has_idle_limit:
            self.idle.start(sequence, now)
        if self.turns is not None:
            self.turns.rested.start(sequence, now)

    def rouse(self, sequence: Sequence) -> None:
        """A sequence is not idle, if it was."""
        self.idle.stop(sequence)
        if self.warned is not None:
            self.warned.stop(sequence)
        if self.turns is not None:
            self.turns.rested.stop(sequence)

    def touch(self, key: SequenceKey, now: Ns) -> None:
        """Let a sequence that is idle be so from now on."""
        sequence = self.roster.newest(key)
        if sequence is None or sequence.slot is None or sequence.running is not None:
            return
        if not sequence.queue and sequence.closing is None and not sequence.held:
            self.rouse(sequence)
            self._rest(sequence, now)
            sequence.active_at = now
            if sequence.eviction is Eviction.HIBERNATING:
                sequence.eviction = Eviction.CALLED_OFF

    def holders(self, limit: int, only: Collection[SequenceKey] | None) -> list[SlotHolder]:
        """Who holds a slot, the first `limit` of all or of these IDs."""
        sequences: Iterator[Sequence | None] = iter(self.roster)
        if only is not None:
            sequences = (self.roster.oldest(key) for key in only)
        return list(islice((_holder(each) for each in sequences if each and each.slot), limit))

    def withdraw(self, sequence: Sequence) -> None:
        """Take a sequence out of its line-up, if it is in one."""
        if sequence.is_ready:
            assert sequence.slot is not None
            self._instances[sequence.slot.instance].remove(sequence)

    def pass_on(self, sequence: Sequence, reason: EndReason, now: Ns) -> None:
        """End the present tenancy and give its slot, or its place, to the START at the front."""
        start = sequence.queue[0]
        assert start.start
        self._say_ended(sequence, reason)
        self._move_no_more(sequence)
        sequence.later_starts -= 1
        sequence.fresh = True
        sequence.arrived_at = start.arrived_at
        if self.lifetime is not None:
            self.lifetime.stop(sequence)
            self.lifetime.start(sequence, now)
        if sequence.slot is not None:
            sequence.slot.renew()
            self._say_taken(sequence, sequence.slot, now)

    def drop_later_starts(
        self, sequence: Sequence, places: Iterable[int], reason: EndReason
    ) -> None:
        """STARTs left the queue, which never had a slot: each by the number of the sequence's
        tenancies in front of it."""
        before = _tenancies_before(sequence)
        for place in places:
            self._out.append(
                SequenceEnded(
                    sequence.key, NO_INSTANCE, NO_SLOT, NO_GENERATION, reason, before + place
                )
            )

    def end(self, sequence: Sequence, reason: EndReason, now: Ns) -> None:
        """The sequence is over: nothing of it is queued or running."""
        assert not sequence.queue
        assert sequence.running is None
        self._say_ended(sequence, reason)
        if sequence.hand_over != NO_REQUEST:
            self._out.append(HandOverRefused(sequence.hand_over))
        self._remove(sequence, now)

    def leave(self, sequence: Sequence, now: Ns) -> None:
        """The sequence is not here any more: nothing of it is queued or running."""
        assert not sequence.queue
        assert sequence.running is None
        slot = sequence.slot
        assert slot is not None
        self._out.append(
            SequenceLeft(
                sequence.hand_over, sequence.key, slot.instance, slot.index, slot.generation
            )
        )
        self._remove(sequence, now)

    def park(self, sequence: Sequence, number: RequestNumber, now: Ns) -> None:
        """The sequence, of which nothing runs, gives its slot to others and waits for one behind
        them. Its state has this number meanwhile."""
        slot = sequence.slot
        assert slot is not None
        self._out.append(SequenceParked(sequence.key, slot.instance, slot.index, slot.generation))
        if self.turns is not None:
            self.turns.seated.stop(sequence)
        self._move_no_more(sequence)
        sequence.restores = number
        self.coming[number] = sequence
        sequence.slot = None
        sequence.arrived_at = now
        self._opened += 1
        sequence.order = self._opened
        self.backlog.add(sequence)
        self._vacate(slot)
        self._fill(now)

    def _remove(self, sequence: Sequence, now: Ns) -> None:
        sequence.over = True
        self._move_no_more(sequence)
        for countdown in self.countdowns:
            countdown.stop(sequence)
        if self.turns is not None:
            self.turns.rested.stop(sequence)
            self.turns.seated.stop(sequence)
        successor = sequence.successor if sequence.predecessor is None else None
        self.roster.remove(sequence)
        if sequence.slot is None:
            self.backlog.remove(sequence)
        else:
            self._vacate(sequence.slot)
        if successor is not None:
            self.backlog.admit(successor)
        self._fill(now)

    def _move_no_more(self, sequence: Sequence) -> None:
        """What was to become of the state of its present tenancy is of no interest. To be handed
        over is the lot of whoever is its last tenant."""
        self.coming.pop(sequence.restores, None)
        sequence.restores = NO_REQUEST
        sequence.held = sequence.pinned = False
        sequence.eviction = None

    def expire_idle(self, now: Ns) -> None:
        """End what was idle for too long, and warn of it before."""
        idle = self.idle
        if self.warned is not None:
            while (due_at := idle.next_at()) is not None and due_at <= now:
                sequence = idle.pop_due(now)
                assert sequence is not None
                self.warned.start(sequence, due_at)
                self._warn(sequence, Ns(due_at + self._warning_ns - now))
            idle = self.warned
        while (sequence := idle.pop_due(now)) is not None:
            self.end(sequence, EndReason.IDLE, now)

    def _warn(self, sequence: Sequence, left_ns: Ns) -> None:
        slot = sequence.slot
        assert slot is not None
        # One that wakes up too late has no warning left to give.
        if left_ns > 0:
            self._out.append(
                IdleWarning(sequence.key, slot.instance, slot.index, slot.generation, left_ns)
            )

    def take_turns(self, turns: Turns, now: Ns) -> None:
        """From now on slots may change hands while their sequences live."""
        assert self.turns is None
        self.turns = turns
        seated = [each for each in self.roster if each.slot is not None]
        for sequence in sorted(seated, key=lambda each: each.seated_at):
            turns.seated.start(sequence, now)
            if not sequence.queue and sequence.running is None and not sequence.held:
                turns.rested.start(sequence, now)

    def going_soon(self) -> int:
        """How many slots will be free soon, as their sequences were told to go."""
        gone = [each for each in self._evicted if each.eviction in {None, Eviction.CALLED_OFF}]
        self._evicted.difference_update(gone)
        return len(self._evicted)

    def hibernate(self, sequence: Sequence) -> None:
        """Somebody else wants the slot of this sequence, which is idle: it goes, if no step comes
        before its state is copied."""
        sequence.eviction = Eviction.HIBERNATING
        self._evicted.add(sequence)
        self._say_evict(sequence)

    def preempt(self, sequence: Sequence) -> None:
        """Somebody else wants the slot of this sequence, whose turn is over: it goes, as soon as
        its running step is over."""
        if sequence.running is not None:
            sequence.eviction = Eviction.DUE
            self._evicted.add(sequence)
        else:
            self.withdraw(sequence)
            self._preempt(sequence)

    def wait_again(self, sequence: Sequence, now: Ns) -> None:
        """A sequence could not be moved, or need not be any more: it has another turn."""
        sequence.eviction = None
        if self.turns is None:
            return
        self.turns.seated.stop(sequence)
        self.turns.seated.start(sequence, now)
        if sequence in self.turns.rested:
            self.turns.rested.stop(sequence)
            self.turns.rested.start(sequence, now)

    def _preempt(self, sequence: Sequence) -> None:
        self.rouse(sequence)
        sequence.eviction = Eviction.PREEMPTED
        self._evicted.add(sequence)
        sequence.held = True
        self._say_evict(sequence)

    def hold(self) -> None:
        """Free slots stay free until `fill`: some who wait for one are about to go, too."""
        self._held = True

    def fill(self, now: Ns) -> None:
        """Give free slots to the sequences whose turn it is, now and from now on."""
        self._held = False
        self._fill(now)

    def fill_room(self, now: Ns) -> None:
        """The same where instances may have come to have room for more."""
        if len(self.backlog):
            self._fill(now)

    def _fill(self, now: Ns) -> None:
        while self.slots.free and not self._held:
            sequence = self.backlog.pop()
            if sequence is None:
                return
            slot = self.slots.take()
            assert slot is not None
            self._seat(sequence, slot, now)
            self.settle(sequence, now)

    def _vacate(self, slot: Slot) -> None:
        self.slots.release(slot)
        instance = self._instances[slot.instance]
        if instance.member.departure is not None:
            # It may have nothing left now.
            instance.touch()

    def _seat(self, sequence: Sequence, slot: Slot, now: Ns) -> None:
        sequence.slot = slot
        self._say_taken(sequence, slot, now)

    def _say_taken(self, sequence: Sequence, slot: Slot, now: Ns) -> None:
        sequence.seated_at = sequence.active_at = now
        sequence.steps = 0
        self._instances[slot.instance].lineup.renew(slot)
        if self.turns is not None:
            self.turns.seated.stop(sequence)
            self.turns.seated.start(sequence, now)
        sequence.held = sequence.restores != NO_REQUEST
        self._out.append(
            SlotTaken(
                sequence.key,
                slot.instance,
                slot.index,
                slot.generation,
                Ns(now - sequence.arrived_at),
                sequence.restores,
            )
        )

    def _say_leave(self, sequence: Sequence) -> None:
        self.rouse(sequence)
        sequence.held = True
        slot = sequence.slot
        assert slot is not None
        handle = slot.instance, slot.index, slot.generation
        self.going[handle] = sequence
        self._out.append(Leave(sequence.hand_over, sequence.key, *handle))

    def _say_evict(self, sequence: Sequence) -> None:
        slot = sequence.slot
        assert slot is not None
        handle = slot.instance, slot.index, slot.generation
        self.going[handle] = sequence
        self._out.append(Evict(sequence.key, *handle))

    def _say_ended(self, sequence: Sequence, reason: EndReason) -> None:
        slot = sequence.slot
        if slot is None:
            self._out.append(
                SequenceEnded(
                    sequence.key,
                    NO_INSTANCE,
                    NO_SLOT,
                    NO_GENERATION,
                    reason,
                    _tenancies_before(sequence),
                    restores=sequence.restores,
                )
            )
        else:
            self._out.append(
                SequenceEnded(
                    sequence.key,
                    slot.instance,
                    slot.index,
                    slot.generation,
                    reason,
                    reserved=sequence.reserved,
                    restores=sequence.restores,
                )
            )


def _holder(sequence: Sequence) -> SlotHolder:
    slot, running, queue = sequence.slot, sequence.running, sequence.queue
    assert slot is not None
    oldest = running or (queue[0] if queue else None)
    return SlotHolder(
        sequence.key,
        slot.instance,
        slot.index,
        slot.generation,
        sequence.reserved,
        sequence.seated_at,
        max(sequence.active_at, queue[-1].arrived_at) if queue else sequence.active_at,
        sequence.steps,
        len(queue),
        running is not None,
        None if oldest is None else oldest.arrived_at,
    )


def _tenancies_before(sequence: Sequence) -> int:
    """How many tenancies of the sequence's ID have older STARTs than all of the sequence's own."""
    count = 0
    predecessor = sequence.predecessor
    while predecessor is not None:
        count += 1 + predecessor.later_starts
        predecessor = predecessor.predecessor
    return count
