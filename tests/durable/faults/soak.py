"""Mixed traffic for as long as it is told, while faults come at random: nothing is left at the end.

    python -m tests.durable.faults.soak --seconds 3600 --seed 7

Every result is checked. A visit may only fail if its front end was killed while it lived, or if
its client hung up itself.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from tests.durable.faults.books import Sizes, lives_of, sizes_of, what_is_left
from tests.durable.faults.ground import Ground, ground
from tests.durable.faults.harm import Harm
from tests.durable.faults.speeches import FLAGS, hear_all, recordings
from tests.durable.faults.visits import (
    HUNG_UP,
    REFUSED,
    RELOADED,
    RESUME_SECONDS,
    STATES,
    TENANTS,
    WELL,
    Visit,
    Visits,
    write_models,
)
from tests.waiting import until_so

WORKERS: Final = {
    **dict.fromkeys(("gRPC stream", "gRPC unary", "HTTP unary", "WebSocket"), 7),
    "stateless": 2,
    "sequence over cut wires": 4,
    "gRPC stream over cut wires": 3,
    "speech": 8,
}
"""How many come at a time, by kind of visit: each one after the other."""
SERVER: Final = (
    *("--engines", "2", "--front-ends", "2", "--freeze-limit-secs", "10"),
    *(
        "--model-control-mode",
        "explicit",
        "--load-model",
        "*",
        "--resume-seconds",
        str(RESUME_SECONDS),
    ),
    *FLAGS,
)
PARAMETERS: Final = {"streamgate.hibernate_after_ms": "200", "streamgate.snapshot_steps": "8"}
IDLE_SECONDS: Final = 15.0
"""After so long, sequences of unary calls end whose clients have gone."""

OUTCOMES: Final = (WELL, HUNG_UP, REFUSED, "excused", "WRONG")
COUNTED: Final = (
    *(f"sequences_{name}" for name in ("recovered", "moved", "lost", "quarantined")),
    *("sessions_resumed", "hibernations", "requests_retried", "replay_mismatches"),
)
PROCESSES: Final = ["engine-0", "engine-1", "front-0", "front-1", "supervisor"]
LIVES_TOLD: Final = 8

SPARED_FROM: Final = 0.3
"""From this share of the run on, one engine and one front end are spared."""
SAMPLE_SECONDS: Final = 15.0
MARK: Final = "STREAMGATE_TEST_SOAK"
"""In the environment of all processes of a run, whoever their parents are by now."""


@dataclass
class Soak:
    """One run. `counts` has visits by what became of them."""

    house: Ground
    harm: Harm
    seconds: float
    chance: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)
    samples: list[Sizes] = field(default_factory=list)
    number: int = 0
    is_over: bool = False
    begun: float = field(default_factory=time.monotonic)

    async def run(self, visits: Visits) -> None:
        async with asyncio.TaskGroup() as group:
            for kind, visit in visits.kinds().items():
                for _ in range(WORKERS[kind]):
                    group.create_task(self._work(kind, visit, random.Random(self.chance.random())))
            group.create_task(self._watch())
            group.create_task(self.harm.do())
            await asyncio.sleep(self.seconds * SPARED_FROM)
            self.harm.spared = tuple(
                f"{kind}-{self.chance.randrange(2)}" for kind in ("engine", "front")
            )
            say(f"from now on, {self.harm.spared} are spared")
            await asyncio.sleep(self.seconds * (1 - SPARED_FROM))
            self.is_over = self.harm.is_over = True

    async def _work(self, kind: str, visit: Visit, chance: random.Random) -> None:
        """One visit after the other."""
        while not self.is_over:
            self.number += 1
            number, begun = self.number, time.monotonic()
            self.counts["begun"] += 1
            self.by_kind[kind] += 1
            try:
                outcome = await visit(chance, number)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must have an excuse
                outcome = "excused"
                if not self.harm.excuses(begun):
                    outcome = "WRONG"
                    say(f"WRONG {kind} {number}, {time.monotonic() - begun:.1f} s: {error!r}")
            self.counts[outcome] += 1
            if outcome == WELL:
                self.by_kind[f"{kind}: well"] += 1

    async def _watch(self) -> None:
        while not self.is_over:
            await self.measure()
            await asyncio.sleep(SAMPLE_SECONDS)

    async def measure(self) -> None:
        sizes = await sizes_of(self.house, time.monotonic() - self.begun)
        self.samples.append(sizes)
        told = ", ".join(map(str, sizes.values()))
        say(f"{dict(self.counts)} {dict(self.harm.faults)}; {told}")

    async def count(self) -> None:
        """What the server has counted since its processes began."""
        metrics = await self.house.metrics()
        for name in COUNTED:
            self.counts[name] = int(metrics.sum(f"streamgate_{name}_total"))

    def verdict(self) -> dict[str, Any]:
        """What was wrong with visits and sizes; nothing, if all went well."""
        lives = lives_of(self.samples)
        for life in lives[:LIVES_TOLD]:
            say(str(life))
        wrong: dict[str, Any] = {}
        if self.harm.wrong:
            wrong["harm"] = self.harm.wrong
        if self.counts["WRONG"]:
            wrong["visits"] = self.counts["WRONG"]
        if self.counts["begun"] != sum(self.counts[name] for name in OUTCOMES):
            wrong["visits that came to no end"] = dict(self.counts)
        if leaks := [leak for life in lives for leak in life.leaks()]:
            wrong["leaks"] = leaks
        return wrong


def say(what: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {what}\n")
    sys.stdout.flush()


def marked(mark: str) -> list[int]:
    """All processes of a run but this one, whoever their parents are."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.pid != os.getpid():
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def soak(folder: Path, seconds: float, seed: int, log: Path | None = None) -> dict[str, Any]:
    """One run. Returns what was wrong with it; nothing, if all went well. The server's log goes to
    `log`."""
    say(f"seed {seed}, {seconds:g} s")
    models, tenants = folder / "models", folder / "tenants.json"
    models.mkdir()
    tenants.write_text(json.dumps(TENANTS))
    write_models(models, PARAMETERS, IDLE_SECONDS)
    os.environ[MARK] = mark = f"{os.getpid()}-{seed}"
    try:
        async with ground(models, *SERVER, "--tenants", str(tenants)) as house:
            chance = random.Random(seed)
            harm = Harm(house, models, RELOADED, chance, say)
            run = Soak(house, harm, seconds, chance)
            visits = Visits(house.addresses, await hear_all(house.addresses, recordings()))
            say(f"undisturbed: {len(visits.speeches)} recordings")
            try:
                await run.run(visits)
            finally:
                if log is not None:
                    await asyncio.to_thread(log.write_text, "\n".join(house.server.errors))
            wrong = await what_stayed(house)
            await run.measure()
            await run.count()
    finally:
        del os.environ[MARK]
    if orphans := marked(mark):
        wrong["processes that outlived the server"] = orphans
    say(f"seed {seed}: {dict(run.counts)} {dict(harm.faults)} {dict(run.by_kind)}")
    return wrong | run.verdict()


async def what_stayed(house: Ground) -> dict[str, Any]:
    """What is in the house when all have gone, and should not be."""
    await house.until_accepting()
    left: dict[str, Any] = {}

    async def is_empty() -> bool:
        nonlocal left
        who = [str(tenant["name"]) for tenant in TENANTS["tenants"]]
        left = dict(what_is_left(await house.metrics(), STATES, who))
        return not left

    try:
        await until_so(is_empty)
    except TimeoutError:
        say(f"LEFT {left}")
    names = sorted(each["name"] for each in await house.processes())
    if names != PROCESSES:
        left["processes"] = names
    return left


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--log", type=Path, help="where the server's log is written at the end")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sg-soak-") as folder:
        wrong = asyncio.run(soak(Path(folder), arguments.seconds, arguments.seed, arguments.log))
    say(f"WRONG: {wrong}" if wrong else "all went well")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
