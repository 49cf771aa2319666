"""The process behind `streamgate serve`: logging, signals, the ready line."""

import asyncio
import logging
import os
import signal
import sys
from typing import Protocol

from streamgate.server.logs import log_to_stderr
from streamgate.server.name_check import check_name
from streamgate.server.ports import Ports, ready_line
from streamgate.server.processes.topology import Topology
from streamgate.server.settings import Settings
from streamgate.server.settling import leave_threads, settle_memory

log = logging.getLogger(__name__)


class Served(Protocol):
    """What is started, and stopped at the first signal."""

    async def start(self) -> Ports: ...

    async def stop(self) -> None: ...

    def kill(self) -> None:
        """End at once all that would not end with this process."""


def serve(settings: Settings, topology: Topology | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status. Without a topology, all is in this
    process.

    The first signal drains and exits; a second one exits at once, with status 1.
    """
    check_name()
    if topology is None:
        _serve_embedded(settings)
    else:
        _serve_supervised(settings, topology)
    return 0


def _serve_embedded(settings: Settings) -> None:
    # Imported here: a supervisor wants none of it.
    from streamgate.server.server import Server

    log_to_stderr(settings.log_level)
    asyncio.run(_serve(Server(settings), settings.host))
    leave_threads()


def _serve_supervised(settings: Settings, topology: Topology) -> None:
    from streamgate.server.processes.log_lines import log_as_supervisor
    from streamgate.server.processes.supervisor import Supervisor

    log_as_supervisor(settings.log_level)

    async def supervise() -> None:
        await _serve(Supervisor(settings, topology), settings.host)

    asyncio.run(supervise())


async def _serve(served: Served, host: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number, served)
    starting = asyncio.ensure_future(served.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        # Told to stop while models load: loading can't be interrupted, leaving can.
        log.info("stopped while starting")
        served.kill()
        os._exit(0)
    ports = await starting
    settle_memory()
    sys.stdout.write(ready_line(host, ports) + "\n")
    sys.stdout.flush()
    await stopping
    await served.stop()
    log.info("stopped")


def _on_signal(stop: asyncio.Event, number: signal.Signals, served: Served) -> None:
    if stop.is_set():
        log.warning("%s again: exiting at once", number.name)
        served.kill()
        os._exit(1)
    log.info("%s: draining, once more to exit at once", number.name)
    stop.set()
