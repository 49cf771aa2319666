"""The scenarios whose traces are kept in tests/core/traces.

After a change of behaviour that is meant, write them anew and look at the difference:

    python -m tests.core.scenarios
"""

import random
from collections.abc import Callable
from pathlib import Path

from streamgate.core.events import (
    Cancel,
    Close,
    Drain,
    EndSequence,
    HangUp,
)
from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.errors import EndReason
from streamgate.model.config import (
    DefaultScheduling,
    DirectStrategy,
    DynamicBatching,
    OldestStrategy,
    QueuePolicy,
    Scheduling,
    SequenceBatching,
    TimeoutAction,
)
from tests.core.play import MS, US, Play, direct, oldest

TRACES = Path(__file__).parent / "traces"


def direct_gaps() -> Play:
    """Positional rows, null rows in the gaps, ENDs, slots taken anew and idle sequences."""
    play = Play(direct(), 4)
    for sequence in (11, 12, 13, 14, 15):
        play.submit(sequence, "S")
    play.run()
    play.submit(14)
    play.run()
    play.submit(12, "E")
    play.submit(13)
    play.run()
    play.submit(15)
    play.submit(14, "E")
    play.run()
    play.wait(2_000 * MS)
    return play


def direct_delay() -> Play:
    """A step waits for three quarters of the slots, or for half a second."""
    play = Play(SequenceBatching(DirectStrategy(500 * MS, 0.75), 4), 4)
    play.submit(1, "S")
    play.wait(600 * MS)
    play.complete()
    play.submit(1)
    play.wait(100 * MS)
    play.submit(2, "S")
    play.wait(100 * MS)
    play.submit(3, "S", shape="wide")
    play.run()
    return play


def oldest_turns() -> Play:
    """More candidates than rows: sequences take turns, whatever each has sent ahead."""
    play = Play(SequenceBatching(OldestStrategy(3, (2,), 20 * MS), 3), 2, 2)
    for sequence in ("a", "b", "c", "d", 1, 2, 3, 4):
        play.submit(sequence, "S")
        for _ in range(3):
            play.submit(sequence)
        play.submit(sequence, "E")
    play.run()
    play.submit("lone", "SE")
    play.wait(19 * MS)
    play.wait(1 * MS)
    play.run()
    return play


def unbatched_sequences() -> Play:
    """A model without a batch dimension: candidates interleave, direct ones are serialised."""
    play = Play(oldest(3), 0)
    for sequence in (1, 2, 3, 4):
        play.submit(sequence, "S")
        play.submit(sequence, "E")
    play.run()
    return play


def backlog() -> Play:
    """Limits, timeouts and cancellation while waiting for a slot."""
    play = Play(direct(1, max_backlog=3, max_pending=2), 1)
    play.submit(1, "S")
    play.poll()
    play.submit(2, "S", timeout_ns=5 * MS)
    play.submit(2, timeout_ns=2 * MS)
    play.submit(2)
    doomed = play.submit(3, "S")
    play.submit(3)
    play.submit(4, "SE")
    play.submit(5, "S")
    play.wait(3 * MS)
    play.submit(2)
    play.tell(Cancel(doomed))
    play.submit(1, "E")
    play.submit(1, "S")
    play.run()
    play.wait(2_000 * MS)
    return play


def same_id() -> Play:
    """A START on a live ID takes over; one after END waits for its predecessor."""
    play = Play(oldest(2), 2)
    for flags in ("S", "", "S", "", "E", "S", "E", "SE"):
        play.submit(7, flags)
    play.submit("7", "S")
    play.run()
    play.wait(1_500 * MS)
    return play


def cancellation() -> Play:
    """Requests and connections that go away while their requests run, wait or are in backlog."""
    play = Play(oldest(2), 2)
    requests = [play.submit(1, flags, owner=1) for flags in ("S", "", "", "E")]
    play.poll()
    play.tell(Cancel(requests[0]))
    play.tell(Cancel(requests[2]))
    play.tell(Cancel(requests[3]))
    play.submit(2, "S", owner=2)
    play.submit(3, "S", owner=2)
    play.submit(3, owner=1)
    play.submit(1)
    play.poll()
    play.tell(HangUp(OwnerNumber(2)))
    play.run()
    play.submit(1, owner=1)
    play.poll()
    play.tell(HangUp(OwnerNumber(1)))
    play.run()
    return play


