"""An honest driver for a scheduler: simulated time, and an audit that sees all that passes."""

from typing import Protocol

from streamgate.core.commands import Command, Run, Step
from streamgate.core.events import Completed, Event, InstanceLost
from streamgate.core.factory import create_scheduler
from streamgate.core.ids import Ns, RequestNumber, StepNumber
from streamgate.core.scheduler import SchedulerStatistics
from streamgate.model.config import Scheduling

ROUNDS_MAX = 10_000
"""More turns than any of these tests needs to come to rest."""


class Audit(Protocol):
    """Sees events and commands, knows nothing of the scheduler's inside, and asserts."""

    def saw_event(self, event: Event, now: Ns) -> None: ...

    def saw_commands(self, commands: list[Command], now: Ns) -> None: ...

    def check_state(self, statistics: SchedulerStatistics, wake_at: Ns | None, now: Ns) -> None: ...

    def check_rest(self, statistics: SchedulerStatistics) -> None: ...


class Simulation:
    """Sleeps exactly until `wake_at`, or so much longer, runs every step, and tells the audit.

    `sound` is false once something went wrong, after which nothing that follows means anything.
    """

    def __init__(
        self,
        scheduling: Scheduling,
        max_batch_size: int,
        instances: int,
        audit: Audit,
        lateness_ns: int = 0,
    ) -> None:
        self.scheduler = create_scheduler(scheduling, max_batch_size, instances)
        self.audit = audit
        self.lateness_ns = lateness_ns
        self.now = Ns(1_000)
        self.running: dict[StepNumber, Step] = {}
        self.polled = True
        self.sound = True

    def send(self, event: Event) -> None:
        self.sound = False
        self.audit.saw_event(event, self.now)
        self.scheduler.receive(event, self.now)
        if isinstance(event, InstanceLost):
            self.running = {
                number: step
                for number, step in self.running.items()
                if step.instance != event.instance
            }
        self.polled = False
        self.sound = True

    def complete(
        self,
        step: StepNumber,
        rescheduled: frozenset[RequestNumber] = frozenset(),
        ended: frozenset[RequestNumber] = frozenset(),
        failed: frozenset[RequestNumber] = frozenset(),
    ) -> None:
        del self.running[step]
        self.send(Completed(step, rescheduled, ended, failed))

    def poll(self) -> list[Command]:
        self.polled = True
        self.sound = False
        commands = self.scheduler.poll(self.now)
        for command in commands:
            if isinstance(command, Run):
                self.running[command.step.number] = command.step
        self.audit.saw_commands(commands, self.now)
        wake_at = self.scheduler.wake_at()
        assert wake_at is None or wake_at > self.now, "due already, right after a poll"
        self.audit.check_state(self.scheduler.statistics(), wake_at, self.now)
        self.sound = True
        return commands

    def pass_time(self, duration_ns: int) -> None:
        """Let time pass, waking up when the scheduler asks for it and only then."""
        if not self.polled:
            self.poll()
        until = Ns(self.now + duration_ns)
        while (wake_at := self.scheduler.wake_at()) is not None:
            wakes_at = Ns(wake_at + self.lateness_ns)
            if wakes_at > until:
                break
            if wake_at - 1 > self.now:
                self.poll_early(Ns(wake_at - 1))
            self.now = max(self.now, wakes_at)
            self.poll()
        self.now = until
        if wake_at is None or until < wake_at:
            self.poll_early(until)

    def poll_early(self, now: Ns) -> None:
        """A poll before `wake_at` does nothing."""
        before = self.scheduler.wake_at(), self.scheduler.statistics()
        assert self.scheduler.poll(now) == []
        assert (self.scheduler.wake_at(), self.scheduler.statistics()) == before

    def come_to_rest(self) -> None:
        """Silence: no new request, every step comes back, all timers run out."""
        if not self.sound:
            return
        if not self.polled:
            self.poll()
        for _ in range(ROUNDS_MAX):
            if self.running:
                self.complete(next(iter(self.running)))
                self.poll()
            elif (wake_at := self.scheduler.wake_at()) is not None:
                self.pass_time(wake_at + self.lateness_ns - self.now)
            else:
                break
        else:
            raise AssertionError("it never comes to rest")
        self.audit.check_rest(self.scheduler.statistics())
