"""What it costs that a stream can't be lost: the log, snapshots, processes, a session store.

Peer: the same server in one process without any log. Workload: perf_analyzer, sequences on gRPC
streams of a connection each, closed loop: a running hash of eight bytes a step (an ONNX graph with
its state declared: all that a message costs, and next to no model), and the demo's recogniser of
numbers, an ensemble that takes 160 ms of sound a step. Limit: nothing is lost here; what is bought
is not shown (`benchmarks.engine_gap` shows some).

All servers run at once and idle while another is measured, so that a round is short: each round
puts both loads on every setting, in rotating order, and ratios are taken within a round. Load and
servers share the machine. What a message costs in CPU is that of all of a server's processes (and
of Redis) together, and firm; throughput and latency are not, where other work runs.

With `--slice` there is another peer: the server of an older checkout, such as version 0.1, which
was one process and kept no logs. It has no ensembles, so that it hashes only.

    make bench-durability
    python -m benchmarks.durability [--rounds 4] [--window-ms 400] [--streams 16] [--only "1 + 1"]
    python -m benchmarks.durability --slice ../streamgate-0.1 --load hash
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import tritonclient.grpc

from benchmarks import machine, perf_analyzer
from benchmarks.durable_models import (
    HASH,
    NUMBERS,
    OFTEN,
    OFTEN_STEPS,
    write_loads,
    write_repository,
)
from benchmarks.perf_analyzer import Failure, Load
from benchmarks.server_process import (
    HOST,
    ServerFailedError,
    ServerProcess,
    free_ports,
    launch,
    machine_cpu_seconds,
    process_tree,
    terminate,
    tree_cpu_seconds,
)
from benchmarks.streamgate_server import streamgate_server

REDIS: Final = "redis-server"
WARM_UP_MS: Final = 200
LOG_LINES: Final = 300
STATE_SECONDS: Final = 10.0
STACKS_SIGNAL: Final = signal.SIGUSR1
STACKS_SECONDS: Final = 2.0
"""How long a server's processes may take to write where they are."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run: a server's options, and whether its models take snapshots `often`. `over` is
    the setting, besides the first, that its price is told over. Settings with the same options
    share a server. It runs the code of the `tree`, if there is one, and then takes the hash only.
    """

    name: str
    options: tuple[str, ...]
    over: str = ""
    often: bool = False
    stored: bool = False
    tree: Path | None = None

    def takes(self, load: Load) -> bool:
        return self.tree is None or load.model == HASH


SLICE: Final = "slice"
SLICE_OPTIONS: Final = ("--model-control-mode=explicit", f"--load-model={HASH}")
EMBEDDED: Final = "embedded, no log"
EMBEDDED_FLAG: Final = "--embedded"
PLAIN: Final = "1 + 1, no log"
SETTINGS: Final = (
    Setting(EMBEDDED, (EMBEDDED_FLAG, "--durable=false")),
    Setting("embedded", (EMBEDDED_FLAG,), EMBEDDED),
    Setting(PLAIN, ("--durable=false",)),
    Setting("1 + 1", (), PLAIN),
    Setting(f"1 + 1, snapshots every {OFTEN_STEPS} steps", (), PLAIN, often=True),
    Setting("1 + 1, session store", (), PLAIN, stored=True),
    Setting("2 + 1, no log", ("--front-ends=2", "--durable=false")),
    Setting("2 + 1", ("--front-ends=2",), "2 + 1, no log"),
)
"""Front-end processes + engine processes."""


@dataclass(frozen=True, slots=True)
class Result:
    """One setting under one load in one round."""

    messages_per_second: float
    cpu_us: float
    p50_us: float
    p99_us: float
    others_cores: float


Round = dict[str, Result]
"""Results by setting."""


class Servers:
    """One server for each set of options, started when it is first needed."""

    def __init__(self, stack: contextlib.ExitStack, repository: Path, scratch: Path) -> None:
        self._stack = stack
        self._repository = repository
        self._scratch = scratch
        self._running: dict[tuple[object, ...], tuple[ServerProcess, int]] = {}

    def of(self, setting: Setting) -> tuple[ServerProcess, int]:
        """A setting's server, and the process of its Redis or 0. Raises ServerFailedError."""
        key = (*setting.options, setting.stored, setting.tree)
        found = self._running.get(key)
        if found is None:
            scratch = self._scratch / str(len(self._running))
            scratch.mkdir()
            options, redis = list(setting.options), 0
            if EMBEDDED_FLAG not in options and setting.tree is None:
                # They cost nothing but their start, which would fall into the measurement.
                options.append("--spare-engines=false")
            if setting.stored:
                address, redis = self._stack.enter_context(_redis(scratch))
                options.append(f"--session-store=redis://{address}")
            server = self._stack.enter_context(
                streamgate_server(self._repository, scratch, options, setting.tree)
            )
            found = self._running[key] = server, redis
        return found


