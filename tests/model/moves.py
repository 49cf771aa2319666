"""What must hold for sequences that come and go with their state, beside all else."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamgate.core.commands import (
    Command,
    Evict,
    HandOverRefused,
    Leave,
    Rejection,
    RestoreRefused,
    SequenceEnded,
    SequenceLeft,
    SequenceParked,
    SequenceStays,
    SlotTaken,
    Step,
)
from streamgate.core.events import (
    Arrived,
    Copied,
    Event,
    HandOver,
    Hibernate,
    NotCopied,
    Restore,
    Submit,
)
from streamgate.core.ids import (
    NO_REQUEST,
    Generation,
    InstanceIndex,
    Ns,
    RequestNumber,
    SlotIndex,
)
from streamgate.core.scheduler import SchedulerStatistics
from tests.model.records import Seen, Tenancy
from tests.model.reservations import ReservingAudit
from tests.model.simulation import ROUNDS_MAX, Simulation

Handle = tuple[InstanceIndex, SlotIndex, Generation]


class MovingSimulation(Simulation):
    """Knows which states are to be put in and copied. `new_number` numbers what returns."""

    def __init__(self, new_number: Callable[[], RequestNumber], *rest: Any) -> None:
        super().__init__(*rest)
        self.new_number = new_number
        self.coming: list[RequestNumber] = []
        self.going: list[Handle] = []

    def poll(self) -> list[Command]:
        commands = super().poll()
        for command in commands:
            match command:
                case SlotTaken(restores=number) if number != NO_REQUEST:
                    self.coming.append(number)
                case Leave() | Evict():
                    self.going.append((command.instance, command.slot, command.generation))
        return commands

    def arrive(self, pick: int, *, failed: bool = False) -> None:
        self.send(Arrived(self.coming.pop(pick % len(self.coming)), failed))

    def copy(self, pick: int) -> None:
        self.send(Copied(*self.going.pop(pick % len(self.going)), self.new_number()))

    def fail_to_copy(self, pick: int, *, for_ever: bool) -> None:
        self.send(NotCopied(*self.going.pop(pick % len(self.going)), for_ever))

    def come_to_rest(self) -> None:
        for _ in range(ROUNDS_MAX if self.sound else 0):
            if not self.polled:
                self.poll()
            if self.coming:
                self.arrive(0)
            elif self.going:
                self.copy(0)
            elif self.running:
                self.complete(next(iter(self.running)))
            elif (wake_at := self.scheduler.wake_at()) is not None:
                self.pass_time(wake_at + self.lateness_ns - self.now)
            else:
                break
        super().come_to_rest()


@dataclass
class Came:
    """A sequence was to be restored. `seen` stands for the START that it never had."""

    event: Restore
    seen: Seen
    stopping: bool
    deserted: bool
    refused: Rejection | None = None


@dataclass
class Waiting:
    """A state that has no slot: that of `start`'s sequence, born then."""

    seen: Seen
    start: Seen
    born_at: Ns
    asked_at: Ns


