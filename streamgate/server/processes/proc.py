"""What the kernel tells about a process: memory, CPU time and open files."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """`cpu_seconds` since it was started, of all its threads; `memory_bytes` resident."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    descriptors: int = 0
    threads: int = 0


def usage_of(pid: int) -> Usage:
    """Nothing at all of a process that is gone."""
    folder = Path("/proc", str(pid))
    try:
        # The name, in parentheses, may have any letters; what follows it has none.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        descriptors = sum(1 for _ in (folder / "fd").iterdir())
    except OSError:
        return Usage()
    return Usage(
        cpu_seconds=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
        memory_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        descriptors=descriptors,
        threads=int(fields[17]),
    )
