"""The queue of a stateless model: priority levels, limits and timeouts.

Knows nothing of batches and instances. Levels exist only while something waits at them, so a
configuration with a million levels costs nothing.
"""

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
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

    __slots__ = ("late", "policy", "timely")

    def __init__(self, policy: QueuePolicy) -> None:
        self.policy = policy
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
        level = self._levels.get(number)
        if level is None:
            level = self._open(number)
        policy = level.policy
        if 0 < policy.max_queue_size <= len(level):
            return None
        queued = Queued(event, number, now)
        level.timely[event.request] = self._requests[event.request] = queued
        timeout_ns = policy.default_timeout_ns
        if event.timeout_ns > 0 and policy.allow_timeout_override:
            timeout_ns = min(event.timeout_ns, timeout_ns or event.timeout_ns)
        if timeout_ns > 0:
            queued.timer = self._timers.push(now + timeout_ns, queued)
        return queued

    def is_last(self, queued: Queued) -> bool:
        """Whether a request that was just put in stands behind all others."""
        return queued.level == self._order[-1] and not self._levels[queued.level].late

    def pop(self, count: int) -> list[Queued]:
        """Take out the first `count` requests."""
        popped = list(islice(self, count))
        for queued in popped:
            self.remove(queued)
        return popped

    def remove(self, queued: Queued) -> None:
        """Take a request out, wherever it stands."""
        number = queued.event.request
        del self._requests[number]
        level = self._levels[queued.level]
        if queued.late:
            del level.late[number]
        else:
            del level.timely[number]
        if queued.timer is not None:
            self._timers.discard(queued.timer)
        if not level.timely and not level.late:
            del self._levels[queued.level]
            self._order.remove(queued.level)

    def expire(self, now: Ns) -> list[Queued]:
        """Deal with the requests whose timeout has passed.

        Those whose policy is to reject are taken out and returned; the others are late now.
        """
        rejected: list[Queued] = []
        while (queued := self._timers.pop_due(now)) is not None:
            queued.timer = None
            level = self._levels[queued.level]
            if level.policy.timeout_action is TimeoutAction.DELAY:
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

    def _open(self, number: int) -> _Level:
        policy = self._rules.policies.get(number, self._rules.default_policy)
        level = self._levels[number] = _Level(policy)
        insort(self._order, number)
        return level