def endings() -> Play:
    """Sequences that are ended from outside, draining and closing."""
    play = Play(direct(2), 2)
    for sequence in (1, 2, 3, 4):
        play.submit(sequence, "S")
        play.submit(sequence)
    play.poll()
    play.tell(EndSequence(1, EndReason.LIFETIME))
    play.tell(EndSequence(3, EndReason.PREEMPTED, drain=False))
    play.run()
    play.tell(Drain())
    play.submit(5, "S")
    play.submit(4)
    play.poll()
    play.tell(Close())
    play.submit(4, "E")
    play.run()
    return play


def iterative() -> Play:
    """Requests that run again until the model is done with them."""
    play = Play(SequenceBatching(OldestStrategy(3, (3,)), 3, iterative=True), 3)
    play.submit()
    play.submit(9, "S")
    play.poll()
    play.complete(again=True)
    play.submit()
    play.submit()
    play.complete(again=True)
    play.complete()
    play.complete(over=True)
    play.run()
    return play


def instances_of_sequences() -> Play:
    """One is lost and comes back, one is added, one goes, one is given up."""
    play = Play(oldest(2, max_idle_ns=50 * MS), 2, 2)
    for sequence in (1, 2, 3, 4, 5):
        play.submit(sequence, "S")
        play.submit(sequence)
    play.poll()
    play.lose(0)
    play.wait(2 * MS)
    play.bring_back(0)
    play.run()
    play.submit(2)
    play.poll()
    play.lose(1, keeps_states=False)
    play.submit(6, "SE")
    play.bring_back(1)
    play.resize(0, 2, grace_ns=5 * MS)
    for sequence in (1, 3, 5, 6):
        play.submit(sequence)
    play.run()
    play.submit(1, "E")
    play.resize(0)
    play.wait(20 * MS)
    play.lose(0, patience_ns=MS)
    play.submit(7, "S")
    play.wait(2 * MS)
    play.submit(8, "S")
    play.poll()
    play.bring_back(0)
    play.submit(9, "SE")
    play.run()
    play.wait(60 * MS)
    return play


def instances_of_requests() -> Play:
    """As with sequences, for requests that have none."""
    play = Play(DynamicBatching((2,)), 2, 2)
    for _ in range(7):
        play.submit()
    play.poll()
    play.lose(0)
    play.complete()
    play.bring_back(0)
    play.resize(0, 2)
    play.run()
    play.resize(2)
    play.submit()
    play.poll()
    play.lose(2, patience_ns=MS)
    play.submit()
    play.wait(2 * MS)
    play.submit()
    play.bring_back(2)
    play.submit()
    play.run()
    return play


def ends_of_their_own() -> Play:
    """Too old, idle after a warning, and after an error."""
    play = Play(
        direct(
            3,
            max_idle_ns=4 * MS,
            max_lifetime_ns=9 * MS,
            idle_warning_ns=MS,
            end_on_error=True,
        ),
        3,
    )
    for sequence in (1, 2, 3):
        play.submit(sequence, "S")
    play.poll()
    play.complete()
    for _ in range(3):
        play.wait(2 * MS)
        play.submit(2)
        play.submit(3)
        play.run()
    play.submit(2)
    play.submit(2, "S")
    play.submit(3)
    play.wait(3 * MS)
    play.complete()
    play.submit(2)
    play.submit(2)
    play.submit(2, "S")
    play.run()
    play.submit(2)
    play.submit(2)
    play.poll()
    play.complete(failed=True)
    play.wait(10 * MS)
    return play


def reservations() -> Play:
    """Slots before the START: begun, idle, given back, refused, promised through a drain."""
    play = Play(oldest(2, max_idle_ns=4 * MS, idle_warning_ns=MS), 2)
    play.reserve(1, owner=1)
    play.submit(1)
    play.reserve(1)
    play.reserve(2, owner=2)
    play.reserve(3)
    play.submit(3, "S")
    play.submit(1, "S", owner=1)
    play.submit(1, "E")
    play.run()
    play.tell(HangUp(OwnerNumber(2)))
    play.poll()
    play.run()
    play.reserve(4)
    play.wait(10 * MS)
    play.reserve(5)
    play.reserve(6)
    play.tell(EndSequence(6, EndReason.CLIENT_END, drain=True))
    play.tell(Drain())
    play.reserve(7)
    play.submit(5, "S")
    play.submit(5, "SE")
    play.run()
    play.tell(Close())
    play.poll()
    return play


