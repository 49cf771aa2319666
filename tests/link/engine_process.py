"""An engine in a process of its own, for tests that kill or freeze it: serves a repository of
models over a Unix socket until it is ended.

    python -m tests.link.engine_process REPOSITORY SOCKET
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamgate.link.addresses import UnixAddress
from streamgate.link.server import LinkServer
from streamgate.server.settings import ControlMode
from tests.server.model_house import model_house

ROOT = Path(__file__).parents[2]


async def serve(repository: Path, path: Path) -> None:
    async with model_house(repository, ControlMode.NONE) as models:
        server = LinkServer(models.table, models.gateway)
        server.listen_unix(path)
        print("ready", flush=True)  # noqa: T201
        await asyncio.Event().wait()


@dataclass
class EngineProcess:
    """One, and how to bring it to harm."""

    process: subprocess.Popen[bytes]
    address: UnixAddress

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def engine_process(repository: Path, path: Path) -> Iterator[EngineProcess]:
    command = [sys.executable, "-m", "tests.link.engine_process", str(repository), str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        engine = EngineProcess(process, UnixAddress(path))
        try:
            yield engine
        finally:
            engine.thaw()
            engine.kill()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
