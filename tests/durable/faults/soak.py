"""Mixed traffic for as long as it is told, while faults come at random: nothing is left at the end.

    python -m tests.durable.faults.soak --seconds 3600 --seed 7

Every result is checked. A sequence may only fail if its front end was killed while it lived, or if
its client hung up itself.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from tests.durable.faults.crowd import ANSWERS, TONGUES, write_models
from tests.durable.faults.ground import Ground, Metrics, ground
from tests.durable.faults.tongues import tongues
from tests.waiting import until_so

WORKERS: Final = 48
FLAGS: Final = (
    *("--engines", "2", "--front-ends", "2", "--freeze-limit-secs", "4"),
    *("--model-control-mode", "explicit", "--load-model", "*"),
)
PARAMETERS: Final = {"streamgate.hibernate_after_ms": "200", "streamgate.snapshot_steps": "8"}
SLOTS: Final = (16, 64)
"""Of each model and engine, with an even seed or an odd one: fewer than there are sequences when
an engine is away, or enough. Then none ends without having had a slot, and counters agree."""

IDLE_SECONDS: Final = 15.0
"""After so long, sequences of unary calls end whose clients have gone."""

EXCUSED_SECONDS: Final = 2.0
"""So long after a front end was killed, its connections may still be found broken."""

SAMPLE_SECONDS: Final = 15.0
MEMORY_GROWTH_MAX: Final = 1.3
"""From the middle to the end, of a process that has lived since."""
DESCRIPTORS_MORE_MAX: Final = 16
RECONCILED: Final = ("ended", "left", "parked")


@dataclass
class Size:
    """Of a process: bytes of memory, and open descriptors."""

    name: str
    memory: int
    descriptors: int


@dataclass
class Soak:
    """One run. `counts` has sequences by what became of them, and faults by kind; `killed_fronts`
    are moments of this process."""

    house: Ground
    models: Path
    chance: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    killed_fronts: list[float] = field(default_factory=list)
    sizes: list[dict[int, Size]] = field(default_factory=list)
    keys: int = 0
    is_over: bool = False

    # -- traffic

    async def work(self, number: int) -> None:
        """One sequence after the other."""
        chance = random.Random(self.chance.random())
        while not self.is_over:
            await self._sequence(chance, number)

    async def _sequence(self, chance: random.Random, number: int) -> None:
        self.keys += 1
        key, model = self.keys, chance.choice(sorted(ANSWERS))
        tongue = TONGUES[number % len(TONGUES)]
        values = [key * 1000 + place for place in range(chance.randrange(4, 60))]
        expected = ANSWERS[model](values)
        hangs_up_at = chance.randrange(len(values)) if chance.random() < 0.05 else -1
        pace = chance.uniform(0.02, 0.3)
        begun = time.monotonic()
        self.counts["begun"] += 1
        try:
            async with tongues(self.house.addresses) as spoken:
                talk = spoken[tongue](model, key)
                for place, value in enumerate(values):
                    if place == hangs_up_at and place:
                        self.counts["hung up"] += 1
                        return
                    first, last = place == 0, place == len(values) - 1
                    told = await talk.step(value, start=first, end=last)
                    if told != expected[place]:
                        self._complain(f"{tongue} {model} {key}: wrong at {place}")
                        return
                    await asyncio.sleep(pace)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must have an excuse
            if self._is_excused(begun):
                self.counts["excused"] += 1
            else:
                self._complain(f"{tongue} {model} {key}: {error!r}")
        else:
            self.counts["well"] += 1

    def _is_excused(self, begun: float) -> bool:
        return any(moment > begun - EXCUSED_SECONDS for moment in self.killed_fronts)

    def _complain(self, what: str) -> None:
        self.counts["WRONG"] += 1
        say(f"WRONG {what}")

    # -- faults

    async def do_harm(self) -> None:
        """To one engine at a time: a second loss may come when the first is got over. Whatever
        else is harmed need not wait for that."""
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self._keep(
                    [self._kill_engine, self._freeze_engine, self._drain_engine], self._got_over
                )
            )
            group.create_task(self._keep([self._kill_front, self._reload, self._reload]))

    async def _keep(
        self,
        kinds: list[Callable[[], Awaitable[None]]],
        behind: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0.5, 6))
            if self.is_over:
                return
            harm = self.chance.choice(kinds)
            name = harm.__name__.lstrip("_").replace("_", " ")
            self.faults[name] += 1
            say(name)
            await harm()
            if behind is not None:
                await behind()

    async def _got_over(self) -> None:
        await self.house.until_accepting()
        await self.house.until_recovered()

    def _an_engine(self) -> str:
        return f"engine-{self.chance.randrange(2)}"

    async def _kill_engine(self) -> None:
        pid = await self.house.strike(self._an_engine())
        await self.house.until_accepting(pid)

    async def _freeze_engine(self) -> None:
        pid = await self.house.strike(self._an_engine(), signal.SIGSTOP)
        await asyncio.sleep(self.chance.uniform(0.2, 6))
        with_luck = psutil.pid_exists(pid)
        if with_luck:
            os.kill(pid, signal.SIGCONT)

    async def _drain_engine(self) -> None:
        await self.house.drain(self._an_engine())

    async def _kill_front(self) -> None:
        self.killed_fronts.append(time.monotonic())
        pid = await self.house.strike(f"front-{self.chance.randrange(2)}")
        self.killed_fronts.append(time.monotonic())
        await self.house.until_accepting(pid)
        self.killed_fronts.append(time.monotonic())

    async def _reload(self) -> None:
        name = self.chance.choice(sorted(ANSWERS))
        text = (
            f'parameters {{ key: "edition{self.faults.total()}" value {{ string_value: "" }} }}\n'
        )
        with (self.models / name / "config.pbtxt").open("a") as config:
            config.write(text)
        trouble = await self.house.try_load(name)
        if trouble:
            # An engine was killed or frozen meanwhile, and loads what is new when it begins.
            assert "engine" in trouble, trouble
            self.counts["reloads that met a fault"] += 1

    # -- what is left

    async def watch(self) -> None:
        while not self.is_over:
            await self.measure()
            await asyncio.sleep(SAMPLE_SECONDS)

    async def measure(self) -> None:
        sizes = {}
        for each in await self.house.processes():
            if each["kind"] != "supervisor" and not each["is_accepting"]:
                continue
            try:
                process = psutil.Process(each["pid"])
                memory, descriptors = process.memory_info().rss, process.num_fds()
            except psutil.NoSuchProcess:
                continue
            sizes[int(each["pid"])] = Size(each["name"], memory, descriptors)
        self.sizes.append(sizes)
        told = ", ".join(
            f"{size.name} {size.memory >> 20} MiB {size.descriptors} fds" for size in sizes.values()
        )
        say(f"{dict(self.counts)} {dict(self.faults)}; {told}")

    def leaks(self) -> list[str]:
        """Of processes that were there in the middle and are at the end."""
        middle, end = self.sizes[len(self.sizes) // 2], self.sizes[-1]
        found = []
        for pid in middle.keys() & end.keys():
            before, after = middle[pid], end[pid]
            if after.memory > before.memory * MEMORY_GROWTH_MAX:
                found.append(f"{after.name}: {before.memory >> 20} to {after.memory >> 20} MiB")
            if after.descriptors > before.descriptors + DESCRIPTORS_MORE_MAX:
                found.append(f"{after.name}: {before.descriptors} to {after.descriptors} fds")
        return found


def what_is_left(metrics: Metrics, *, has_room: bool) -> dict[str, float]:
    """What must be none when nobody is connected any more; empty if it is. `has_room`: all
    sequences had slots."""
    left = {
        name: metrics.sum(f"streamgate_{name}")
        for name in (
            *("sequences_active", "sequences_backlog", "sequences_recovering"),
            *("sequences_hibernated", "hibernated_bytes", "log_bytes", "snapshot_bytes_kept"),
            "sessions_detached",
        )
    }
    left["pending"] = metrics.sum("nv_inference_pending_request_count")
    for model in ("hash", "hash_objects"):
        begun, gone = (
            sum(metrics.sum(f"streamgate_sequences_{name}_total", model=model) for name in names)
            for names in (("started", "restored"), RECONCILED)
        )
        left[f"of {model}, begun and not gone"] = begun - gone if has_room else max(0, begun - gone)
    return {name: value for name, value in left.items() if value}


def say(what: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {what}\n")
    sys.stdout.flush()


async def soak(models: Path, seconds: float, seed: int, log: Path | None = None) -> dict[str, Any]:
    """One run. Returns what was wrong with it; nothing, if all went well. The server's log goes to
    `log`."""
    say(f"seed {seed}, {seconds:g} s")
    write_models(models, SLOTS[seed % 2], PARAMETERS, IDLE_SECONDS)
    async with ground(models, *FLAGS) as house:
        run = Soak(house, models, random.Random(seed))
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(run.work(number))
            group.create_task(run.watch())
            group.create_task(run.do_harm())
            await asyncio.sleep(seconds)
            run.is_over = True
        if log is not None:
            await asyncio.to_thread(log.write_text, "\n".join(house.server.errors))
        await house.until_accepting()
        names = sorted(each["name"] for each in await house.processes())
        left: dict[str, float] = {}

        async def is_empty() -> bool:
            nonlocal left
            left = what_is_left(await house.metrics(), has_room=bool(seed % 2))
            return not left

        try:
            await until_so(is_empty)
        except TimeoutError:
            say(f"LEFT {left}")
        await run.measure()
        metrics = await house.metrics()
        for name in ("recovered", "moved", "lost", "quarantined"):
            run.counts[name] = int(metrics.sum(f"streamgate_sequences_{name}_total"))
    counts = run.counts
    say(f"seed {seed}: {dict(counts)} {dict(run.faults)}")
    wrong: dict[str, Any] = dict(left)
    if counts["WRONG"]:
        wrong["sequences"] = counts["WRONG"]
    if counts["begun"] != counts["well"] + counts["hung up"] + counts["excused"]:
        wrong["sequences that came to no end"] = dict(counts)
    if run.leaks():
        wrong["leaks"] = run.leaks()
    if names != ["engine-0", "engine-1", "front-0", "front-1", "supervisor"]:
        wrong["processes"] = names
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--log", type=Path, help="where the server's log is written at the end")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sg-soak-") as folder:
        models = Path(folder) / "models"
        models.mkdir()
        wrong = asyncio.run(soak(models, arguments.seconds, arguments.seed, arguments.log))
    say(f"WRONG: {wrong}" if wrong else "all went well")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
