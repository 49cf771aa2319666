"""The log of all processes in one stream: each line begins with the name of its process."""

import contextlib
import logging
import sys

from streamgate.server.logs import FORMAT
from streamgate.server.processes.names import NAME_LETTERS, SUPERVISOR


def show_line(name: str, line: str) -> None:
    """Write a line of a process to our standard error, if there still is one."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{name:<{NAME_LETTERS}} | {line}\n")
        sys.stderr.flush()


def log_as_supervisor(level: str) -> None:
    """The supervisor's own lines look as those of its children do."""
    logging.basicConfig(
        level=level.upper(),
        format=f"{SUPERVISOR:<{NAME_LETTERS}} | {FORMAT}",
        stream=sys.stderr,
    )
