"""Random clients and a random device for sequences, as a hypothesis state machine."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from streamgate.core.events import (
    Cancel,
    Close,
    Drain,
    EndSequence,
    Event,
    HandOver,
    HangUp,
    Hibernate,
    Pause,
    Reserve,
    Restore,
    Resume,
    Submit,
)
from streamgate.core.ids import NO_REQUEST, OwnerNumber, RequestNumber
from streamgate.core.sequences import SequenceScheduler
from streamgate.errors import EndReason
from streamgate.model.config import DirectStrategy, OldestStrategy, SequenceBatching
from streamgate.model.request import SequenceKey
from tests.model.headroom import PacedAudit
from tests.model.moves import MovingAudit, MovingSimulation
from tests.model.reservations import ReservingAudit
from tests.model.roll import InstanceEvent, Roll, instance_events
from tests.model.sequence_audit import SequenceAudit
from tests.model.simulation import Simulation

KEYS = (1, 2, 3, 4, 7, "7")
OWNERS = (0, 1, 2)

one_in_eight = st.sampled_from((False,) * 7 + (True,))
configurations = st.builds(
    lambda direct, slots, batches, delay_ns, share, preferred, backlog, pending, iterative, ends: (
        SequenceBatching(
            DirectStrategy(delay_ns, share)
            if direct
            else OldestStrategy(slots, (preferred,) if batches else (), delay_ns),
            slots,
            max_idle_ns=100,
            iterative=iterative,
            max_backlog=backlog,
            max_pending=pending,
            max_lifetime_ns=ends[0],
            idle_warning_ns=ends[1],
            end_on_error=ends[2],
        ),
        (slots if direct else 3) if batches else 0,
    ),
    direct=st.booleans(),
    slots=st.integers(1, 4),
    batches=st.sampled_from((True, True, False)),
    delay_ns=st.sampled_from((0, 0, 20, 150)),
    share=st.sampled_from((0.0, 0.5, 1.0)),
    preferred=st.sampled_from((2, 3)),
    backlog=st.sampled_from((0, 2)),
    pending=st.sampled_from((0, 3)),
    iterative=one_in_eight,
    ends=st.tuples(st.sampled_from((0, 40, 130)), st.sampled_from((0, 60, 60)), st.booleans()),
)
submits = st.builds(
    Submit,
    st.just(NO_REQUEST),
    st.sampled_from(KEYS),
    st.booleans(),
    st.sampled_from((False, False, True)),
    signature=st.sampled_from((None, None, None, "wide")),
    timeout_ns=st.sampled_from((0, 0, 0, 30, 250)),
    owner=st.sampled_from(OWNERS).map(OwnerNumber),
)


class SequenceMachine(RuleBasedStateMachine):
    """Few IDs and small slots, so that everything meets everything."""

    new_audit: type[SequenceAudit] = SequenceAudit
    pace_ns = 0

    @initialize(
        configuration=configurations,
        instances=st.integers(1, 2),
        lateness_ns=st.sampled_from((0, 0, 5)),
    )
    def set_up(
        self, configuration: tuple[SequenceBatching, int], instances: int, lateness_ns: int
    ) -> None:
        batching, max_batch_size = configuration
        self.batching = batching = replace(batching, pace_ns=self.pace_ns)
        self.audit = self.new_audit(batching, max_batch_size, instances, lateness_ns)
        self.submitted = 0
        self.simulation = self.new_simulation(
            batching, max_batch_size, instances, self.audit, lateness_ns
        )
        self.prepare()

    def new_simulation(self, *rest: Any) -> Simulation:
        return Simulation(*rest)

    def prepare(self) -> None:
        """What else is to be done before anything happens."""

    @rule(events=st.lists(submits, min_size=1, max_size=4), polls=st.booleans())
    def submit(self, events: list[Submit], polls: bool) -> None:
        for event in events:
            self.submitted += 1
            self.simulation.send(replace(event, request=RequestNumber(self.submitted)))
        if polls:
            self.simulation.poll()

    @precondition(lambda self: self.simulation.running)
    @rule(
        pick=st.integers(0, 3),
        again=st.sampled_from((0, 0, 0b01, 0b10, 0b11)),
        over=st.sampled_from((0, 0, 0, 0, 0b01, 0b10)),
        fails=st.sampled_from((0, 0, 0, 0b01, 0b10)),
        polls=st.booleans(),
    )
    def complete(self, pick: int, again: int, over: int, fails: int, polls: bool) -> None:
        steps = tuple(self.simulation.running.values())
        step = steps[pick % len(steps)]
        requests = [row.request for row in step.rows if row.request != NO_REQUEST]
        self.simulation.complete(
            step.number,
            _masked(requests, again if self.batching.iterative else 0),
            _masked(requests, over),
            _masked(requests, fails & ~again if self.batching.end_on_error else 0),
        )
        if polls:
            self.simulation.poll()

    @rule(duration_ns=st.sampled_from((0, 1, 7, 20, 60, 60, 101)))
    def wait(self, duration_ns: int) -> None:
        self.simulation.pass_time(duration_ns)

    @precondition(lambda self: self.submitted)
    @rule(back=st.integers(0, 5), polls=st.booleans())
    def cancel(self, back: int, polls: bool) -> None:
        self.simulation.send(Cancel(RequestNumber(max(1, self.submitted - back))))
        if polls:
            self.simulation.poll()

    @rule(
        event=st.one_of(
            st.builds(HangUp, st.sampled_from(OWNERS[1:]).map(OwnerNumber)),
            st.builds(
                EndSequence,
                st.sampled_from(KEYS),
                st.just(EndReason.DRAINED),
                st.booleans(),
            ),
            st.builds(
                Submit,
                st.just(NO_REQUEST),
                st.sampled_from((0, "", 1)),
                rows=st.sampled_from((1, 1, 2)),
            ),
            st.sampled_from((Drain(), Close())),
        ),
        now=st.booleans(),
    )
    def disturb(self, event: Event, now: bool) -> None:
        """What happens seldom."""
        if not now:
            return
        if isinstance(event, Submit):
            self.submitted += 1
            event = replace(event, request=RequestNumber(self.submitted))
        elif isinstance(event, Drain | Close):
            if self.submitted < 12:
                return
            self.simulation.poll()
        self.simulation.send(event)
        self.simulation.poll()

    @rule(choose=instance_events)
    def move_instances(self, choose: Callable[[Roll], InstanceEvent]) -> None:
        self.simulation.poll()
        self.simulation.send(choose(self.audit.roll))
        self.simulation.poll()

    def teardown(self) -> None:
        if hasattr(self, "simulation"):
            self.simulation.come_to_rest()


class PausingMachine(SequenceMachine):
    """The same with clients that stop reading now and then. Apart, as the seeded bugs of the other
    are found with the luck of the rules that it has."""

    @precondition(lambda self: self.submitted)
    @rule(back=st.integers(0, 5), count=st.integers(1, 3), kind=st.sampled_from((Pause, Resume)))
    def pause(self, back: int, count: int, kind: type[Pause | Resume]) -> None:
        last = max(1, self.submitted - back)
        requests = tuple(map(RequestNumber, range(max(1, last - count + 1), last + 1)))
        self.simulation.send(kind(requests))
        self.simulation.poll()

    def teardown(self) -> None:
        if hasattr(self, "simulation") and self.simulation.sound:
            everything = map(RequestNumber, range(1, self.submitted + 1))
            self.simulation.send(Resume(tuple(everything)))
        super().teardown()


class ReservingMachine(SequenceMachine):
    """The same with clients that ask for a slot before they have anything to send."""

    new_audit = ReservingAudit

    @rule(key=st.sampled_from((*KEYS, 0)), owner=st.sampled_from(OWNERS), polls=st.booleans())
    def reserve(self, key: SequenceKey, owner: int, polls: bool) -> None:
        self.submitted += 1
        self.simulation.send(Reserve(RequestNumber(self.submitted), key, OwnerNumber(owner)))
        if polls:
            self.simulation.poll()

    @rule(key=st.sampled_from(KEYS), flags=st.sampled_from(("", "S", "S", "SE")))
    def go_on(self, key: SequenceKey, flags: str) -> None:
        """Often what was reserved begins at once."""
        self.submitted += 1
        self.simulation.send(Submit(RequestNumber(self.submitted), key, "S" in flags, "E" in flags))


class MovingMachine(ReservingMachine):
    """The same with sequences that come from elsewhere and leave for it, by wish or because others
    want their slots."""

    new_audit = MovingAudit

    def new_simulation(self, *rest: Any) -> Simulation:
        return MovingSimulation(self.new_number, *rest)

    def new_number(self) -> RequestNumber:
        self.submitted += 1
        return RequestNumber(self.submitted)

    @property
    def moving(self) -> MovingSimulation:
        assert isinstance(self.simulation, MovingSimulation)
        return self.simulation

    @rule(turns=st.sampled_from(((0, 0), (10, 30), (60, 60))))
    def change_hands(self, turns: tuple[int, int]) -> None:
        """From some moment on; what the first one says counts."""
        self.simulation.send(Hibernate(*turns))
        self.simulation.poll()

    @rule(key=st.sampled_from((*KEYS, 0)), owner=st.sampled_from(OWNERS), polls=st.booleans())
    def restore(self, key: SequenceKey, owner: int, polls: bool) -> None:
        self.simulation.send(Restore(self.new_number(), key, OwnerNumber(owner)))
        if polls:
            self.simulation.poll()

    @rule(key=st.sampled_from(KEYS), polls=st.booleans())
    def hand_over(self, key: SequenceKey, polls: bool) -> None:
        self.simulation.send(HandOver(self.new_number(), key))
        if polls:
            self.simulation.poll()

    @precondition(lambda self: self.moving.coming)
    @rule(pick=st.integers(0, 3), failed=one_in_eight, polls=st.booleans())
    def arrive(self, pick: int, failed: bool, polls: bool) -> None:
        self.moving.arrive(pick, failed=failed)
        if polls:
            self.simulation.poll()

    @precondition(lambda self: self.moving.going)
    @rule(pick=st.integers(0, 3), polls=st.booleans())
    def copy(self, pick: int, polls: bool) -> None:
        self.moving.copy(pick)
        if polls:
            self.simulation.poll()

    @precondition(lambda self: self.moving.going)
    @rule(pick=st.integers(0, 3), for_ever=st.booleans())
    def fail_to_copy(self, pick: int, for_ever: bool) -> None:
        self.moving.fail_to_copy(pick, for_ever=for_ever)
        self.simulation.poll()


class PacedMachine(MovingMachine):
    """The same where a pace is to be kept: instances can serve now more, now fewer sequences."""

    new_audit = PacedAudit
    pace_ns = 1

    def prepare(self) -> None:
        scheduler = self.simulation.scheduler
        assert isinstance(scheduler, SequenceScheduler)
        audit = self.audit
        assert isinstance(audit, PacedAudit)
        # How the limit is learned is another matter.
        scheduler._tenancies.slots._limit = lambda _: audit.limit

    @rule(limit=st.integers(1, 4))
    def change_speed(self, limit: int) -> None:
        self.simulation.poll()
        assert isinstance(self.audit, PacedAudit)
        self.audit.limit = min(limit, self.audit.slots)
        # As when a step is over, with which the limit changes.
        scheduler = self.simulation.scheduler
        assert isinstance(scheduler, SequenceScheduler)
        self.simulation.send(Resume(()))
        scheduler._tenancies.fill_room(self.simulation.now)
        self.simulation.poll()


def _masked(requests: list[RequestNumber], mask: int) -> frozenset[RequestNumber]:
    return frozenset(request for bit, request in enumerate(requests) if mask >> bit & 1)
