"""What is done to a soaked server, at random."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from tests.durable.faults.ground import Ground

EXCUSED_SECONDS: Final = 2.0
"""So long after a front end was killed, its connections may still be found broken."""
PAUSE_SECONDS: Final = (0.5, 6.0)
WORKER_LOST: Final = "was ended by SIGKILL"
MET: Final = ("engine", "Server is stopping", WORKER_LOST)
"""What a load says that has met a fault."""


@dataclass
class Harm:
    """`faults` are counted by kind; `killed_fronts` are moments of this process. The engine and the
    front end that are `spared` are neither killed nor renewed, so that it can be seen whether they
    grow."""

    house: Ground
    models: Path
    reloaded: tuple[str, ...]
    chance: random.Random
    say: Callable[[str], None]
    faults: Counter[str] = field(default_factory=Counter)
    killed_fronts: list[float] = field(default_factory=list)
    spared: tuple[str, ...] = ()
    wrong: list[str] = field(default_factory=list)
    is_over: bool = False

    async def do(self) -> None:
        """To one engine at a time: a second loss may come when the first is got over. Whatever
        else is harmed need not wait for that."""
        engines = [self._kill_engine, self._freeze_engine, self._drain_engine, self._kill_worker]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(engines, self._got_over))
            group.create_task(self._keep([self._kill_front, self._reload, self._reload]))

    def excuses(self, begun: float) -> bool:
        """Whether what has begun then may have ended with its front end."""
        return any(moment > begun - EXCUSED_SECONDS for moment in self.killed_fronts)

    async def _keep(
        self,
        kinds: Sequence[Callable[[], Awaitable[None]]],
        behind: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(*PAUSE_SECONDS))
            if self.is_over:
                return
            harm = self.chance.choice(kinds)
            name = harm.__name__.lstrip("_").replace("_", " ")
            self.faults[name] += 1
            self.say(name)
            try:
                await harm()
                if behind is not None:
                    await behind()
            except Exception as error:  # noqa: BLE001 - told at the end; the others go on
                self.wrong.append(f"{name}: {error!r}")
                self.say(f"WRONG {self.wrong[-1]}")

    async def _got_over(self) -> None:
        await self.house.until_accepting()
        await self.house.until_recovered()

    def _one_of(self, kind: str) -> str:
        names = [name for name in (f"{kind}-0", f"{kind}-1") if name not in self.spared]
        return self.chance.choice(names)

    async def _kill_engine(self) -> None:
        pid = await self.house.strike(self._one_of("engine"))
        await self.house.until_accepting(pid)

    async def _freeze_engine(self) -> None:
        pid = await self.house.strike(self._one_of("engine"), signal.SIGSTOP)
        await asyncio.sleep(self.chance.uniform(0.2, 13))
        with_luck = psutil.pid_exists(pid)
        if with_luck:
            os.kill(pid, signal.SIGCONT)

    async def _drain_engine(self) -> None:
        await self.house.drain(self._one_of("engine"))

    async def _kill_worker(self) -> None:
        """A process in which an engine has a model, of any engine."""
        engine = await self.house.process(f"engine-{self.chance.randrange(2)}")
        try:
            workers = psutil.Process(engine["pid"]).children()
            self.chance.choice(workers).kill()
        except (psutil.NoSuchProcess, IndexError):
            self.faults["kill worker: none there"] += 1

    async def _kill_front(self) -> None:
        self.killed_fronts.append(time.monotonic())
        pid = await self.house.strike(self._one_of("front"))
        self.killed_fronts.append(time.monotonic())
        await self.house.until_accepting(pid)
        self.killed_fronts.append(time.monotonic())

    async def _reload(self) -> None:
        name = self.chance.choice(self.reloaded)
        text = (
            f'parameters {{ key: "edition{self.faults.total()}" value {{ string_value: "" }} }}\n'
        )
        with (self.models / name / "config.pbtxt").open("a") as config:
            config.write(text)
        while trouble := await self.house.try_load(name):
            # An engine was killed, frozen or renewed meanwhile, and loads what is new when it
            # begins. Or the worker was killed that should have loaded it: then one tries again.
            assert any(word in trouble for word in MET), trouble
            self.faults["reload: met a fault"] += 1
            if WORKER_LOST not in trouble:
                return
