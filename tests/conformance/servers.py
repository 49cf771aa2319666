"""The two servers on copies of the models, and the answers of either to cases.

A server that ends in the middle is started anew, and the case is tried again: Triton 2.51 has
races between a stream's cancellation and its responses that end the process now and then.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.server_process import ServerProcess, http_status
from benchmarks.streamgate_server import streamgate_server
from benchmarks.triton_server import triton_server
from tests.conformance.answers import Answer
from tests.conformance.perform import Target, perform
from tests.conformance.steps import Case

ROOT: Final = Path(__file__).resolve().parents[2]
MODELS: Final = ROOT / "tests" / "conformance" / "models"
SERVERS: Final = {"triton": triton_server, "streamgate": streamgate_server}
# A model that fails to load shows in the cases that use it, instead of hiding all others.
OPTIONS: Final = ("--exit-on-error=false",)
ATTEMPTS: Final = 3
SLOW_SECONDS: Final = 5.0
EXIT_WAIT_SECONDS: Final = 5.0


@dataclass(slots=True)
class Run:
    """Answers by case name, and the cases during which the server ended, once for each time.

    A case that breaks off is answered by the reason; one without answer ended the server each
    time it was tried.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    ended_during: list[str] = field(default_factory=list)


@contextlib.contextmanager
def running(name: str) -> Iterator[tuple[Target, ServerProcess]]:
    """The server `name` on a fresh copy of the models (servers write into a repository)."""
    with tempfile.TemporaryDirectory(prefix=f"conformance-{name}-") as directory:
        scratch = Path(directory).resolve()
        repository = scratch / "models"
        shutil.copytree(MODELS, repository, ignore=shutil.ignore_patterns("__pycache__"))
        with SERVERS[name](repository, scratch, OPTIONS) as server:
            yield Target(name, server.grpc, server.http, repository), server


def run_cases(name: str, cases: Sequence[Case]) -> Run:
    """Put all cases to a server of that name, and to as many more as it takes."""
    run = Run()
    remaining = list(cases)
    while remaining:
        with running(name) as (target, server):
            while remaining and _answer(remaining[0], target, server, run):
                remaining.pop(0)
        if remaining and run.ended_during.count(remaining[0].name) >= ATTEMPTS:
            remaining.pop(0)
    return run


def _answer(case: Case, target: Target, server: ServerProcess, run: Run) -> bool:
    """Whether the server has lived through the case; then its answer is in `run`."""
    begin = time.monotonic()
    try:
        answer = perform(case, target)
    except Exception as error:  # noqa: BLE001 - one broken case must not hide the others
        answer = {"broke_off": f"{type(error).__name__}: {error}"}
    seconds = time.monotonic() - begin
    if seconds > SLOW_SECONDS:
        sys.stderr.write(f"  {target.name}: {case.name} took {seconds:.1f} s\n")
    if has_ended(server):
        sys.stderr.write(f"  {target.name} ended during {case.name}:\n{server.log_tail()}\n")
        run.ended_during.append(case.name)
        return False
    run.answers[case.name] = answer
    return True


def has_ended(server: ServerProcess) -> bool:
    """Whether the process is gone, or on its way: a crash takes a while to write its last words."""
    if server.is_alive() and http_status(server.http, "/v2/health/live") == 200:
        return False
    deadline = time.monotonic() + EXIT_WAIT_SECONDS
    while server.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not server.is_alive()
