"""A supervisor of toys in this process, or as a process of its own.

python toy_server.py RUNTIME_DIRECTORY
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streamgate.server.processes.supervisor import Supervisor
from streamgate.server.processes.topology import Topology
from streamgate.server.settings import Settings

TOY = [sys.executable, str(Path(__file__).with_name("toy.py"))]
WAIT_SECONDS = 20.0


def toy_supervisor(
    directory: Path | None = None,
    *,
    words: str = "",
    silence_seconds: float = 30.0,
    engines: int = 2,
    front_ends: int = 2,
    spare_engines: bool = False,
    **settings: Any,
) -> Supervisor:
    """Not started. Its ports are free ones, nobody listens there."""
    ports = dict.fromkeys(("http_port", "grpc_port", "metrics_port", "websocket_port"), 0)
    return Supervisor(
        Settings([Path("nowhere")], host="127.0.0.1", server_id=words, **{**ports, **settings}),
        Topology(engines, front_ends, directory, silence_seconds, (), spare_engines),
        TOY,
    )


@asynccontextmanager
async def toys(directory: Path, **options: Any) -> AsyncIterator[Supervisor]:
    """One that has started, and is stopped at the end."""
    supervisor = toy_supervisor(directory, **options)
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def main(directory: Path) -> None:
    supervisor = toy_supervisor(directory)
    await supervisor.start()
    pids = [process.pid for process in supervisor.view().processes]
    sys.stdout.write(f"{' '.join(map(str, pids))}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