@contextlib.contextmanager
def _redis(scratch: Path) -> Iterator[tuple[str, int]]:
    """A Redis of our own, which keeps everything in memory: its address, its process."""
    (port,) = free_ports(1)
    command = [REDIS, "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"]
    process = launch(command, scratch / "redis.log")
    try:
        yield f"{HOST}:{port}", process.pid
    finally:
        terminate(process)


def measure(
    servers: Servers, settings: Sequence[Setting], loads: Sequence[Load], rounds: int, scratch: Path
) -> dict[str, list[Round]]:
    """All rounds, by load."""
    results: dict[str, list[Round]] = {load.name: [{} for _ in range(rounds)] for load in loads}
    for setting in settings:
        for load in filter(setting.takes, loads):
            _put(_with(load, setting, WARM_UP_MS), servers.of(setting)[0], scratch)
    for number in range(rounds):
        shift = number % len(settings)
        for setting in (*settings[shift:], *settings[:shift]):
            for load in filter(setting.takes, loads):
                result = _measure(servers, setting, _with(load, setting, load.window_ms), scratch)
                results[load.name][number][setting.name] = result
                print(
                    f"{setting.name:<32} {load.name:<20} {result.messages_per_second:7.0f}/s "
                    f"{result.cpu_us:7.1f} us  p99 {result.p99_us:7.0f} us  "
                    f"others {result.others_cores:.2f} cores",
                    file=sys.stderr,
                    flush=True,
                )
    return results


def _with(load: Load, setting: Setting, window_ms: int) -> Load:
    model = load.model + OFTEN if setting.often else load.model
    return replace(load, model=model, window_ms=window_ms)


def _measure(servers: Servers, setting: Setting, load: Load, scratch: Path) -> Result:
    server, redis = servers.of(setting)
    with contextlib.closing(tritonclient.grpc.InferenceServerClient(server.grpc)) as client:

        def reading() -> tuple[int, float, float, float]:
            cpu = server.cpu_seconds() + (tree_cpu_seconds(redis) if redis else 0.0)
            entries = client.get_inference_statistics(load.model).model_stats
            served = sum(int(entry.inference_count) for entry in entries)
            return served, cpu, machine_cpu_seconds(), time.monotonic()

        before = reading()
        outcome = _put(load, server, scratch)
        served, cpu, busy, took = (
            after - was for after, was in zip(reading(), before, strict=True)
        )
    return Result(
        outcome.inferences_per_second,
        1e6 * cpu / max(served, 1),
        outcome.p50_us,
        outcome.p99_us,
        max(busy - cpu - outcome.client_cpu_seconds, 0.0) / took,
    )


def _put(load: Load, server: ServerProcess, scratch: Path) -> perf_analyzer.Measurement:
    outcome = perf_analyzer.run(load, server.grpc, scratch, lambda: _state_of(server))
    if isinstance(outcome, Failure):
        raise ServerFailedError(f"{load.name}: {outcome.reason}\n{server.log_tail(LOG_LINES)}")
    return outcome


def _state_of(server: ServerProcess) -> str:
    """What a server has under way, and, in its log, what its threads do: for a load that does not
    come to its end."""
    told = []
    for address, path in ((server.http, "/v2/slots"), (server.metrics, "/metrics")):
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=STATE_SECONDS) as answer:
                text = answer.read().decode()
        except OSError as error:
            text = f"{path}: {error}"
        told += [line for line in text.splitlines() if _says_something(line)]
    for process in process_tree(server.process.pid)[1:]:
        os.kill(process, STACKS_SIGNAL)
    time.sleep(STACKS_SECONDS)
    return "\n".join(told)


