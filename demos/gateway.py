"""Runs `streamgate serve` on the demo models as a process of its own."""

import asyncio
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from streams import DemoError

_READY_SECONDS = 60.0
_STOP_SECONDS = 10.0
_DYING_SECONDS = 0.5
_READY_LINE = re.compile(r"^streamgate ready((?: \w+=\S+)+)$")
_LOG_LINES_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the gateway listens, HOST:PORT each."""

    http: str
    grpc: str
    metrics: str
    websocket: str


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports to ask for; 0 lets the system choose."""

    http: int = 0
    grpc: int = 0
    metrics: int = 0
    websocket: int = 0


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is ready. Its processes tell of themselves in `directory`."""

    addresses: Addresses
    directory: Path
    _process: asyncio.subprocess.Process

    async def wait_end(self) -> None:
        """Returns when the process has ended by itself."""
        await self._process.wait()


@asynccontextmanager
async def running(
    models: Path, ports: Ports, *, engines: int = 1, show_log: bool = False
) -> AsyncIterator[Gateway]:
    """Starts the gateway, waits until it is ready, and stops it at the end.

    Its log goes to the terminal with `show_log`; else its last lines are shown when it dies.
    Raises DemoError when it does not become ready, dies or does not stop.
    """
    directory = Path(tempfile.mkdtemp(prefix="streamgate-"))
    command = [
        *(sys.executable, "-m", "streamgate", "serve"),
        *("--model-repository", str(models)),
        *("--runtime-directory", str(directory / "run")),
        *("--engines", str(engines)),
        *("--host", "127.0.0.1"),
        *("--http-port", str(ports.http)),
        *("--grpc-port", str(ports.grpc)),
        *("--metrics-port", str(ports.metrics)),
        *("--websocket-port", str(ports.websocket)),
    ]
    with tempfile.TemporaryFile("w+") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if show_log else log,
            process_group=0,  # Ctrl-C reaches us, and we stop it
        )
        try:
            yield Gateway(await _wait_ready(process, log), directory / "run", process)
        except Exception as error:
            if await _has_died(process):
                raise _death(process, log) from error
            raise
        finally:
            try:
                await _stop(process)
            finally:
                shutil.rmtree(directory, ignore_errors=True)


async def _wait_ready(process: asyncio.subprocess.Process, log: IO[str]) -> Addresses:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_READY_SECONDS):
            while line := (await process.stdout.readline()).decode():
                if found := _READY_LINE.match(line.rstrip()):
                    return Addresses(**dict(item.split("=", 1) for item in found[1].split()))
            await process.wait()
    except TimeoutError:
        raise DemoError(
            f"the gateway was not ready after {_READY_SECONDS:.0f} s{_last_words(log)}"
        ) from None
    raise _death(process, log)


async def _has_died(process: asyncio.subprocess.Process) -> bool:
    """Whether the process is gone; one whose connections just broke gets a moment to be."""
    try:
        async with asyncio.timeout(_DYING_SECONDS):
            await process.wait()
    except TimeoutError:
        return False
    return True


def _death(process: asyncio.subprocess.Process, log: IO[str]) -> DemoError:
    return DemoError(f"the gateway ended with exit code {process.returncode}{_last_words(log)}")


def _last_words(log: IO[str]) -> str:
    log.seek(0)
    lines = log.readlines()[-_LOG_LINES_SHOWN:]
    return "; its last words:\n" + "".join(lines).rstrip() if lines else ""


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise DemoError(f"the gateway did not stop within {_STOP_SECONDS:.0f} s") from None
