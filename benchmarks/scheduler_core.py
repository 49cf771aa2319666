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
import sys
import time
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from streamgate.core.commands import Run
from streamgate.core.events import Completed, Submit
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
IDLE_NS = 3_600_000_000_000


class Load:
    """An engine with a clock that only counts."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.now = 0
        self.requests = 0

    def submit(self, sequence: int, *, start: bool = False) -> None:
        self.requests += 1
        self.now += 1
        event = Submit(
            RequestNumber(self.requests), sequence, start, False, 1, None, 0, 0, OwnerNumber(sequence)
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


if __name__ == "__main__":
    print(*speed_table(), sep="\n")
