"""What a scheduling decision costs: microseconds of CPU for each request, and bytes for each
sequence that waits.

Peer: none; the figures are compared with the cost of the wire, 85 to 190 us a message.
Workload: every sequence has a slot and sends its next request as soon as the last one is back, so
that each step is as full as it gets ("full"); or one request at a time is in flight ("lone"), the
most steps that a request can cost. Limit: one CPU core; no engine, tensors or network.

    python benchmarks/scheduler_core.py [--markdown FILE]
"""

import argparse
import gc
import os
import platform
import resource
import sys
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from streamgate.core.commands import Run
from streamgate.core.events import Cancel, Completed, Submit
from streamgate.core.factory import create_scheduler
from streamgate.core.ids import Ns, OwnerNumber, RequestNumber
from streamgate.core.scheduler import Scheduler
from streamgate.model.config import (
    DirectStrategy,
    DynamicBatching,
    OldestStrategy,
    SequenceBatching,
)

SLOTS = (8, 64, 512, 4096)
REQUESTS = 4_096
REPEATS = 40
LIVE = 100_000
BACKLOG = 100_000
CHURN = 20_000
CHURNS = 5
IDLE_NS = 3_600_000_000_000


class Load:
    """An engine with a clock that only counts."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.now = 0
        self.requests = 0
        self.oldest = 1
        self.newest = LIVE + BACKLOG

    def submit(self, sequence: int, *, start: bool = False, end: bool = False) -> None:
        self.requests += 1
        self.now += 1
        event = Submit(
            RequestNumber(self.requests),
            sequence,
            start,
            False,
            1,
            None,
            0,
            0,
            OwnerNumber(sequence),
        )
        self.scheduler.receive(event, Ns(self.now))

    def finish(self) -> int:
        """Poll once, complete what runs, and poll no more; returns the rows that ran."""
        rows = 0
        for command in self.scheduler.poll(Ns(self.now)):
            if isinstance(command, Run):
                rows += len(command.step.rows)
                self.now += 1
                self.scheduler.receive(Completed(command.step.number), Ns(self.now))
        self.scheduler.wake_at()
        return rows


def sequences(strategy: str, slots: int) -> Load:
    """Slots all taken, nothing queued."""
    choice = DirectStrategy() if strategy == "direct" else OldestStrategy(slots, (slots,))
    batching = SequenceBatching(choice, slots, max_idle_ns=IDLE_NS)
    load = Load(create_scheduler(batching, slots, 1))
    for sequence in range(1, slots + 1):
        load.submit(sequence, start=True)
    load.finish()
    return load


def full(load: Load, slots: int) -> float:
    """Microseconds for each request when all slots send at once."""
    rounds = max(1, REQUESTS // slots)
    began = time.thread_time_ns()
    for _ in range(rounds):
        for sequence in range(1, slots + 1):
            load.submit(sequence)
        assert load.finish() == slots
    return (time.thread_time_ns() - began) / (rounds * slots) / 1e3


def lone(load: Load, slots: int) -> float:
    """Microseconds for each request when only one is in flight."""
    count = min(REQUESTS, 2_000)
    began = time.thread_time_ns()
    for i in range(count):
        load.submit(1 + i * 7 % slots)
        load.finish()
    return (time.thread_time_ns() - began) / count / 1e3


def stateless(batch: int) -> float:
    """Microseconds for each request of a dynamic batcher, `batch` of them a step."""
    load = Load(create_scheduler(DynamicBatching((batch,)), batch, 1))
    rounds = max(1, REQUESTS // batch)
    began = time.thread_time_ns()
    for _ in range(rounds):
        for owner in range(1, batch + 1):
            load.submit(owner)
        assert load.finish() == batch
    return (time.thread_time_ns() - began) / (rounds * batch) / 1e3


def best(measure: Iterator[float]) -> float:
    gc.collect()
    gc.disable()
    try:
        return min(measure)
    finally:
        gc.enable()


def speed_table() -> list[str]:
    lines = [
        "| slots (or batch) | oldest, full | oldest, lone | direct, full | direct, lone | dynamic |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for slots in SLOTS:
        cells = []
        for strategy in ("oldest", "direct"):
            load = sequences(strategy, slots)
            cells.append(best(full(load, slots) for _ in range(REPEATS)))
            cells.append(best(lone(load, slots) for _ in range(REPEATS)))
        cells.append(best(stateless(slots) for _ in range(REPEATS)))
        lines.append(f"| {slots} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    return lines


def crowd() -> list[str]:
    """Many sequences at once: bytes for each, and whether a busy crowd grows."""
    instances = 10
    per_instance = LIVE // instances
    batching = SequenceBatching(
        OldestStrategy(per_instance, (256,)), per_instance, max_idle_ns=IDLE_NS, max_backlog=BACKLOG
    )
    gc.collect()
    tracemalloc.start()
    load = Load(create_scheduler(batching, 256, instances))
    empty = tracemalloc.get_traced_memory()[0]
    for sequence in range(1, LIVE + 1):
        load.submit(sequence, start=True)
        if sequence % 256 == 0:
            load.finish()
    while load.finish():
        pass
    live = tracemalloc.get_traced_memory()[0]
    for sequence in range(LIVE + 1, LIVE + BACKLOG + 1):
        load.submit(sequence, start=True)
    load.finish()
    waiting = tracemalloc.get_traced_memory()[0]
    full = load.scheduler.statistics()
    assert (full.active_sequences, full.backlog_sequences) == (LIVE, BACKLOG)
    sizes = []
    for _ in range(CHURNS):
        churn(load)
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    began = time.thread_time_ns()
    requests = load.requests
    churn(load)
    each_us = (time.thread_time_ns() - began) / (load.requests - requests) / 1e3
    megabytes = ", ".join(f"{size / 1e6:.1f}" for size in sizes)
    return [
        f"- {LIVE:,} sequences in slots: {(live - empty) / LIVE:.0f} bytes each.",
        f"- {BACKLOG:,} more in the backlog, a START queued for each: "
        f"{(waiting - live) / BACKLOG:.0f} bytes each.",
        f"- {CHURNS} times {CHURN:,} of the oldest sequences end, as many leave the backlog, and as "
        f"many new ones and {CHURN:,} that are cancelled again join it. Memory after each time: "
        f"{megabytes} MB.",
        f"- {each_us:.1f} us for each request of one more such round, Python's own garbage "
        "collection included.",
    ]


def churn(load: Load) -> None:
    """The oldest sequences give way to those of the backlog, and new ones come."""
    newest = load.requests
    oldest = load.oldest
    load.oldest += CHURN
    for i in range(CHURN):
        load.submit(oldest + i, end=True)
    while load.finish():
        pass
    for i in range(CHURN):
        load.submit(load.newest + 1 + i, start=True)
    for i in range(CHURN):
        load.submit(-1 - newest - i, start=True)
        load.scheduler.receive(Cancel(RequestNumber(load.requests)), Ns(load.now))
    load.newest += CHURN
    while load.finish():
        pass


def report() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = [
        "# What scheduling costs",
        "",
        "Written by `python benchmarks/scheduler_core.py --markdown FILE`.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}; {os.cpu_count()} cores of {model}; "
        f"{platform.python_implementation()} {platform.python_version()}; load average "
        f"{os.getloadavg()[0]:.1f} at the end.",
        "",
        "## Microseconds for each request",
        "",
        "From making its `Submit` to its step's `Completed`, `poll` and `wake_at` included. *Full*: "
        "all slots send at once, one step for all. *Lone*: one request at a time, one step for "
        "each. *Dynamic*: a stateless model, this many requests a step. The least of "
        f"{REPEATS} runs, CPU time of the one thread.",
        "",
        *speed_table(),
        "",
        "A lone request of the direct strategy pays for the null rows of the slots before its own.",
        "",
        "## A crowd",
        "",
        *crowd(),
        f"- Largest resident size of the whole run: {rss:.0f} MB.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--markdown", type=Path, help="write the report to this file, too")
    arguments = parser.parse_args()
    text = report()
    sys.stdout.write(text)
    if arguments.markdown is not None:
        arguments.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
