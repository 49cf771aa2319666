import pytest

from streamgate.core.events import Submit
from streamgate.core.ids import Ns, RequestNumber
from streamgate.core.queueing import Queued, RequestQueue
from streamgate.model.config import DynamicBatching, QueuePolicy, TimeoutAction

PRIORITIES = DynamicBatching(priority_levels=3, default_priority=2)


def put(
    queue: RequestQueue, number: int, now: int = 0, *, priority: int = 0, timeout_ns: int = 0
) -> Queued | None:
    request = RequestNumber(number)
    return queue.put(Submit(request, priority=priority, timeout_ns=timeout_ns), Ns(now))


def numbers(queued: RequestQueue | list[Queued]) -> list[int]:
    return [each.event.request for each in queued]


def with_policy(policy: QueuePolicy) -> RequestQueue:
    return RequestQueue(DynamicBatching(default_policy=policy))


def test_first_in_first_out() -> None:
    queue = with_policy(QueuePolicy())
    for number in (3, 1, 2):
        put(queue, number)
    assert numbers(queue) == [3, 1, 2]
    assert numbers(queue.pop(2)) == [3, 1]
    assert len(queue) == 1


def test_levels_in_order_and_requests_without_one_at_the_default() -> None:
    """Facts 5.3: 0 and numbers above the last level are the default level."""
    queue = RequestQueue(PRIORITIES)
    for number, priority in enumerate((3, 0, 1, 99, 2, 1), 1):
        put(queue, number, priority=priority)
    assert numbers(queue) == [3, 6, 2, 4, 5, 1]


def test_is_last_looks_at_all_levels() -> None:
    queue = RequestQueue(PRIORITIES)
    last = put(queue, 1, priority=3)
    first = put(queue, 2, priority=1)
    assert last is not None
    assert first is not None
    assert queue.is_last(last)
    assert not queue.is_last(first)


def test_full_level_takes_no_more_and_others_do() -> None:
    rules = DynamicBatching(
        priority_levels=2, default_priority=1, policies={1: QueuePolicy(max_queue_size=2)}
    )
    queue = RequestQueue(rules)
    assert put(queue, 1)
    assert put(queue, 2)
    assert put(queue, 3) is None
    assert put(queue, 4, priority=2)
    queue.pop(1)
    assert put(queue, 5)


def test_late_requests_count_for_the_limit() -> None:
    """Facts 5.4: the limit includes delayed requests."""
    queue = with_policy(QueuePolicy(TimeoutAction.DELAY, 10, max_queue_size=2))
    put(queue, 1)
    queue.expire(Ns(10))
    assert put(queue, 2, 10)
    assert put(queue, 3, 10) is None


@pytest.mark.parametrize(
    ("default_ns", "override", "asked_ns", "expected_ns"),
    [
        (0, False, 0, None),
        (50, False, 0, 50),
        (50, False, 20, 50),
        (50, True, 20, 20),
        (50, True, 90, 50),
        (50, True, 0, 50),
        (0, True, 20, 20),
        (0, False, 20, None),
    ],
)
def test_defect_3_own_timeout_counts_where_it_may_and_is_shorter(
    default_ns: int, override: bool, asked_ns: int, expected_ns: int | None
) -> None:
    queue = with_policy(QueuePolicy(TimeoutAction.REJECT, default_ns, override))
    put(queue, 1, 100, timeout_ns=asked_ns)
    assert queue.next_at() == (None if expected_ns is None else 100 + expected_ns)


def test_defect_2_timeouts_are_exact_and_removed_with_their_requests() -> None:
    queue = with_policy(QueuePolicy(TimeoutAction.REJECT, 10))
    for number in (1, 2, 3):
        put(queue, number, number)
    queue.pop(1)
    assert queue.next_at() == 12
    assert queue.expire(Ns(11)) == []
    assert numbers(queue.expire(Ns(12))) == [2]
    assert numbers(queue) == [3]
    assert numbers(queue.expire(Ns(13))) == [3]
    assert queue.next_at() is None


def test_late_requests_stand_behind_those_in_time_of_their_level() -> None:
    rules = DynamicBatching(
        priority_levels=2,
        default_priority=1,
        policies={1: QueuePolicy(TimeoutAction.DELAY, 10)},
    )
    queue = RequestQueue(rules)
    put(queue, 1)
    put(queue, 2, priority=2)
    put(queue, 3, 5)
    assert queue.expire(Ns(10)) == []
    last = put(queue, 4, 10)
    assert last is not None
    assert not queue.is_last(last)
    assert numbers(queue) == [3, 4, 1, 2]
    assert queue.expire(Ns(99)) == []
    assert numbers(queue) == [1, 3, 4, 2]
    late = queue.get(RequestNumber(1))
    assert late is not None
    queue.remove(late)
    assert numbers(queue) == [3, 4, 2]


def test_level_without_requests_is_forgotten() -> None:
    queue = RequestQueue(DynamicBatching(priority_levels=1_000_000, default_priority=1))
    for number in range(1, 1_000):
        put(queue, number, priority=number * 1_000)
    queue.pop(999)
    assert not queue._levels
    assert not queue._order
    assert queue.get(RequestNumber(1)) is None