def _says_something(line: str) -> bool:
    is_telling = not line.startswith(("#", "python_")) and "_bucket{" not in line
    return is_telling and not line.endswith(" 0.0")


def table(settings: Sequence[Setting], rounds: Sequence[Round]) -> list[str]:
    """Medians of one load as rows of Markdown."""
    settings = [each for each in settings if all(each.name in one for one in rounds)]
    titles = [
        *("setting", "messages/s", "CPU, µs", "p50 / p99, ms"),
        *("CPU over embedded", "CPU over no log", "messages/s over no log"),
    ]
    has_slice = settings[0].name == SLICE
    if has_slice:
        titles += ["CPU over the slice", "messages/s over the slice"]
    embedded = next((each.name for each in settings if each.name != SLICE), "")
    rows = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    for setting in settings:
        found = [each[setting.name] for each in rounds]
        p50, p99 = (
            statistics.median(getattr(each, what) for each in found) / 1000
            for what in ("p50_us", "p99_us")
        )
        cells = [
            f"{statistics.median(each.messages_per_second for each in found):,.0f}",
            f"{statistics.median(each.cpu_us for each in found):.0f}",
            f"{p50:.1f} / {p99:.1f}",
            _ratio(rounds, setting.name, embedded, "cpu_us"),
            _ratio(rounds, setting.name, setting.over, "cpu_us"),
            _ratio(rounds, setting.name, setting.over, "messages_per_second"),
        ]
        if has_slice:
            cells += [
                _ratio(rounds, setting.name, SLICE, "cpu_us"),
                _ratio(rounds, setting.name, SLICE, "messages_per_second"),
            ]
        rows.append(f"| {setting.name} | {' | '.join(cells)} |")
    return rows


def _ratio(rounds: Sequence[Round], name: str, over: str, what: str) -> str:
    """Median, and the range, of the ratios within rounds."""
    if name == over or any(over not in each for each in rounds):
        return ""
    ratios = [getattr(each[name], what) / getattr(each[over], what) for each in rounds]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> int:
    options = _parse()
    if not perf_analyzer.is_installed():
        print(f"benchmarks: {perf_analyzer.MISSING_REASON}", file=sys.stderr)
        return 2
    settings = [
        each
        for each in SETTINGS
        if not options.only or any(each.name.startswith(word) for word in options.only)
    ]
    if options.slice is not None:
        settings.insert(0, Setting(SLICE, SLICE_OPTIONS, tree=options.slice))
    described: Mapping[str, Any] = machine.describe()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-durability-")))
        repository = scratch / "models"
        write_repository(repository)
        loads = [
            load
            for load in write_loads(scratch, options.streams, options.window_ms)
            if not options.load or load.model in options.load
        ]
        servers = Servers(stack, repository, scratch)
        results = measure(servers, settings, loads, options.rounds, scratch)
    print(json.dumps(described))
    for load in loads:
        rounds = results[load.name]
        if not rounds[0]:
            continue
        others = statistics.median(each.others_cores for one in rounds for each in one.values())
        print(f"\n{load.name}, {options.streams} streams, {options.rounds} rounds; ", end="")
        print(f"others used {others:.1f} cores\n")
        print("\n".join(table(settings, rounds)))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.durability")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--window-ms", type=int, default=400, help="one window; there are three")
    parser.add_argument("--streams", type=int, default=16, help="sequences at a time")
    parser.add_argument("--only", action="append", metavar="SETTING", help="those that begin so")
    parser.add_argument("--load", action="append", choices=(HASH, NUMBERS), help="these only")
    parser.add_argument(
        "--slice", type=Path, metavar="PATH", help="a checkout of version 0.1, as another peer"
    )
    options = parser.parse_args()
    if options.slice is not None and not (options.slice / "streamgate").is_dir():
        parser.error(f"--slice: no StreamGate in {options.slice}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
