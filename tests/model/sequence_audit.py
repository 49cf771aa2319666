"""What must hold for sequences, from the outside: events and commands only."""

from collections import defaultdict

from streamgate.core.commands import (
    Command,
    IdleWarning,
    InstanceGone,
    Reject,
    Rejection,
    ReservationRefused,
    Reserved,
    Row,
    Run,
    SequenceEnded,
    SlotTaken,
    Step,
)
from streamgate.core.events import (
    Cancel,
    Close,
    Completed,
    Drain,
    EndSequence,
    Event,
    HangUp,
    InstanceBack,
    InstanceLost,
    Pause,
    Resize,
    Resume,
    Submit,
)
from streamgate.core.ids import NO_REQUEST, NO_SLOT, InstanceIndex, Ns, RequestNumber, SlotIndex
from streamgate.core.scheduler import SchedulerStatistics
from streamgate.errors import EndReason
from streamgate.model.config import DirectStrategy, SequenceBatching
from streamgate.model.request import SequenceKey
from tests.model.admission import check_admission
from tests.model.records import Key, Seat, Seen, Tenancy
from tests.model.roll import Roll
from tests.model.sequence_checks import check_impatience, check_roll, check_work
from tests.model.sequence_ends import OF_ITS_OWN, check_end, check_warning