class MovingAudit(ReservingAudit):
    """Knows which states are on their way, and who waits for a slot with one."""

    def __init__(self, *rest: Any) -> None:
        super().__init__(*rest)
        self.came: dict[RequestNumber, Came] = {}
        self.waiting: dict[RequestNumber, Waiting] = {}
        self.arriving: dict[RequestNumber, Tenancy] = {}
        self.leaving: dict[Handle, Tenancy] = {}
        self.copied: dict[Handle, RequestNumber] = {}
        self.hand_overs: dict[RequestNumber, HandOver] = {}
        self.handed: dict[Handle, RequestNumber] = {}
        self.evicted: list[Tenancy] = []
        self.turns: Hibernate | None = None

    # What goes in.

    def saw_event(self, event: Event, now: Ns) -> None:
        match event:
            case Restore(request, sequence, owner):
                submit = Submit(request, sequence, start=True, owner=owner)
                start = Seen(submit, sequence, True, now)
                start.state = "restored"
                came = Came(event, start, self.stopping, self.roll.is_deserted)
                self.came[request] = came
                self.order.append(came)
            case HandOver(request, sequence):
                self.hand_overs[request] = event
                self.muddle(sequence)
            case Arrived(request, failed):
                self.saw_arrived(self.arriving.pop(request, None), now, failed=failed)
            case Copied(instance, slot, generation, request):
                self.copied[instance, slot, generation] = request
            case NotCopied(instance, slot, generation):
                self.saw_not_copied((instance, slot, generation))
            case Hibernate():
                self.turns = self.turns or (None if self.batching.iterative else event)
            case _:
                super().saw_event(event, now)

    def saw_arrived(self, tenancy: Tenancy | None, now: Ns, *, failed: bool) -> None:
        if tenancy is None or tenancy.over:
            return
        tenancy.idle_since = now
        if failed:
            self.muddle(tenancy.key)
            tenancy.failed = True
            self.must_end.append(tenancy)

    def saw_not_copied(self, handle: Handle) -> None:
        tenancy = self.leaving.pop(handle)
        tenancy.unsure = True
        if tenancy in self.evicted:
            self.evicted.remove(tenancy)
        # Who asked is told by whoever could not copy it.
        self.hand_overs.pop(self.handed.pop(handle, NO_REQUEST), None)

    # What comes out.

    def admit_other(self, entry: object, commands: list[Command], now: Ns) -> None:
        assert isinstance(entry, Came)
        refusals = [
            each.reason
            for each in commands
            if isinstance(each, RestoreRefused) and each.request == entry.event.request
        ]
        assert len(refusals) <= 1, "refused twice"
        entry.refused = refusals[0] if refusals else None
        key = self.keys[entry.event.sequence]
        checks = (
            (self.batching.iterative, Rejection.NOTHING_TO_RESERVE),
            (not entry.event.sequence, Rejection.NO_CORRELATION_ID),
            (entry.stopping, Rejection.STOPPING),
            (entry.deserted, Rejection.INSTANCE_AWAY),
            (entry.event.sequence in self.live, Rejection.SEQUENCE_LIVES),
            (key.open and not key.muddled, Rejection.SEQUENCE_LIVES),
        )
        expected = next((reason for holds, reason in checks if holds), None)
        if expected is not None or not key.muddled:
            assert entry.refused is expected
        else:
            assert entry.refused in {None, Rejection.SEQUENCE_LIVES}
        if entry.refused is None:
            self.starts += 1
            key.starts += 1
            key.open = True
            key.log.append(entry.seen)
            born_at = entry.seen.arrived_at
            self.waiting[entry.event.request] = Waiting(entry.seen, entry.seen, born_at, born_at)

    def saw_commands(self, commands: list[Command], now: Ns) -> None:
        super().saw_commands(commands, now)
        assert not self.copied, "a copy of which nobody said what is to become of it"
        for event in self.hand_overs.values():
            assert self.may_leave(event), f"nobody answers {event}"

    def may_leave(self, event: HandOver) -> bool:
        """Whether there is somebody of whom the answer is still to come."""
        waits = any(seen.key == event.sequence for seen in self.waiting_starts())
        return waits or any(
            tenancy is not None and tenancy.key == event.sequence for tenancy in self.seats.values()
        )

    def saw_other(self, command: Command, now: Ns) -> None:
        match command:
            case Leave(request, sequence, instance, slot, generation):
                tenancy = self.going((instance, slot, generation))
                assert tenancy.key == sequence == self.hand_overs[request].sequence
                assert not self.own_queue(tenancy), "it leaves with requests in its queue"
                self.handed[instance, slot, generation] = request
            case Evict(sequence, instance, slot, generation):
                tenancy = self.going((instance, slot, generation))
                assert tenancy.key == sequence
                self.saw_evict(tenancy, now)
            case SequenceLeft(request, sequence, instance, slot, generation):
                tenancy = self.gone((instance, slot, generation), sequence)
                assert not self.own_queue(tenancy), "it left with requests in its queue"
                if request == NO_REQUEST:
                    assert self.turns is not None
                    assert tenancy in self.evicted
                else:
                    assert self.hand_overs.pop(request).sequence == sequence
                self.count_end(sequence)
                self.vacate(tenancy)
            case SequenceParked(sequence, instance, slot, generation):
                number = self.copied[instance, slot, generation]
                tenancy = self.gone((instance, slot, generation), sequence)
                assert self.queued_of(tenancy), "parked without anything to come back for"
                assert tenancy in self.evicted
                returns = Seen(Submit(number, sequence, start=True), sequence, True, now)
                self.waiting[number] = Waiting(
                    returns, tenancy.start, tenancy.born_at, tenancy.asked_at
                )
                self.vacate(tenancy)
            case SequenceStays(instance, slot, generation):
                del self.copied[instance, slot, generation]
                tenancy = self.leaving.pop((instance, slot, generation))
                tenancy.unsure = True
                if tenancy in self.evicted:
                    self.evicted.remove(tenancy)
            case HandOverRefused(request):
                event = self.hand_overs.pop(request)
                lives = self.keys[event.sequence].open and not self.keys[event.sequence].muddled
                assert not lives, "it lives and may not leave"
            case RestoreRefused():
                pass  # seen when it came
            case _:
                super().saw_other(command, now)

    def going(self, handle: Handle) -> Tenancy:
        """The tenant that is to be copied now."""
        tenancy = self.seats[handle[0], handle[1]]
        assert tenancy is not None
        assert tenancy.generation == handle[2]
        assert handle not in self.leaving, "it is being copied already"
        assert tenancy not in self.arriving.values(), "its state is not there yet"
        assert tenancy.started, "it has no state yet"
        assert not self.runs(tenancy), "it runs"
        self.leaving[handle] = tenancy
        tenancy.stepped = False
        return tenancy

    def saw_evict(self, tenancy: Tenancy, now: Ns) -> None:
        assert self.turns is not None
        self.evicted = [each for each in self.evicted if not each.over]
        # For whom a step came may stay.
        going = [each for each in self.evicted if not (self.own_queue(each) or self.runs(each))]
        self.evicted.append(tenancy)
        assert len(going) < len(self.waiting_starts()), "more go than wait"
        rested = not self.own_queue(tenancy) and now >= tenancy.idle_since + self.turns.idle_ns
        seated = now >= tenancy.since + self.turns.turn_ns
        assert rested or seated, "its turn was not over"
        tenancy.unsure = True

    def gone(self, handle: Handle, sequence: object) -> Tenancy:
        """The tenant that was copied and goes now."""
        del self.copied[handle]
        tenancy = self.leaving.pop(handle)
        assert self.seats[handle[0], handle[1]] is tenancy
        assert tenancy.key == sequence
        assert not self.runs(tenancy), "it goes while it runs"
        assert not tenancy.stepped, "it goes with a copy that is too old"
        return tenancy

    def vacate(self, tenancy: Tenancy) -> None:
        tenancy.over = True
        self.left[tenancy.seat] = tenancy.key
        self.seats[tenancy.seat] = None

    def runs(self, tenancy: Tenancy) -> bool:
        running = self.keys[tenancy.key].running
        return running is not None and running.tenancy is tenancy

    def own_queue(self, tenancy: Tenancy) -> list[Seen]:
        return [seen for seen in self.queued_of(tenancy) if self.start_of(seen) is tenancy.start]

    def saw_taken(self, taken: SlotTaken, now: Ns) -> None:
        if taken.restores == NO_REQUEST:
            super().saw_taken(taken, now)
            return
        waiting = self.waiting[taken.restores]
        seat = taken.instance, taken.slot
        assert self.seats[seat] is None, "the slot was not free"
        assert taken.generation == self.generations[seat] + 1
        self.generations[seat] = taken.generation
        assert self.roll.takes(taken.instance), "a slot of an instance that is no more"
        assert taken.sequence == waiting.seen.key
        assert taken.waited_ns == now - waiting.seen.arrived_at
        if not self.keys[taken.sequence].muddled:
            number = waiting.seen.event.request
            assert all(number <= other.event.request for other in self.next_starts())
        del self.waiting[taken.restores]
        times = (now, waiting.born_at, waiting.asked_at, now)
        tenancy = Tenancy(taken.sequence, seat, taken.generation, waiting.start, *times)
        tenancy.started = True
        self.seats[seat] = tenancy
        self.arriving[taken.restores] = tenancy

    def saw_row(self, step: Step, row: Any) -> None:
        super().saw_row(step, row)
        tenancy = self.seats[step.instance, row.slot]
        assert tenancy not in self.arriving.values(), "a step before its state"
        assert tenancy is not None
        tenancy.stepped = True

    def lateness_of(self, seen: Seen) -> int:
        # Nobody is timed out with a sequence that was let in once and waits for its slot.
        came = any(each.event.sequence == seen.key for each in self.came.values())
        return 10**9 if came or self.turns is not None else super().lateness_of(seen)

    def waiting_starts(self) -> list[Seen]:
        # What is queued in a sequence that was parked is behind it.
        parked = [each.seen for each in self.waiting.values() if each.seen is not each.start]
        others = [each.seen for each in self.waiting.values() if each.seen is each.start]
        others += self.queued_starts()
        return parked + sorted(others, key=lambda seen: seen.event.request)

    def saw_ended(self, ended: SequenceEnded, now: Ns) -> None:
        waiting = self.waiting.get(ended.restores)
        if waiting is not None:
            assert waiting.seen.key == ended.sequence
            assert ended.slot == -1
            del self.waiting[ended.restores]
        elif ended.restores != NO_REQUEST:
            tenancy = self.seats[ended.instance, ended.slot]
            assert tenancy is not None
            is_coming = self.arriving.get(ended.restores) is tenancy
            assert is_coming or tenancy.failed, "its state was there"
        super().saw_ended(ended, now)

    # What must hold between the two.

    def backlog_max(self) -> int:
        # Nor does it bind a START that came while somebody restored was before it.
        return self.batching.max_backlog + len(self.waiting) + len(self.came)

    def is_told(self) -> bool:
        return bool(self.arriving or self.leaving)

    def is_held(self, tenancy: Tenancy) -> bool:
        """Whether its steps may have to wait for its state."""
        return tenancy in self.arriving.values() or tenancy in self.leaving.values()

    def check_state(self, statistics: SchedulerStatistics, wake_at: Ns | None, now: Ns) -> None:
        super().check_state(statistics, wake_at, now)
        taken = {each.key for each in self.seats.values() if each is not None}
        if self.has_room():
            keys = {each.seen.key for each in self.waiting.values()}
            assert keys <= taken, "a restored sequence waits although a slot is free"

    def check_rest(self, statistics: SchedulerStatistics) -> None:
        super().check_rest(statistics)
        assert not self.waiting
        assert not self.leaving
        assert not self.hand_overs
