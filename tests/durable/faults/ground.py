"""`streamgate serve` with processes, for tests that bring them to harm."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from streamgate.server.processes.control import ask_server
from streamgate.server.processes.runtime_directory import CONTROL
from tests.system.server_process import ServerProcess, serving
from tests.waiting import until_so

WAIT_SECONDS = 60.0


@dataclass
class Ground:
    """A server that is ready, and what can be done to its processes."""

    server: ServerProcess
    runtime: Path
    session: aiohttp.ClientSession

    @property
    def addresses(self) -> dict[str, str]:
        return self.server.addresses

    async def ask(self, what: str, value: Any = None) -> Any:
        return await asyncio.to_thread(
            ask_server, self.runtime / CONTROL, what, value, seconds=WAIT_SECONDS
        )

    async def processes(self) -> list[dict[str, Any]]:
        return list((await self.ask("status"))["processes"])

    async def process(self, name: str) -> dict[str, Any]:
        (found,) = (each for each in await self.processes() if each["name"] == name)
        return found

    async def strike(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a process a signal. Returns its number."""
        pid = int((await self.process(name))["pid"])
        os.kill(pid, number)
        return pid

    async def until_accepting(self, *others_than: int) -> None:
        """Wait until all processes are, and none of them has one of these numbers."""

        async def are_all() -> bool:
            processes = await self.processes()
            return all(
                each["is_accepting"] and each["pid"] not in others_than for each in processes
            )

        await until_so(are_all)

    async def until_recovered(self) -> None:
        """Wait until no sequence waits to go on."""

        async def none_recovers() -> bool:
            return not (await self.metrics()).sum("streamgate_sequences_recovering")

        await until_so(none_recovers)

    async def drain(self, name: str) -> int:
        """As `streamgate drain NAME`. Returns how many sequences were left."""
        return int((await self.ask("drain", {"name": name, "seconds": 30.0}))["left"])

    async def load(self, model: str) -> None:
        """Have a model loaded again."""
        trouble = await self.try_load(model)
        assert not trouble, trouble

    async def try_load(self, model: str) -> str:
        """As `load`. Returns what the server says against it."""
        url = f"http://{self.addresses['http']}/v2/repository/models/{model}/load"
        async with self.session.post(url, json={}) as answer:
            return "" if answer.status == 200 else await answer.text()

    async def metrics(self) -> "Metrics":
        url = f"http://{self.addresses['metrics']}/metrics"
        async with self.session.get(url) as answer:
            return Metrics(await answer.text())


class Metrics:
    """What a server counts."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self._samples = [sample for family in families for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """Of all samples of that name and with these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name
            and all(sample.labels.get(label) == value for label, value in labels.items())
        )


@asynccontextmanager
async def ground(models: Path, *flags: str) -> AsyncIterator[Ground]:
    """One that is ready. At its end, no process of it is left."""
    with TemporaryDirectory(prefix="sg-") as folder:  # pytest's own have too long names
        async with (
            serving(models, "--runtime-directory", folder, *flags) as server,
            aiohttp.ClientSession() as session,
        ):
            yield Ground(server, Path(folder), session)
            everybody = everybody_of(server)
            server.terminate()
            status = await server.exit_status()
            assert status == 0, (status, server.errors[-40:])
            assert psutil.wait_procs(everybody, timeout=WAIT_SECONDS)[1] == []


def everybody_of(server: ServerProcess) -> list[psutil.Process]:
    """The supervisor and all that descend from it."""
    supervisor = psutil.Process(server.process.pid)
    return [supervisor, *supervisor.children(recursive=True)]
