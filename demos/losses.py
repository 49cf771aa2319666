"""Kills the gateway's engines under live audio: what was being heard is heard on."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streams import DemoError

_STATUS_SECONDS = 10.0
_BACK_TRIES = 60
_BACK_PAUSE_SECONDS = 0.25

OnKill = Callable[[str, int, float], None]
"""Told of each engine that was killed: its name, its process ID, and how long after the start."""


async def kill_engines(
    directory: Path, at_seconds: Sequence[float], began: float, on_kill: OnKill
) -> None:
    """Kills (SIGKILL) an engine at each of these times after `began` (of the monotonic clock): the
    one that has the most sequences then."""
    for at in at_seconds:
        await asyncio.sleep(max(0.0, began + at - time.monotonic()))
        engines = [each for each in await _processes(directory) if each["kind"] == "engine"]
        busiest = max(engines, key=lambda engine: engine["sequences"] or 0)
        os.kill(busiest["pid"], signal.SIGKILL)
        on_kill(busiest["name"], busiest["pid"], time.monotonic() - began)


async def wait_back(directory: Path) -> None:
    """Until all engines serve again. Raises DemoError if that takes long."""
    for _ in range(_BACK_TRIES):
        if all(each["is_accepting"] for each in await _processes(directory)):
            return
        await asyncio.sleep(_BACK_PAUSE_SECONDS)
    raise DemoError("the engines that were killed are not back")


async def _processes(directory: Path) -> list[dict[str, Any]]:
    """What `streamgate status --json` tells."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamgate", "status", "--json"),
        *("--runtime-directory", str(directory)),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(_STATUS_SECONDS):
        output, _ = await process.communicate()
    if process.returncode:
        raise DemoError(f"streamgate status exited with {process.returncode}")
    processes: list[dict[str, Any]] = json.loads(output)["processes"]
    return processes
