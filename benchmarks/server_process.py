"""A server under measurement: a process group, its addresses, its log and its CPU time.

Knows how to wait for readiness, to account for the CPU of a whole process tree and to end it.
Must not know which server it is: triton_server.py, streamgate_server.py and echo_server.py do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "127.0.0.1"
POLL_SECONDS: Final = 0.05
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


class ServerFailedError(RuntimeError):
    """The server did not become ready; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server. Its addresses are "host:port", or "" where not served."""

    name: str
    version: str
    process: subprocess.Popen[bytes]
    log: Path
    grpc: str
    http: str = ""
    metrics: str = ""
    websocket: str = ""

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def cpu_seconds(self) -> float:
        """User and system time of the process and of all its descendants, those reaped included."""
        return tree_cpu_seconds(self.process.pid)

    def resident_bytes(self) -> int:
        """Resident memory of the process tree; shared pages count once per process."""
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        total = 0
        for pid in process_tree(self.process.pid):
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page_bytes
        return total

    def log_tail(self, lines_max: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines_max:])


def launch(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` as the leader of its own session, with both outputs going to `log`."""
    with log.open("wb") as stream:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )


def terminate(process: subprocess.Popen[bytes], grace_seconds: float = 15.0) -> None:
    """End the process group: politely first, then by force, so that no child outlives it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(grace_seconds)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listened on a moment ago; all different."""
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            for _ in range(count)
        ]
        for listener in listeners:
            listener.bind((HOST, 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


def http_status(address: str, path: str, timeout_seconds: float = 2.0) -> int | None:
    """Status of a GET, or None when nobody answers."""
    import http.client

    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def wait_http_ready(server: ServerProcess, limit_seconds: float) -> None:
    """Return when the server says that it is ready; raise ServerFailedError when it ends or not."""
    deadline = time.monotonic() + limit_seconds
    while http_status(server.http, "/v2/health/ready") != 200:
        if not server.is_alive():
            raise ServerFailedError(
                f"{server.name} ended with {server.process.returncode} while starting:\n"
                f"{server.log_tail()}"
            )
        if time.monotonic() > deadline:
            raise ServerFailedError(
                f"{server.name} is not ready after {limit_seconds} s:\n{server.log_tail()}"
            )
        time.sleep(POLL_SECONDS)


def process_tree(pid: int) -> list[int]:
    """The process and all its living descendants."""
    found, pending = [], [pid]
    while pending:
        current = pending.pop()
        found.append(current)
        for task in Path(f"/proc/{current}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                pending.extend(int(child) for child in task.read_text().split())
    return found


def tree_cpu_seconds(pid: int) -> float:
    """User and system time of a process and of all its descendants, those reaped included."""
    return sum(_cpu_ticks(each) for each in process_tree(pid)) / TICKS_PER_SECOND


def machine_cpu_seconds() -> float:
    """CPU time that the whole machine has spent on anything but idling and waiting for disks."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    busy = [int(field) for index, field in enumerate(fields[:8]) if index not in {3, 4}]
    return sum(busy) / TICKS_PER_SECOND


def _cpu_ticks(pid: int) -> int:
    """utime + stime + cutime + cstime of /proc/<pid>/stat; 0 once the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])
