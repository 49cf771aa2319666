"""A dynamic batcher as plainly as it can be said: one list, sorted and walked anew each time.

Written from the rules, not from the scheduler, to be compared with it command by command.
"""

from dataclasses import dataclass

from streamgate.core.commands import Command, InstanceGone, Reject, Rejection, Row, Run, Step
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
from streamgate.core.ids import InstanceIndex, Ns, StepNumber
from streamgate.model.config import DefaultScheduling, DynamicBatching, QueuePolicy, TimeoutAction


@dataclass
class Waiting:
    event: Submit
    level: int
    arrived_at: Ns
    expires_at: Ns | None
    late: int = 0


class ReferenceQueue:
    def __init__(
        self, scheduling: DefaultScheduling | DynamicBatching, max_batch_size: int, instances: int
    ) -> None:
        self.alone = isinstance(scheduling, DefaultScheduling) or max_batch_size == 0
        self.rules = scheduling if isinstance(scheduling, DynamicBatching) else DynamicBatching()
        self.max_batch_size = max_batch_size
        self.queue: list[Waiting] = []
        self.idle = [InstanceIndex(index) for index in range(instances)]
        self.present = list(self.idle)
        self.away: dict[InstanceIndex, Ns] = {}
        self.given_up: set[InstanceIndex] = set()
        self.leaving: list[InstanceIndex] = []
        self.running: dict[StepNumber, InstanceIndex] = {}
        self.steps = self.delayed = 0
        self.stopping = False
        self.out: list[Command] = []

    def receive(self, event: Event, now: Ns) -> None:
        match event:
            case Submit():
                self.submit(event, now)
            case Completed():
                self.rest(self.running.pop(event.step))
            case InstanceLost(index) if index not in self.away:
                self.away[index] = Ns(now + event.patience_ns)
                self.idle = [each for each in self.idle if each != index]
                for step, where in list(self.running.items()):
                    if where == index:
                        self.rest(self.running.pop(step))
            case InstanceBack(index) if index in self.away:
                del self.away[index]
                self.given_up.discard(index)
                self.rest(index)
            case Resize(instances):
                self.resize(instances)
            case Cancel():
                self.drop([each for each in self.queue if each.event.request == event.request])
            case HangUp():
                self.drop([each for each in self.queue if each.event.owner == event.owner])
            case Drain():
                self.stopping = True
            case Close():
                self.stopping = True
                self.leave_the_deserted()
                self.drop(self.sorted(), Rejection.STOPPING)

    def rest(self, index: InstanceIndex) -> None:
        """An instance runs nothing now: it could run something, or goes if it is to."""
        if index in self.leaving:
            self.leaving.remove(index)
            self.present.remove(index)
            self.away.pop(index, None)
            self.given_up.discard(index)
            self.out.append(InstanceGone(index))
        elif index not in self.away:
            self.idle.append(index)

    def resize(self, instances: tuple[InstanceIndex, ...]) -> None:
        for index in instances:
            if index in self.leaving:
                self.leaving.remove(index)
            elif index not in self.present:
                self.present.append(index)
                self.idle.append(index)
        for index in [each for each in self.present if each not in instances]:
            if index not in self.leaving:
                self.leaving.append(index)
                self.idle = [each for each in self.idle if each != index]
                if index not in self.running.values():
                    self.rest(index)
        self.leave_the_deserted()

    @property
    def deserted(self) -> bool:
        return all(index in self.given_up or index in self.leaving for index in self.present)

    def leave_the_deserted(self) -> None:
        if self.deserted:
            self.drop(self.sorted(), Rejection.INSTANCE_AWAY)

    def submit(self, event: Submit, now: Ns) -> None:
        levels = self.rules.priority_levels
        level = event.priority if 1 <= event.priority <= levels else self.rules.default_priority
        policy = self.rules.policies.get(level, self.rules.default_policy)
        size = len([each for each in self.queue if each.level == level])
        if self.stopping:
            self.out.append(Reject(event.request, Rejection.STOPPING, admitted=False))
        elif self.deserted:
            self.out.append(Reject(event.request, Rejection.INSTANCE_AWAY, admitted=False))
        elif policy.max_queue_size and size >= policy.max_queue_size:
            self.out.append(Reject(event.request, Rejection.QUEUE_FULL, admitted=False))
        else:
            self.queue.append(Waiting(event, level, now, expiry(policy, event, now)))

    def drop(self, gone: list[Waiting], reason: Rejection = Rejection.CANCELLED) -> None:
        for each in gone:
            self.queue.remove(each)
            self.out.append(Reject(each.event.request, reason, admitted=True))

    def sorted(self) -> list[Waiting]:
        return sorted(self.queue, key=lambda each: (each.level, each.late, each.event.request))

    def poll(self, now: Ns) -> list[Command]:
        expired = [each for each in self.queue if each.expires_at and each.expires_at <= now]
        for each in sorted(expired, key=lambda each: (each.expires_at, each.event.request)):
            policy = self.rules.policies.get(each.level, self.rules.default_policy)
            if policy.timeout_action is TimeoutAction.REJECT:
                self.drop([each], Rejection.TIMEOUT)
            else:
                self.delayed += 1
                each.late, each.expires_at = self.delayed, None
        self.given_up |= {index for index, until in self.away.items() if until <= now}
        self.leave_the_deserted()
        while self.idle and (step := self.step(now)):
            for each in step:
                self.queue.remove(each)
            self.steps += 1
            number, instance = StepNumber(self.steps), self.idle.pop(0)
            self.running[number] = instance
            rows = tuple(Row(each.event.request, rows=each.event.rows) for each in step)
            self.out.append(Run(Step(number, instance, rows)))
        out, self.out = self.out, []
        return out

    def step(self, now: Ns) -> list[Waiting]:
        queue = self.sorted()
        if not queue or self.alone:
            return queue[:1]
        prefix = queue[:1]
        for each in queue[1:]:
            rows = sum(other.event.rows for other in prefix) + each.event.rows
            if rows > self.full or each.event.signature != queue[0].event.signature:
                break
            prefix.append(each)
        sizes = [
            sum(each.event.rows for each in prefix[: count + 1]) for count in range(len(prefix))
        ]
        preferred = [count for count, size in enumerate(sizes, 1) if size in self.preferred]
        if preferred and not self.waited(prefix, now):
            return prefix[: preferred[-1]]
        cannot_grow = len(prefix) < len(queue) or sizes[-1] >= self.full
        if cannot_grow or not self.rules.max_delay_ns or self.waited(prefix, now):
            return prefix
        return []

    @property
    def full(self) -> int:
        return max(self.preferred, default=self.max_batch_size)

    @property
    def preferred(self) -> tuple[int, ...]:
        return self.rules.preferred_sizes

    def waited(self, prefix: list[Waiting], now: Ns) -> bool:
        oldest = min(each.arrived_at for each in prefix)
        return 0 < self.rules.max_delay_ns <= now - oldest


def expiry(policy: QueuePolicy, event: Submit, now: Ns) -> Ns | None:
    limits = [policy.default_timeout_ns]
    if policy.allow_timeout_override:
        limits.append(event.timeout_ns)
    limit = min((each for each in limits if each), default=0)
    return Ns(now + limit) if limit else None
