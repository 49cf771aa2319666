"""StreamGate as a user starts it, `streamgate serve`, on a model repository."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.server_process import (
    HOST,
    POLL_SECONDS,
    ServerFailedError,
    ServerProcess,
    launch,
    terminate,
)

EXECUTABLE: Final = Path(sys.executable).parent / "streamgate"
START_LIMIT_SECONDS: Final = 90.0
READY_LINE: Final = re.compile(r"^streamgate ready (?P<addresses>.*)$", re.MULTILINE)


def is_installed() -> bool:
    return EXECUTABLE.is_file()


@contextlib.contextmanager
def streamgate_server(
    repository: Path, scratch: Path, options: Sequence[str] = (), tree: Path | None = None
) -> Iterator[ServerProcess]:
    """Run StreamGate on `repository`; its log goes to `scratch`. Yields after its ready line. Runs
    the code of another checkout if that is the `tree`.

    Raises `FileNotFoundError` when it is not installed beside this interpreter and
    `ServerFailedError` when it does not start.
    """
    if not is_installed():
        raise FileNotFoundError(f"no {EXECUTABLE.name} beside {sys.executable}: pip install -e .")
    command: list[str | Path] = [
        EXECUTABLE,
        "serve",
        f"--model-repository={repository.resolve()}",
        "--http-port=0",
        "--grpc-port=0",
        "--metrics-port=0",
        "--websocket-port=0",
        f"--host={HOST}",
        *options,
    ]
    log = scratch / "streamgate.log"
    environment = {"PYTHONUNBUFFERED": "1"}
    if tree is not None:
        environment["PYTHONPATH"] = f"{tree.resolve()}{os.pathsep}{tree.resolve() / 'backends'}"
    process = launch(command, log, environment)
    try:
        yield _wait_ready(ServerProcess("streamgate", _version(), process, log, grpc=""))
    finally:
        terminate(process)


def _wait_ready(starting: ServerProcess) -> ServerProcess:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while not (found := READY_LINE.search(starting.log.read_text(errors="replace"))):
        if not starting.is_alive():
            raise ServerFailedError(
                f"streamgate ended with {starting.process.returncode} while starting:\n"
                f"{starting.log_tail()}"
            )
        if time.monotonic() > deadline:
            raise ServerFailedError(
                f"streamgate printed no ready line within {START_LIMIT_SECONDS} s:\n"
                f"{starting.log_tail()}"
            )
        time.sleep(POLL_SECONDS)
    addresses = dict(word.split("=", 1) for word in found["addresses"].split())
    return ServerProcess(
        name=starting.name,
        version=starting.version,
        process=starting.process,
        log=starting.log,
        grpc=addresses["grpc"],
        http=addresses["http"],
        metrics=addresses.get("metrics", ""),
        websocket=addresses.get("websocket", ""),
    )


def _version() -> str:
    import streamgate

    return str(getattr(streamgate, "__version__", "unknown"))
