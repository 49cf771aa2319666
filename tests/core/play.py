"""A scheduler driven by hand, in the words of a test."""

from typing import Any

from streamgate.core.commands import Command, Run, Step
from streamgate.core.events import (
    Completed,
    Event,
    InstanceBack,
    InstanceLost,
    Reserve,
    Resize,
    Submit,
)
from streamgate.core.factory import create_scheduler
from streamgate.core.ids import NO_REQUEST, InstanceIndex, Ns, OwnerNumber, RequestNumber
from streamgate.core.trace import Recorder
from streamgate.model.config import (
    DirectStrategy,
    OldestStrategy,
    Scheduling,
    SequenceBatching,
)
from streamgate.model.request import SequenceKey

US = 1_000
MS = 1_000_000


class Play:
    """A scheduler, a clock and a device that is told when to be done."""

    def __init__(self, scheduling: Scheduling, max_batch_size: int, instances: int = 1) -> None:
        self.lines: list[str] = []
        self.scheduler = Recorder(
            create_scheduler, scheduling, max_batch_size, instances, self.lines.append
        )
        self.now = Ns(0)
        self.requests = 0
        self.running: list[Step] = []
        self.heard: list[tuple[Ns, Command]] = []

    def submit(
        self,
        sequence: SequenceKey = 0,
        flags: str = "",
        *,
        rows: int = 1,
        shape: str = "",
        priority: int = 0,
        timeout_ns: int = 0,
        owner: int = 0,
    ) -> RequestNumber:
        """`flags`: S for START, E for END."""
        self.requests += 1
        request = RequestNumber(self.requests)
        event = Submit(
            request,
            sequence,
            "S" in flags,
            "E" in flags,
            rows,
            shape or None,
            priority,
            timeout_ns,
            OwnerNumber(owner),
        )
        self.scheduler.receive(event, self.now)
        return request

    def reserve(self, sequence: SequenceKey, owner: int = 0) -> list[Command]:
        """Ask for a slot before the START comes; what the scheduler says to that."""
        self.requests += 1
        self.tell(Reserve(RequestNumber(self.requests), sequence, OwnerNumber(owner)))
        return self.poll()

    def tell(self, event: Event) -> None:
        self.scheduler.receive(event, self.now)

    def lose(
        self, instance: int, *, keeps_states: bool = True, patience_ns: int = 10 * MS
    ) -> list[Command]:
        """The instance is gone, with its step; what the scheduler says to that."""
        self.running = [step for step in self.running if step.instance != instance]
        self.tell(InstanceLost(InstanceIndex(instance), keeps_states, patience_ns))
        return self.poll()

    def bring_back(self, instance: int) -> list[Command]:
        self.tell(InstanceBack(InstanceIndex(instance)))
        return self.poll()

    def resize(self, *instances: int, grace_ns: int = 10 * MS) -> list[Command]:
        self.tell(Resize(tuple(InstanceIndex(index) for index in instances), grace_ns))
        return self.poll()

    def poll(self) -> list[Command]:
        commands = self.scheduler.poll(self.now)
        for command in commands:
            self.heard.append((self.now, command))
            if isinstance(command, Run):
                self.running.append(command.step)
        return commands

    def wait(self, duration_ns: int) -> None:
        """Let time pass, waking up for the scheduler."""
        self.poll()
        until = self.now + duration_ns
        while (wake_at := self.scheduler.wake_at()) is not None and wake_at <= until:
            self.now = wake_at
            self.poll()
        self.now = Ns(until)

    def complete(
        self, again: bool = False, over: bool = False, failed: bool = False, which: int = 0
    ) -> list[Command]:
        """The step that has run for longest comes back; what the scheduler says to that."""
        step = self.running.pop(which)
        requests = frozenset(row.request for row in step.rows if row.request != NO_REQUEST)
        none: frozenset[RequestNumber] = frozenset()
        event = Completed(
            step.number,
            requests if again else none,
            requests if over else none,
            requests if failed else none,
        )
        self.scheduler.receive(event, self.now)
        return self.poll()

    def run(self, step_ns: int = 100 * US) -> None:
        """Until nothing runs any more."""
        self.poll()
        while self.running:
            self.wait(step_ns)
            self.complete()


def direct(slots: int = 4, **rest: Any) -> SequenceBatching:
    return SequenceBatching(DirectStrategy(), slots, **rest)


def oldest(slots: int = 4, **rest: Any) -> SequenceBatching:
    return SequenceBatching(OldestStrategy(slots, (slots,)), slots, **rest)