class SequenceAudit:
    def __init__(
        self,
        batching: SequenceBatching,
        max_batch_size: int,
        instances: int,
        lateness_ns: int = 0,
    ) -> None:
        self.batching = batching
        self.lateness_ns = lateness_ns
        strategy = batching.strategy
        self.positional = isinstance(strategy, DirectStrategy)
        self.delays = strategy.max_delay_ns > 0 and (
            not isinstance(strategy, DirectStrategy) or strategy.minimum_slot_utilization > 0
        )
        self.rows_max = max(1, max_batch_size)
        self.slots = 1 if self.positional and max_batch_size == 0 else batching.slots
        self.seats: dict[Seat, Tenancy | None] = {}
        self.generations: dict[Seat, int] = {}
        self.busy: dict[InstanceIndex, Step | None] = {}
        self.roll = Roll()
        for index in range(instances):
            self.join(InstanceIndex(index))
        self.left: dict[Seat, SequenceKey] = {}
        self.requests: dict[RequestNumber, Seen] = {}
        self.keys: dict[SequenceKey, Key] = defaultdict(Key)
        self.fresh: list[Seen] = []
        self.must_end: list[Tenancy] = []
        self.stopping = self.closed = False
        self.starts = self.ends = 0

    def join(self, index: InstanceIndex) -> None:
        self.roll.present.append(index)
        self.busy[index] = None
        for slot in range(self.slots):
            self.seats[index, SlotIndex(slot)] = None
            self.generations[index, SlotIndex(slot)] = 0

    # What goes in.

    def saw_event(self, event: Event, now: Ns) -> None:
        match event:
            case Submit():
                named = bool(event.sequence)
                seen = Seen(event, event.sequence, event.start or not named, now)
                seen.deserted = self.roll.is_deserted
                assert event.request not in self.requests
                self.requests[event.request] = seen
                self.fresh.append(seen)
            case Completed():
                self.saw_completed(event, now)
            case Cancel():
                self.saw_cancelled(self.requests.get(event.request))
            case HangUp():
                for seen in self.requests.values():
                    if seen.event.owner == event.owner:
                        self.saw_cancelled(seen)
                        self.muddle(seen.key)
            case Pause() | Resume():
                for request in event.requests:
                    if request in self.requests:
                        self.requests[request].paused = isinstance(event, Pause)
            case EndSequence():
                self.muddle(event.sequence)
            case InstanceLost():
                self.saw_lost(event, now)
            case InstanceBack():
                self.roll.saw_back(event.instance)
            case Resize():
                for index in event.instances:
                    if index not in self.roll.present:
                        self.join(index)
                self.roll.saw_resize(event, now)
            case Drain():
                self.stopping = True
            case Close():
                self.stopping = self.closed = True
                for key in self.keys:
                    self.muddle(key)

    def muddle(self, key: SequenceKey) -> None:
        """Something other than its own requests may end this ID's sequences."""
        self.keys[key].muddled = self.keys[key].aborted = True

    def saw_cancelled(self, seen: Seen | None) -> None:
        if seen is not None and seen.state in {"queued", "running"}:
            seen.unwanted = True
            self.keys[seen.key].muddled = True

    def saw_lost(self, event: InstanceLost, now: Ns) -> None:
        if event.instance in self.roll.away:
            return
        self.roll.away[event.instance] = Ns(now + event.patience_ns)
        step = self.busy[event.instance]
        if step is not None:
            self.saw_completed(Completed(step.number), now)
        for tenancy in self.tenancies_on(event.instance):
            if tenancy.started and not event.keeps_states:
                self.must_end.append(tenancy)
                self.muddle(tenancy.key)

    def tenancies_on(self, index: InstanceIndex) -> list[Tenancy]:
        return [each for (at, _), each in self.seats.items() if at == index and each is not None]

    def saw_completed(self, event: Completed, now: Ns) -> None:
        step = next(step for step in self.busy.values() if step and step.number == event.step)
        self.busy[step.instance] = None
        for row in step.rows:
            if row.request == NO_REQUEST:
                continue
            seen = self.requests[row.request]
            assert seen.state == "running"
            assert seen.tenancy is not None
            self.keys[seen.key].running = None
            seen.tenancy.idle_since = now
            if row.request in event.ended | event.failed:
                self.muddle(seen.key)
                seen.tenancy.failed = row.request in event.failed
            if row.request in event.rescheduled and row.request not in event.ended:
                seen.state = "queued"
                seen.arrived_at = now
                continue
            seen.state = "done"
            if seen.event.end or row.request in event.ended | event.failed:
                self.must_end.append(seen.tenancy)

    # What comes out.

    def saw_commands(self, commands: list[Command], now: Ns) -> None:
        self.roll.give_up(now)
        for index, until in self.roll.leaving.items():
            for tenancy in self.tenancies_on(index) if until <= now else ():
                tenancy.preempted = True
                self.muddle(tenancy.key)
        for command in commands:
            if isinstance(command, SequenceEnded) and command.reason in OF_ITS_OWN:
                self.muddle(command.sequence)
        self.admit(commands, now)
        self.left.clear()
        for command in commands:
            match command:
                case Run():
                    self.saw_run(command.step)
                case Reject():
                    self.saw_reject(command, now)
                case SlotTaken():
                    self.saw_taken(command, now)
                case SequenceEnded():
                    self.saw_ended(command, now)
                case IdleWarning():
                    self.saw_warning(command, now)
                case InstanceGone():
                    self.saw_gone(command.instance)
                case Reserved() | ReservationRefused():
                    self.saw_reservation(command)
                case _:
                    self.saw_other(command, now)
        for tenancy in self.must_end:
            assert tenancy.over, "a sequence outlived its END"
        self.must_end.clear()

    def admit(self, commands: list[Command], now: Ns) -> None:
        refused = {
            command.request: command.reason
            for command in commands
            if isinstance(command, Reject) and not command.admitted
        }
        for seen in self.fresh:
            self.admit_one(seen, refused.pop(seen.event.request, None), now)
        assert not refused, "refused twice or never submitted"
        self.fresh.clear()

    def admit_one(self, seen: Seen, reason: Rejection | None, now: Ns) -> None:
        key = self.keys[seen.key]
        check_admission(seen, key, reason, self.batching, self.stopping, self.closed)
        if reason is not None:
            seen.state = "refused"
            if seen.event.start and reason is not Rejection.BATCH_IN_SEQUENCE:
                key.open = False
            return
        if seen.starts and not seen.promised:
            self.starts += 1
            key.starts += 1 if seen.event.sequence else 0
        if seen.event.sequence:
            key.log.append(seen)
            key.open = (key.open or seen.starts) and not seen.event.end
            self.touch(seen.key, now)

    def saw_other(self, command: Command, now: Ns) -> None:
        raise AssertionError(f"nobody asked for {command!r} at {now}")

    def saw_reservation(self, command: Reserved | ReservationRefused) -> None:
        raise AssertionError("nobody asked for a reservation")

    def saw_run(self, step: Step) -> None:
        assert self.busy[step.instance] is None, "two steps at once on one instance"
        assert step.instance not in self.roll.away, "a step on an instance that is away"
        self.busy[step.instance] = step
        assert 1 <= len(step.rows) <= self.rows_max
        assert len({self.requests[r.request].event.signature for r in step.rows if r.request}) == 1
        if self.positional:
            assert [row.slot for row in step.rows] == list(range(len(step.rows)))
            assert step.rows[-1].request != NO_REQUEST, "padding after the last ready slot"
        for row in step.rows:
            if row.request == NO_REQUEST:
                assert self.positional
                assert row.generation == self.generations[step.instance, row.slot]
                assert not row.start
                assert not row.end
            else:
                self.saw_row(step, row)

    def saw_row(self, step: Step, row: Row) -> None:
        seen = self.requests[row.request]
        if not seen.event.sequence:
            seen.key = row.sequence
        key = self.keys[row.sequence]
        assert seen.key == row.sequence
        assert seen.state == "queued", f"ran although {seen.state}"
        assert not seen.unwanted, "ran although cancelled"
        assert not seen.paused, "ran although paused"
        assert key.running is None, "two requests of one ID at once"
        for earlier in self.queued_before(seen):
            raise AssertionError(f"{seen.event} ran before {earlier.event}")
        tenancy = self.seats[step.instance, row.slot]
        assert tenancy is not None
        assert (tenancy.key, tenancy.generation) == (row.sequence, row.generation)
        assert row.start == (seen.starts and seen.passes == 0)
        assert row.end == (seen.event.end and seen.passes == 0)
        if row.start:
            assert not tenancy.started
            assert tenancy.start is seen
            tenancy.started = True
        assert tenancy.started, "state that no START made new"
        assert self.start_of(seen) is tenancy.start, "the state of another sequence"
        seen.state, seen.tenancy = "running", tenancy
        seen.passes += 1
        key.running = seen

    def queued_before(self, seen: Seen) -> list[Seen]:
        if not seen.event.sequence:
            return []
        log = self.keys[seen.key].log
        return [each for each in log[: log.index(seen)] if each.state in {"queued", "running"}]

    def start_of(self, seen: Seen) -> Seen:
        if not seen.event.sequence:
            return seen
        log = self.keys[seen.key].log
        return [each for each in log[: log.index(seen) + 1] if each.starts][-1]

    def saw_reject(self, reject: Reject, now: Ns) -> None:
        seen = self.requests[reject.request]
        if not reject.admitted:
            assert seen.state == "refused"
            return
        assert seen.state == "queued", f"rejected although {seen.state}"
        seen.state = "rejected"
        match reject.reason:
            case Rejection.CANCELLED:
                assert seen.unwanted, "nobody asked for this cancellation"
                self.touch(seen.key, now)
            case Rejection.SEQUENCE_ENDED:
                # One that the model names has no name yet while it waits for a slot.
                aborted = self.keys[seen.key].aborted or not (seen.event.sequence or seen.passes)
                assert aborted or self.start_of(seen).unwanted, "a neighbour was taken along"
                self.touch(seen.key, now)
            case Rejection.SEQUENCE_TIMEOUT:
                assert seen.tenancy is None
                self.check_timeout(seen, now)
            case Rejection.STOPPING:
                assert self.closed
            case Rejection.RESTORE_FAILED:
                assert self.keys[seen.key].aborted
            case Rejection.INSTANCE_LOST:
                assert self.roll.away, "no instance is lost"
                assert self.keys[seen.key].aborted
            case Rejection.INSTANCE_AWAY:
                assert self.roll.given_up, "an instance was given up too early"
                self.muddle(seen.key)
            case _:
                raise AssertionError(f"an admitted request was rejected with {reject.reason}")

    def touch(self, key: SequenceKey, now: Ns) -> None:
        """The idle time of an ID's sequence begins anew."""
        for tenancy in self.seats.values():
            if tenancy is not None and tenancy.key == key:
                tenancy.idle_since = now

    def check_timeout(self, seen: Seen, now: Ns) -> None:
        """A sequence has waited too long for a slot when its most impatient request has."""
        peers = self.keys[seen.key].log if seen.event.sequence else [seen]
        check_impatience(peers, now, self.lateness_of(seen))
        self.keys[seen.key].muddled = True

    def lateness_of(self, seen: Seen) -> int:
        """By how much a request may be timed out too late."""
        del seen
        return self.lateness_ns

    def saw_taken(self, taken: SlotTaken, now: Ns) -> None:
        seat = taken.instance, taken.slot
        assert self.seats[seat] is None, "the slot was not free"
        assert taken.generation == self.generations[seat] + 1
        self.generations[seat] = taken.generation
        passed_on = self.left.get(seat) == taken.sequence
        assert passed_on or self.roll.takes(taken.instance), "a slot of an instance that is no more"
        start = self.waiting_start(taken.sequence)
        assert taken.waited_ns == now - start.arrived_at
        if not passed_on and not self.keys[taken.sequence].muddled:
            assert all(start.event.request <= other.event.request for other in self.next_starts())
        times = (now, now if passed_on else start.arrived_at, start.arrived_at)
        self.seats[seat] = Tenancy(taken.sequence, seat, taken.generation, start, *times, now)

    def waiting_start(self, key: SequenceKey) -> Seen:
        """The oldest START of an ID that waits for its slot."""
        named_by_model = isinstance(key, int) and key >= 1 << 63
        for seen in self.queued_starts():
            if seen.key == key:
                return seen
            if named_by_model and not seen.event.sequence:
                seen.key = key
                self.keys[key].log.append(seen)
                return seen
        raise AssertionError(f"no START of {key!r} waits for a slot")

    def waiting_starts(self) -> list[Seen]:
        """Who waits for a slot, those of one ID in their order."""
        return self.queued_starts()

    def queued_starts(self) -> list[Seen]:
        held = [tenancy.start for tenancy in self.seats.values() if tenancy is not None]
        return [
            seen
            for seen in self.requests.values()
            if seen.starts and seen.state == "queued" and not (seen.passes or seen.promised)
            if all(seen is not start for start in held)
        ]

    def next_starts(self) -> list[Seen]:
        """The STARTs that could have the next slot: none of their ID is before them."""
        taken = {tenancy.key for tenancy in self.seats.values() if tenancy is not None}
        first: dict[SequenceKey, Seen] = {}
        for seen in self.waiting_starts():
            if seen.key not in taken and not self.keys[seen.key].muddled:
                first.setdefault(seen.key, seen)
        return list(first.values())

    def saw_ended(self, ended: SequenceEnded, now: Ns) -> None:
        self.count_end(ended.sequence)
        if ended.slot == NO_SLOT:
            assert ended.reason is not EndReason.ENGINE_LOST or self.roll.given_up
            return
        tenancy = self.seats[ended.instance, ended.slot]
        assert tenancy is not None
        assert (tenancy.key, tenancy.generation) == (ended.sequence, ended.generation)
        step = self.busy[ended.instance]
        if step is not None:
            assert all(
                row.request == NO_REQUEST
                or (row.slot, row.generation) != (ended.slot, ended.generation)
                for row in step.rows
            ), "ended while it runs"
        if ended.reason is EndReason.IDLE:
            assert not self.queued_of(tenancy), "idle with requests in its queue"
        check_end(ended, tenancy, now, self.batching, self.roll, self.lateness_ns)
        tenancy.over = True
        self.left[tenancy.seat] = tenancy.key
        self.seats[ended.instance, ended.slot] = None

    def count_end(self, name: SequenceKey) -> None:
        """A sequence of this ID is not here any more."""
        self.ends += 1
        key = self.keys[name]
        key.ends += 1
        if key.ends == key.starts:
            key.open = key.muddled = key.aborted = False

    def saw_warning(self, warning: IdleWarning, now: Ns) -> None:
        tenancy = self.seats[warning.instance, warning.slot]
        assert tenancy is not None
        assert not self.queued_of(tenancy), "warned with requests in its queue"
        assert self.keys[tenancy.key].running is None
        check_warning(warning, tenancy, now, self.batching, self.lateness_ns)

    def saw_gone(self, index: InstanceIndex) -> None:
        assert index in self.roll.leaving, "nobody asked it to go"
        assert not self.tenancies_on(index)
        assert self.busy.pop(index) is None
        for slot in range(self.slots):
            del self.seats[index, SlotIndex(slot)]
        self.roll.saw_gone(index)

    def queued_of(self, tenancy: Tenancy) -> list[Seen]:
        requests = self.requests.values()
        return [seen for seen in requests if (seen.state, seen.key) == ("queued", tenancy.key)]

    def has_room(self) -> bool:
        free = [index for (index, _), tenancy in self.seats.items() if tenancy is None]
        return any(self.roll.takes(index) for index in free)

    # What must hold between the two.

    def check_state(self, statistics: SchedulerStatistics, wake_at: Ns | None, now: Ns) -> None:
        states = [seen.state for seen in self.requests.values()]
        held = [tenancy for tenancy in self.seats.values() if tenancy is not None]
        assert statistics.pending == states.count("queued")
        assert statistics.running_steps == sum(step is not None for step in self.busy.values())
        assert statistics.slots == len(self.seats)
        assert statistics.active_sequences == len(held)
        if self.batching.max_backlog:
            assert statistics.backlog_sequences <= self.backlog_max()
        assert len({tenancy.key for tenancy in held}) == len(held), "one ID in two slots"
        if statistics.pending and not any(seen.paused for seen in self.requests.values()):
            looks_again = wake_at is not None or statistics.running_steps or self.is_told()
            assert looks_again, "nobody will ever look again"
        check_work(self, held, wake_at)
        check_roll(self, held, wake_at, now)
        if self.has_room():
            waiting = [seen for seen in self.requests.values() if seen.state == "queued"]
            keys = {tenancy.key for tenancy in held}
            assert all(seen.key in keys for seen in waiting), "waits although a slot is free"
        for tenancy in held:
            is_idle = self.keys[tenancy.key].running is None and not self.queued_of(tenancy)
            if is_idle and not self.is_held(tenancy):
                assert wake_at is not None, "idle for ever"

    def backlog_max(self) -> int:
        """How many may wait for a slot."""
        return self.batching.max_backlog

    def is_told(self) -> bool:
        """Whether the scheduler waits to be told something."""
        return False

    def is_held(self, tenancy: Tenancy) -> bool:
        """Whether its steps may have to wait for something else."""
        del tenancy
        return False

    def check_rest(self, statistics: SchedulerStatistics) -> None:
        assert statistics.pending == 0
        assert statistics.running_steps == 0
        assert statistics.backlog_sequences == 0
        assert statistics.active_sequences == 0
        assert not any(self.seats.values())
        for seen in self.requests.values():
            assert seen.state in {"done", "rejected", "refused"}, "no end"
        assert self.starts == self.ends
        for name, key in self.keys.items():
            if isinstance(name, int) and name >= 1 << 63:
                continue
            assert key.starts == key.ends, f"{name!r}: {key.starts} STARTs, {key.ends} ends"
