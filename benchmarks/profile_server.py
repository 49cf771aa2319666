"""Where a server's time goes under load: py-spy's samples, summed by function.

py-spy comes with `setup_perf_analyzer.sh`. It needs the right to trace processes of the same user.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Final

from benchmarks import perf_analyzer
from benchmarks.perf_analyzer import Load
from benchmarks.server_process import ServerProcess

BINARY: Final = perf_analyzer.ENVIRONMENT / "bin" / "py-spy"
SETTLE_SECONDS: Final = 15.0
FUNCTIONS_SHOWN: Final = 25
LINE: Final = re.compile(r":\d+\)$")


def profile(
    server: ServerProcess, load: Load, scratch: Path, duration_seconds: int, native: bool
) -> str:
    """Put `load` on the server while py-spy watches all its processes; a text of the hottest."""
    if not BINARY.is_file():
        raise FileNotFoundError(perf_analyzer.MISSING_REASON)
    samples = scratch / "samples.txt"
    command = [
        str(BINARY),
        "record",
        f"--pid={server.process.pid}",
        f"--duration={duration_seconds}",
        "--rate=200",
        "--subprocesses",
        "--format=raw",
        f"--output={samples}",
        # Threads that wait for a lock look busy; only who holds the interpreter is.
        "--native" if native else "--gil",
    ]
    watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    address = server.http if load.protocol == "http" else server.grpc
    while watcher.poll() is None:
        perf_analyzer.run(load, address, scratch)
    output, _ = watcher.communicate(timeout=SETTLE_SECONDS)
    if watcher.returncode != 0 or not samples.is_file():
        raise RuntimeError(f"py-spy ended with {watcher.returncode}: {output.strip()}")
    return hottest(samples.read_text())


def hottest(samples: str) -> str:
    """Self and total shares by function, of samples in py-spy's raw (collapsed) format."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    count = 0
    for line in samples.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = [LINE.sub(")", frame.strip()) for frame in stack.split(";") if frame.strip()]
        if not frames:
            continue
        weight = int(number)
        count += weight
        own[frames[-1]] += weight
        total.update(dict.fromkeys(frames, weight))
    if not count:
        return "no samples: the server was idle\n"
    lines = [f"{count} samples", "", "  own  total  function"]
    lines += [
        f"{share / count:5.1%}  {total[frame] / count:5.1%}  {frame}"
        for frame, share in own.most_common(FUNCTIONS_SHOWN)
    ]
    return "\n".join(lines) + "\n"
