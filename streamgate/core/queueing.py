"""The queue of a stateless model: priority levels, limits and timeouts.

Knows nothing of batches and instances. Levels exist only while something waits at them, so a
configuration with a million levels costs nothing.
"""

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterator
from typing import final

from streamgate.core.events import Submit
from streamgate.core.heap import Place
from streamgate.core.ids import Ns, RequestNumber
from streamgate.core.timers import Timers
from streamgate.model.config import DynamicBatching, QueuePolicy, TimeoutAction


@final
class Queued:
    """A stateless request that waits for a step."""

    __slots__ = ("arrived_at", "event", "late", "level", "timer")

    def __init__(self, event: Submit, level: int, arrived_at: Ns) -> None:
        self.event = event
        self.level = level
        self.arrived_at = arrived_at
        self.late = False
        self.timer: Place[Queued] | None = None


@final
class _Level:
    """One level's requests: those in time, then those that are late (DELAY)."""

    __slots__ = ("late", "timely")

    def __init__(self) -> None:
        self.timely: OrderedDict[RequestNumber, Queued] = OrderedDict()
        self.late: OrderedDict[RequestNumber, Queued] = OrderedDict()

    def __len__(self) -> int:
        return len(self.timely) + len(self.late)


@final
class RequestQueue:
    """Requests in the order in which they are to run: by level, and first in, first out in each.

    Triton 2.51, with three defects put right: timeouts are exact, a request's own timeout is
    honoured where there is no default one, and the shorter of the two wins.
    """

    def __init__(self, rules: DynamicBatching) -> None:
        self._rules = rules
        self._levels: dict[int, _Level] = {}
        self._order: list[int] = []
        self._requests: dict[RequestNumber, Queued] = {}
        self._timers: Timers[Queued] = Timers()

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Queued]:
        for number in self._order:
            level = self._levels[number]
            yield from level.timely.values()
            yield from level.late.values()

    def get(self, request: RequestNumber) -> Queued | None:
        """The request, if it waits here."""
        return self._requests.get(request)

    def put(self, event: Submit, now: Ns) -> Queued | None:
        """Take a request in, or return None when its level is full."""
        number = self._level_of(event.priority)
        policy = self._policy_of(number)
        level = self._levels.get(number)
        if level is None:
            level = self._levels[number] = _Level()
            insort(self._order, number)
        elif 0 < policy.max_queue_size <= len(level):
            return None
        queued = Queued(event, number, now)
        level.timely[event.request] = queued
        self._requests[event.request] = queued
        timeout_ns = _timeout_ns(policy, event.timeout_ns)
        if timeout_ns:
            queued.timer = self._timers.push(Ns(now + timeout_ns), queued)
        return queued

    def is_last(self, queued: Queued) -> bool:
        """Whether a request that was just put in stands behind all others."""
        return queued.level == self._order[-1] and not self._levels[queued.level].late

    def remove(self, queued: Queued) -> None:
        """Take a request out, wherever it stands."""
        number = queued.event.request
        del self._requests[number]
        level = self._levels[queued.level]
        del (level.late if queued.late else level.timely)[number]
        if not level:
            del self._levels[queued.level]
            self._order.remove(queued.level)
        if queued.timer is not None:
            self._timers.discard(queued.timer)

    def expire(self, now: Ns) -> list[Queued] | None:
        """Deal with the requests whose timeout has passed; None when there are none.

        Those whose policy is to reject are taken out and returned; the others are late now.
        """
        if not self._timers:
            return None
        rejected: list[Queued] | None = None
        while (queued := self._timers.pop_due(now)) is not None:
            rejected = [] if rejected is None else rejected
            queued.timer = None
            if self._policy_of(queued.level).timeout_action is TimeoutAction.DELAY:
                level = self._levels[queued.level]
                del level.timely[queued.event.request]
                level.late[queued.event.request] = queued
                queued.late = True
            else:
                self.remove(queued)
                rejected.append(queued)
        return rejected

    def next_at(self) -> Ns | None:
        """When the next timeout passes."""
        return self._timers.next_at()

    def _level_of(self, priority: int) -> int:
        if 1 <= priority <= self._rules.priority_levels:
            return priority
        return self._rules.default_priority

    def _policy_of(self, level: int) -> QueuePolicy:
        return self._rules.policies.get(level, self._rules.default_policy)


def _timeout_ns(policy: QueuePolicy, asked_ns: int) -> int:
    """How long a request may wait: the policy's default or, if allowed, what it asked for when
    that is shorter. 0 for no limit."""
    default_ns = policy.default_timeout_ns
    if not policy.allow_timeout_override or asked_ns <= 0:
        return default_ns
    return min(asked_ns, default_ns) if default_ns else asked_ns
