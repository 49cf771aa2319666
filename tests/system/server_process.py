"""`python -m streamgate serve` as a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

WAIT_SECONDS = 40.0
ROOT = Path(__file__).resolve().parents[2]
PORTS = ("http", "grpc", "metrics", "websocket")

SEQUENCES = """
backend: "fake"
max_batch_size: 4
input { name: "INPUT" data_type: TYPE_INT16 dims: -1 }
output { name: "HASH" data_type: TYPE_UINT64 dims: 1 }
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  state { input_name: "s" output_name: "s_out" data_type: TYPE_UINT64 dims: 1 }
}
instance_group { kind: KIND_CPU }
"""


def write_fake_model(directory: Path, name: str = "fake") -> None:
    """A sequence model whose answers are running hashes."""
    version = directory / name / "1"
    version.mkdir(parents=True)
    (version / "model.fake").touch()
    (directory / name / "config.pbtxt").write_text(SEQUENCES)


def write_python_model(directory: Path, name: str, code: str) -> None:
    version = directory / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(code)


@dataclass
class ServerProcess:
    """A process and what it has said so far: `out` are the lines of its standard output."""

    process: asyncio.subprocess.Process
    out: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)

    async def read_ready_line(self) -> None:
        """Wait until it is ready, and keep the addresses."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            line = (await self.process.stdout.readline()).decode().rstrip("\n")
        self.out.append(line)
        words = line.split()
        assert words[:2] == ["streamgate", "ready"], (line, self.errors)
        self.addresses = dict(word.split("=") for word in words[2:])

    async def read_error(self, text: str) -> str:
        """Wait for a line on standard error that contains the text."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                for line in self.errors:
                    if text in line:
                        return line
                await asyncio.sleep(0.01)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_status(self) -> int:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.process.wait()

    async def keep_errors(self) -> None:
        """Read standard error to its end."""
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.errors.append(line.decode().rstrip("\n"))


@asynccontextmanager
async def started(directory: Path, *flags: str) -> AsyncIterator[ServerProcess]:
    """A server on free ports, which need not be ready yet. Killed at the end if it still runs."""
    free = [word for name in PORTS for word in (f"--{name}-port", "0")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamgate", "serve"),
        *("--model-repository", str(directory), "--host", "127.0.0.1"),
        *free,
        *flags,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"},
    )
    server = ServerProcess(process)
    errors = asyncio.create_task(server.keep_errors())
    try:
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await errors


@asynccontextmanager
async def serving(directory: Path, *flags: str) -> AsyncIterator[ServerProcess]:
    """A server that is ready."""
    async with started(directory, *flags) as server:
        await server.read_ready_line()
        yield server