def dynamic() -> Play:
    """Preferred sizes, the delay, requests that don't fit and shapes that differ."""
    play = Play(DynamicBatching((4, 8), 10 * MS), 8, 2)
    for rows in (1, 2, 1, 1, 3, 4, 8, 5):
        play.submit(rows=rows)
        play.wait(1 * MS)
    play.submit(rows=2, shape="wide")
    play.submit(rows=2)
    play.run(15 * MS)
    play.wait(50 * MS)
    play.run()
    return play


def policies() -> Play:
    """Priorities, limits of queues and timeouts of both kinds."""
    batching = DynamicBatching(
        (2,),
        priority_levels=3,
        default_priority=2,
        default_policy=QueuePolicy(TimeoutAction.REJECT, 5 * MS, True, 2),
        policies={3: QueuePolicy(TimeoutAction.DELAY, 3 * MS), 1: QueuePolicy(max_queue_size=1)},
    )
    play = Play(batching, 2)
    play.submit()
    play.poll()
    for priority in (3, 3, 2, 0, 99, 1, 1, 3):
        play.submit(priority=priority, timeout_ns=4 * MS)
    play.wait(3 * MS)
    play.submit(priority=3)
    play.wait(2 * MS)
    play.run()
    return play


def one_by_one() -> Play:
    """No batching: first in, first out, over two instances."""
    play = Play(DefaultScheduling(), 4, 2)
    requests = [play.submit(rows=rows, owner=1 + rows % 2) for rows in (1, 4, 2, 3, 1)]
    play.poll()
    play.tell(Cancel(requests[3]))
    play.tell(HangUp(OwnerNumber(2)))
    play.complete(which=1)
    play.run()
    play.tell(Drain())
    play.submit()
    play.run()
    return play


def crowd(scheduling: Scheduling, max_batch_size: int, instances: int, seed: int) -> Play:
    """A few hundred random events."""
    dice = random.Random(seed)
    play = Play(scheduling, max_batch_size, instances)
    for _ in range(300):
        roll = dice.randrange(100)
        if roll < 50:
            play.submit(
                1 + dice.randrange(9),
                ("", "", "S", "E", "SE")[dice.randrange(5)],
                shape=("", "", "", "wide")[dice.randrange(4)],
                priority=dice.randrange(4),
                timeout_ns=dice.randrange(3) * 700 * US,
                owner=dice.randrange(3),
            )
        elif roll < 75 and play.running:
            play.complete(which=dice.randrange(len(play.running)))
        elif roll < 90:
            play.wait(dice.randrange(900 * US))
        elif roll < 98:
            play.tell(Cancel(RequestNumber(max(1, play.requests - dice.randrange(6)))))
        else:
            play.tell(HangUp(OwnerNumber(1 + dice.randrange(2))))
    play.run()
    return play


SCENARIOS: dict[str, Callable[[], Play]] = {
    "direct-gaps": direct_gaps,
    "direct-delay": direct_delay,
    "oldest-turns": oldest_turns,
    "unbatched-sequences": unbatched_sequences,
    "backlog": backlog,
    "same-id": same_id,
    "cancellation": cancellation,
    "endings": endings,
    "iterative": iterative,
    "instances-of-sequences": instances_of_sequences,
    "instances-of-requests": instances_of_requests,
    "ends-of-their-own": ends_of_their_own,
    "reservations": reservations,
    "dynamic": dynamic,
    "policies": policies,
    "one-by-one": one_by_one,
    "crowd-direct": lambda: crowd(direct(3, max_idle_ns=3 * MS, max_backlog=2), 3, 1, 1),
    "crowd-oldest": lambda: crowd(oldest(2, max_idle_ns=3 * MS, max_pending=2), 2, 2, 2),
    "crowd-dynamic": lambda: crowd(
        DynamicBatching(
            (2, 4),
            MS,
            priority_levels=2,
            default_priority=2,
            default_policy=QueuePolicy(TimeoutAction.REJECT, MS, True, 6),
            policies={1: QueuePolicy(TimeoutAction.DELAY, MS)},
        ),
        4,
        2,
        3,
    ),
}


def main() -> None:
    TRACES.mkdir(exist_ok=True)
    for name, scenario in SCENARIOS.items():
        lines = scenario().lines
        (TRACES / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
