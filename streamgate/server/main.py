"""The process behind `streamgate serve`: logging, signals, the ready line."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading

from streamgate.server.name_check import check_name
from streamgate.server.ports import ready_line
from streamgate.server.server import Server
from streamgate.server.settings import Settings

log = logging.getLogger(__name__)

YOUNG_OBJECTS_MAX = 10_000
"""New objects that the garbage collector lets be, before it looks which of them are lost."""


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status.

    The first signal drains and exits; a second one exits at once, with status 1.
    """
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    check_name()
    asyncio.run(_serve(settings))
    _leave_threads()
    return 0


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number)
    server = Server(settings)
    starting = asyncio.ensure_future(server.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        # Told to stop while models load: loading can't be interrupted, leaving can.
        log.info("stopped while starting")
        os._exit(0)
    ports = await starting
    # What is loaded now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    # Hundreds of requests are under way at a time, and nearly all of what is made for them is freed
    # without the collector: with Python's 700 it would look at them once for every few chunks.
    gc.set_threshold(YOUNG_OBJECTS_MAX, *gc.get_threshold()[1:])
    sys.stdout.write(ready_line(settings.host, ports) + "\n")
    sys.stdout.flush()
    await stopping
    await server.stop()
    log.info("stopped")


def _leave_threads() -> None:
    """Exit at once if models have left threads behind that Python would wait for, or that would
    run on into its ruins: those they have started, and steps that never end."""
    left = [
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
        and (not thread.daemon or thread.name.startswith("stepper-"))
    ]
    if left:
        log.warning("exiting without waiting for threads of models: %s", ", ".join(left))
        logging.shutdown()
        os._exit(0)


def _on_signal(stop: asyncio.Event, number: signal.Signals) -> None:
    if stop.is_set():
        log.warning("%s again: exiting at once", number.name)
        os._exit(1)
    log.info("%s: draining, once more to exit at once", number.name)
    stop.set()
