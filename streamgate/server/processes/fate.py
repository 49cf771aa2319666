"""How a process ended: in words, and whether what it did may have been the reason."""

import signal
from pathlib import Path
from typing import Final

from streamgate.link.losses import Cause

_CGROUPS: Final = Path("/sys/fs/cgroup")
_PROC: Final = Path("/proc")


def fate_of(status: int) -> str:
    """In words. `status` is that of `Popen`: below 0 for a signal."""
    if status >= 0:
        return f"it ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        return "it was killed by SIGKILL, as the kernel does where memory is short"
    return f"it was ended by {name}"


def cause_of(status: int, oom_kills_before: int | None, oom_kills_after: int | None) -> Cause:
    """Of one that its supervisor did not end. The kernel's killings for want of memory, when it was
    started and now, are None where they can't be read."""
    if status != -signal.SIGKILL or oom_kills_before != oom_kills_after:
        return Cause.ITS_OWN
    # The kernel was it not; but others watch over memory, too.
    return Cause.UNEXPLAINED


def oom_kills(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """How often the kernel has killed for want of memory: in this process's control group, or on
    the whole machine; None where neither can be read."""
    try:
        groups = (proc / "self" / "cgroup").read_text().splitlines()
        own = next(line[3:] for line in groups if line.startswith("0::"))
        return _count(cgroups / own.lstrip("/") / "memory.events")
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return _count(proc / "vmstat")
    except (OSError, StopIteration, ValueError):
        return None


def _count(counters: Path) -> int:
    lines = (line.split() for line in counters.read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == "oom_kill")
