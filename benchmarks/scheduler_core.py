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
CHURNS = 12
INSTANCES = 10
CONNECTIONS = 1_000
ROWS = 256
LINE = "\n"
IDLE_NS = 3_600_000_000_000


class Load:
    """An engine with a clock that only counts."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.now = 0
        self.requests = 0

    def submit(self, sequence: int | str, *, start: bool = False, end: bool = False) -> None:
        self.requests += 1
        self.now += 1
        owner = OwnerNumber(1 + sequence % CONNECTIONS if isinstance(sequence, int) else 1)
        event = Submit(RequestNumber(self.requests), sequence, start, end, 1, None, 0, 0, owner)
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
    columns = ("oldest, full", "oldest, lone", "direct, full", "direct, lone", "dynamic")
    lines = [f"| slots | {' | '.join(columns)} |", "| ---: " * (len(columns) + 1) + "|"]
    for slots in SLOTS:
        cells = []
        for strategy in ("oldest", "direct"):
            load = sequences(strategy, slots)
            cells.append(best(full(load, slots) for _ in range(REPEATS)))
            cells.append(best(lone(load, slots) for _ in range(REPEATS)))
        cells.append(best(stateless(slots) for _ in range(REPEATS)))
        lines.append(f"| {slots} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    return lines


class Crowd:
    """Many sequences at once, in the slots of several instances and in the backlog."""

    def __init__(self) -> None:
        slots = LIVE // INSTANCES
        strategy = OldestStrategy(slots, (ROWS,))
        batching = SequenceBatching(strategy, slots, max_idle_ns=IDLE_NS, max_backlog=BACKLOG)
        self.load = Load(create_scheduler(batching, ROWS, INSTANCES))
        self.oldest = 1
        self.newest = 0

    def start(self, count: int) -> None:
        for _ in range(count):
            self.newest += 1
            self.load.submit(self.newest, start=True)
        self.run()

    def run(self) -> None:
        while self.load.finish():
            pass

    def churn(self) -> None:
        """The oldest sequences end, those of the backlog take their slots, and new ones come, of
        which some are cancelled again."""
        for _ in range(CHURN):
            self.load.submit(self.oldest, end=True)
            self.oldest += 1
        self.run()
        self.start(CHURN)
        for i in range(CHURN):
            self.load.submit(f"cancelled {i}", start=True)
            request = RequestNumber(self.load.requests)
            self.load.scheduler.receive(Cancel(request), Ns(self.load.now))
        self.run()


def crowd_report() -> list[str]:
    """Bytes for each sequence, and whether a busy crowd grows."""
    gc.collect()
    tracemalloc.start()
    crowd = Crowd()
    empty = tracemalloc.get_traced_memory()[0]
    crowd.start(LIVE)
    live = tracemalloc.get_traced_memory()[0]
    crowd.start(BACKLOG)
    waiting = tracemalloc.get_traced_memory()[0]
    counts = crowd.load.scheduler.statistics()
    assert (counts.active_sequences, counts.backlog_sequences) == (LIVE, BACKLOG)
    sizes = []
    for _ in range(CHURNS):
        crowd.churn()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    requests = crowd.load.requests
    began = time.thread_time_ns()
    crowd.churn()
    each_us = (time.thread_time_ns() - began) / (crowd.load.requests - requests) / 1e3
    megabytes = ", ".join(f"{size / 1e6:.0f}" for size in sizes)
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"""\
- {LIVE:,} sequences in the slots of {INSTANCES} instances: {(live - empty) / LIVE:.0f} bytes each.
- {BACKLOG:,} more in the backlog, with a START queued each: {(waiting - live) / BACKLOG:.0f} bytes
  each.
- {CHURNS} rounds, in each of which {CHURN:,} sequences end, as many leave the backlog, as many new
  ones join it, and {CHURN:,} more join it and are cancelled. Traced memory after each round, in MB
  (tables that lose and gain entries double once, and then stay):
  {megabytes}.
- {each_us:.1f} us for each request of one more such round, garbage collection included.
- Largest resident size of the process, tracing included: {rss_mb:.0f} MB.
""".splitlines()


def report() -> str:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    return f"""\
# What scheduling costs

Written by `python benchmarks/scheduler_core.py --markdown FILE` on {datetime.now(UTC):%Y-%m-%d}.
{os.cpu_count()} cores of {model}, {platform.python_implementation()}
{platform.python_version()}; load average {os.getloadavg()[0]:.1f} when it began.

## Microseconds for each request

From making its `Submit` to its step's `Completed`, `poll` and `wake_at` included. *Full*: all slots
send at once and share a step. *Lone*: one request at a time, a step for each. *Dynamic*: a
stateless model, so many requests a step. CPU time of the one thread, the least of {REPEATS} runs.

{LINE.join(speed_table())}

A lone request of the direct strategy pays for the null rows of the slots before its own.

## A crowd

{LINE.join(crowd_report())}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(LINE)[0])
    parser.add_argument("--markdown", type=Path, help="write the report to this file, too")
    arguments = parser.parse_args()
    text = report()
    sys.stdout.write(text)
    if arguments.markdown is not None:
        arguments.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
