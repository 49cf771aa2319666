"""How long clients wait when an engine is killed, and for what.

Workload: sequences of a running hash over HTTP, a step of each every 20 ms, while the engine (or
one of two) is killed; every answer is compared with what it must be. The gap of a client is the
longest time that one of its answers took since the kill. Each kill is of a server of its own: an
engine that is lost again within a minute is started again later and later. Peer: the same without
spare processes. With each gap: when the process that follows was there, and when it had its
models; what is left until the gap's end are the way back to it, restoring and replaying. Limit: the
machine's other work, which a start of half a second of CPU feels more than anything else.

    python -m benchmarks.engine_gap [--kills 5] [--models hash,numbers]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.durable_models import next_hash, write_repository
from benchmarks.streamgate_server import streamgate_server
from streamgate.server.processes.control import ask_server
from streamgate.server.processes.runtime_directory import CONTROL

CLIENTS: Final = 8
PACE_SECONDS: Final = 0.02
STEADY_SECONDS: Final = 4.0
"""From a start to the kill: there is a spare by then."""
LOOK_SECONDS: Final = 0.01
LIMIT_SECONDS: Final = 30.0
SETTINGS: Final = (
    ("1 engine", ()),
    ("1 engine, no spare", ("--spare-engines=false",)),
    ("2 engines", ("--engines=2",)),
)


@dataclass
class Client:
    """One sequence. `waits` are, for each step, when it was sent and when it was answered."""

    key: int
    waits: list[tuple[float, float]] = field(default_factory=list)

    async def run(self, session: aiohttp.ClientSession, url: str, over: asyncio.Event) -> None:
        kept, value = 0, 0
        while not over.is_set():
            sent = time.monotonic()
            body = {
                "inputs": [{"name": "IN", "datatype": "INT64", "shape": [1, 1], "data": [value]}],
                "parameters": {"sequence_id": self.key, "sequence_start": value == 0},
            }
            async with session.post(url, json=body) as answer:
                told = await answer.json()
            kept = next_hash(kept, value)
            if told.get("outputs", [{}])[0].get("data") != [kept]:
                raise RuntimeError(f"step {value} of sequence {self.key}: {told}, not {kept}")
            self.waits.append((sent, time.monotonic()))
            value += 1
            await asyncio.sleep(PACE_SECONDS)

    def gap(self, since: float) -> float:
        """The longest wait of a step that was answered later than that, from then on."""
        return max((end - max(sent, since) for sent, end in self.waits if end > since), default=0.0)


@dataclass(frozen=True, slots=True)
class Gap:
    """Seconds after a kill: until the next process was there, had its models, and each client that
    had to wait had its answer."""

    there: float
    ready: float
    answered: Sequence[float]


async def measure(url: str, control: Path) -> Gap:
    over = asyncio.Event()
    clients = [Client(key) for key in range(1, CLIENTS + 1)]
    timeout = aiohttp.ClientTimeout(LIMIT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        runs = [asyncio.create_task(each.run(session, url, over)) for each in clients]
        try:
            await asyncio.sleep(STEADY_SECONDS)
            return await _kill(control, clients)
        finally:
            over.set()
            await asyncio.gather(*runs)


async def _kill(control: Path, clients: Sequence[Client]) -> Gap:
    before = (await _engine(control))["pid"]
    os.kill(before, signal.SIGKILL)
    killed = time.monotonic()
    there = ready = 0.0
    while not ready and time.monotonic() - killed < LIMIT_SECONDS:
        engine = await _engine(control)
        now = time.monotonic() - killed
        if engine["pid"] not in {0, before}:
            there = there or now
            ready = now if engine["is_accepting"] else 0.0
        await asyncio.sleep(LOOK_SECONDS)
    await asyncio.sleep(1.0)
    gaps = [each.gap(killed) for each in clients]
    usual = statistics.median(end - sent for each in clients for sent, end in each.waits)
    return Gap(there, ready, [gap for gap in gaps if gap > usual + PACE_SECONDS])


async def _engine(control: Path) -> dict[str, Any]:
    """What the supervisor says of the first engine."""
    view = await asyncio.to_thread(ask_server, control, "status", seconds=LIMIT_SECONDS)
    (engine,) = (each for each in view["processes"] if each["name"] == "engine-0")
    return dict(engine)


def _gap(flags: Sequence[str]) -> Gap:
    """Of one server."""
    with tempfile.TemporaryDirectory(prefix="gap-") as folder:
        scratch = Path(folder)
        write_repository(scratch / "models")
        more = [
            *("--model-control-mode=explicit", f"--runtime-directory={folder}/run"),
            "--exit-timeout-secs=0",
        ]
        with streamgate_server(scratch / "models", scratch, [*flags, *more]) as server:
            url = f"http://{server.http}/v2/models/hash/infer"
            return asyncio.run(measure(url, scratch / "run" / CONTROL))


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.engine_gap")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--models", default="hash", help="loaded beside each other")
    options = parser.parse_args()
    wanted = [f"--load-model={name}" for name in {"hash", *options.models.split(",")}]
    print(
        f"| {options.models} | process there, ms | models there, ms "
        "| clients that waited | gap p50 / max, ms |\n" + "| --- " * 5 + "|"
    )
    for name, flags in SETTINGS:
        gaps = [_gap([*flags, *wanted]) for _ in range(options.kills)]
        waited = [1000 * gap for each in gaps for gap in each.answered]
        cells = [
            f"{1000 * statistics.median(each.there for each in gaps):.0f}",
            f"{1000 * statistics.median(each.ready for each in gaps):.0f}",
            f"{len(waited) / len(gaps):.1f} of {CLIENTS}",
            f"{statistics.median(waited):.0f} / {max(waited):.0f}" if waited else "",
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
