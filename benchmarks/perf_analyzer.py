"""Runs Triton's perf_analyzer and reads what it measured.

`setup_perf_analyzer.sh` installs the binary. Knows its options and its report; must not know
which server is on the other side.
"""

from __future__ import annotations

import csv
import os
import re
import resource
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from benchmarks.server_process import ROOT

ENVIRONMENT: Final = ROOT / ".venv-perf"
BINARY: Final = ENVIRONMENT / "bin" / "perf_analyzer"
VERSION: Final = "2.45.0"
MISSING_REASON: Final = "no .venv-perf: benchmarks/setup_perf_analyzer.sh makes it"
TRIALS_MAX: Final = 10  # perf_analyzer wants three windows in a row and reports their mean
LIMIT_SECONDS: Final = 45.0


@dataclass(frozen=True, slots=True)
class Load:
    """What perf_analyzer is asked to do.

    `sequence_length` 0 is for models without sequences. `concurrency` 0 leaves the kind of load
    to `options`. With `own_connections` streams share none, so that several processes of a server
    get their part of them.
    """

    name: str
    model: str
    concurrency: int
    protocol: Literal["grpc", "http"] = "grpc"
    streaming: bool = False
    sequence_length: int = 0
    window_ms: int = 1500
    options: tuple[str, ...] = ()
    own_connections: bool = False

    def arguments(self, address: str, report: Path) -> list[str]:
        arguments = [
            f"-m{self.model}",
            f"-i{self.protocol}",
            f"-u{address}",
            f"--measurement-interval={self.window_ms}",
            # Equal for every server: three windows, however much they vary, and more only where one
            # of them held nothing.
            f"--max-trials={TRIALS_MAX}",
            "--stability-percentage=999",
            "--percentile=99",
            f"-f{report}",
        ]
        if self.concurrency:
            arguments.append(f"--concurrency-range={self.concurrency}")
        if self.streaming:
            arguments += ["--streaming", "--async"]
        if self.sequence_length:
            arguments += [
                f"--sequence-length={self.sequence_length}",
                "--sequence-id-range=1:1000000000",
            ]
        return [*arguments, *self.options]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run measured; latencies as the client saw them."""

    inferences_per_second: float
    p50_us: float
    p90_us: float
    p99_us: float
    request_count: int
    client_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one run measured nothing."""

    reason: str


def is_installed() -> bool:
    return BINARY.is_file()


def run(
    load: Load, address: str, scratch: Path, look: Callable[[], str] = lambda: ""
) -> Measurement | Failure:
    """Put `load` on the server at `address`. Where it does not finish, what a `look` at the server
    shows meanwhile is in the failure. Raises FileNotFoundError without the binary."""
    if not is_installed():
        raise FileNotFoundError(MISSING_REASON)
    report = scratch / "perf_analyzer.csv"
    report.unlink(missing_ok=True)
    before = _children_cpu_seconds()
    sharing = {"TRITON_CLIENT_GRPC_CHANNEL_MAX_SHARE_COUNT": "1"} if load.own_connections else {}
    with subprocess.Popen(
        [str(BINARY), *load.arguments(address, report)],
        env={**os.environ, "LD_LIBRARY_PATH": str(ENVIRONMENT / "lib-perf"), **sharing},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            seen = look()
            process.kill()
            output, _ = process.communicate()
            reason = f"perf_analyzer did not finish within {LIMIT_SECONDS:.0f} s"
            return Failure(f"{reason}: {_last_words(output)}\n{seen}")
        except BaseException:
            process.kill()
            raise
    cpu_seconds = _children_cpu_seconds() - before
    if process.returncode != 0 or not report.is_file():
        return Failure(f"perf_analyzer ended with {process.returncode}: {_last_words(output)}")
    return _read(report, output, cpu_seconds)


def _read(report: Path, output: str, cpu_seconds: float) -> Measurement | Failure:
    rows = list(csv.DictReader(report.read_text().splitlines()))
    if not rows:
        return Failure(f"perf_analyzer reported nothing: {_last_words(output)}")
    row = rows[0]
    count = re.search(r"Request count: (\d+)", output)
    return Measurement(
        inferences_per_second=float(row["Inferences/Second"]),
        p50_us=float(row["p50 latency"]),
        p90_us=float(row["p90 latency"]),
        p99_us=float(row["p99 latency"]),
        request_count=int(count[1]) if count else 0,
        client_cpu_seconds=cpu_seconds,
    )


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _last_words(output: str, characters_max: int = 400) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-4:])[-characters_max:]
