"""Random clients and a random device for stateless models, as a hypothesis state machine."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from streamgate.core.commands import Command, InstanceGone, Reject, Rejection, Run, Step
from streamgate.core.events import (
    Cancel,
    Close,
    Completed,
    Drain,
    Event,
    HangUp,
    InstanceBack,
    InstanceLost,
    Resize,
    Submit,
)
from streamgate.core.ids import NO_REQUEST, InstanceIndex, Ns, OwnerNumber, RequestNumber
from streamgate.core.scheduler import SchedulerStatistics
from streamgate.model.config import (
    DefaultScheduling,
    DynamicBatching,
    QueuePolicy,
    TimeoutAction,
)
from tests.model.reference_queue import ReferenceQueue
from tests.model.roll import InstanceEvent, Roll, instance_events
from tests.model.simulation import Simulation


class StatelessAudit:
    """Compares with the reference, and checks the promises that need no reference."""

    def __init__(
        self, scheduling: DefaultScheduling | DynamicBatching, max_batch_size: int, instances: int
    ) -> None:
        self.reference = ReferenceQueue(scheduling, max_batch_size, instances)
        self.delays = isinstance(scheduling, DynamicBatching) and scheduling.max_delay_ns > 0
        self.rows_max = max(1, max_batch_size)
        self.queued: dict[RequestNumber, Submit] = {}
        self.finished: set[RequestNumber] = set()
        self.cancelled: set[RequestNumber] = set()
        self.busy: dict[InstanceIndex, Step] = {}
        self.roll = Roll([InstanceIndex(index) for index in range(instances)])

    def saw_event(self, event: Event, now: Ns) -> None:
        self.reference.receive(event, now)
        match event:
            case Submit():
                self.queued[event.request] = event
            case Completed():
                step = next(step for step in self.busy.values() if step.number == event.step)
                del self.busy[step.instance]
            case InstanceLost():
                self.busy.pop(event.instance, None)
                self.roll.away.setdefault(event.instance, Ns(now + event.patience_ns))
            case InstanceBack():
                self.roll.saw_back(event.instance)
            case Resize():
                self.roll.present += [
                    index for index in event.instances if index not in self.roll.present
                ]
                self.roll.saw_resize(event, now)
            case Cancel():
                if event.request in self.queued:
                    self.cancelled.add(event.request)

    def saw_commands(self, commands: list[Command], now: Ns) -> None:
        self.roll.give_up(now)
        for command in commands:
            match command:
                case InstanceGone():
                    assert command.instance not in self.busy
                    self.roll.saw_gone(command.instance)
                case Run():
                    self.saw_run(command.step)
                case Reject():
                    self.finish(command.request)
                    if command.reason is Rejection.CANCELLED:
                        self.cancelled.discard(command.request)
        assert not any(request in self.queued for request in self.cancelled), "cancelled too late"
        assert commands == self.reference.poll(now)

    def finish(self, request: RequestNumber) -> None:
        assert request not in self.finished, "two ends"
        self.finished.add(request)
        del self.queued[request]

    def saw_run(self, step: Step) -> None:
        assert step.instance not in self.busy, "two steps at once on one instance"
        assert self.roll.takes(step.instance), "a step on an instance that is no more"
        self.busy[step.instance] = step
        assert sum(row.rows for row in step.rows) <= self.rows_max
        assert len({self.queued[row.request].signature for row in step.rows}) == 1
        for row in step.rows:
            self.finish(row.request)

    def check_state(self, statistics: SchedulerStatistics, wake_at: Ns | None, now: Ns) -> None:
        expected = SchedulerStatistics(pending=len(self.queued), running_steps=len(self.busy))
        assert statistics == expected
        assert not (self.queued and self.roll.is_deserted), "it waits though nobody is left"
        assert set(self.roll.leaving) <= set(self.busy), "it has nothing left and does not go"
        if self.queued and any(
            self.roll.takes(index) and index not in self.busy for index in self.roll.present
        ):
            assert self.delays, "a free instance and a request"
            assert wake_at is not None, "nobody will ever look again"

    def check_rest(self, statistics: SchedulerStatistics) -> None:
        assert statistics == SchedulerStatistics(pending=0, running_steps=0)
        assert not self.queued


policies = st.builds(
    QueuePolicy,
    st.sampled_from(TimeoutAction),
    st.sampled_from((0, 30, 30)),
    st.booleans(),
    st.sampled_from((0, 2, 2)),
)
batchings = st.builds(
    DynamicBatching,
    st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True).map(tuple),
    st.sampled_from((0, 20, 100)),
    st.booleans(),
    default_policy=policies,
)
prioritised = st.builds(
    lambda batching, default, policy: replace(
        batching, priority_levels=3, default_priority=default, policies={2: policy}
    ),
    batchings,
    st.integers(1, 3),
    policies,
)
submits = st.builds(
    Submit,
    st.just(NO_REQUEST),
    rows=st.sampled_from((1, 1, 2, 3)),
    signature=st.sampled_from((None, None, None, "wide")),
    priority=st.sampled_from((0, 1, 2, 3, 99)),
    timeout_ns=st.sampled_from((0, 10, 50, 50)),
    owner=st.sampled_from((0, 1, 2)).map(OwnerNumber),
)


class StatelessMachine(RuleBasedStateMachine):
    @initialize(
        scheduling=st.one_of(prioritised, batchings, st.just(DefaultScheduling())),
        max_batch_size=st.sampled_from((4, 4, 4, 0)),
        instances=st.integers(1, 2),
        lateness_ns=st.sampled_from((0, 0, 5)),
    )
    def set_up(
        self,
        scheduling: DefaultScheduling | DynamicBatching,
        max_batch_size: int,
        instances: int,
        lateness_ns: int,
    ) -> None:
        self.max_batch_size = max_batch_size
        self.audit = StatelessAudit(scheduling, max_batch_size, instances)
        self.simulation = Simulation(scheduling, max_batch_size, instances, self.audit, lateness_ns)
        self.submitted = 0

    @rule(events=st.lists(submits, min_size=1, max_size=4), polls=st.booleans())
    def submit(self, events: list[Submit], polls: bool) -> None:
        for event in events:
            self.submitted += 1
            rows = min(event.rows, max(1, self.max_batch_size))
            self.simulation.send(replace(event, request=RequestNumber(self.submitted), rows=rows))
        if polls:
            self.simulation.poll()

    @precondition(lambda self: self.simulation.running)
    @rule(pick=st.integers(0, 1), polls=st.booleans())
    def complete(self, pick: int, polls: bool) -> None:
        steps = tuple(self.simulation.running)
        self.simulation.complete(steps[pick % len(steps)])
        if polls:
            self.simulation.poll()

    @rule(duration_ns=st.sampled_from((0, 1, 10, 20, 30, 81)))
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
            st.sampled_from((1, 2)).map(OwnerNumber).map(HangUp),
            st.sampled_from((Drain(), Close())),
        ),
        now=st.booleans(),
    )
    def disturb(self, event: Event, now: bool) -> None:
        """What happens seldom."""
        if now and (isinstance(event, HangUp) or self.submitted > 12):
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
