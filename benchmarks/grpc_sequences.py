"""StreamGate beside a real Triton and a bare echo server, under perf_analyzer.

Peer: tritonserver 2.51 with the same model.py. Limit: `echo_server`, which does only the protocol
work. Workload: 16 floats a request; unary gRPC, HTTP, and sequences on gRPC streams. The load
generator shares the machine's cores with the server, and everyone gets the same options.

Rounds are interleaved: each round starts every server in turn, in rotating order, and puts every
load on it. What counts is the median over the rounds, and for a comparison the median of the
ratios within a round.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import tritonclient.grpc

from benchmarks import perf_analyzer
from benchmarks.echo_server import echo_server
from benchmarks.perf_analyzer import Failure, Load, Measurement
from benchmarks.server_process import ROOT, ServerFailedError, ServerProcess, machine_cpu_seconds
from benchmarks.streamgate_server import streamgate_server
from benchmarks.triton_server import triton_server

MODELS: Final = ROOT / "benchmarks" / "models"
WARM_UP_WINDOW_MS: Final = 400
SERVERS: Final[Mapping[str, Callable[[Path, Path], AbstractContextManager[ServerProcess]]]] = {
    "streamgate": streamgate_server,
    "streamgate-lean": partial(streamgate_server, options=("--grpc-transport=lean",)),
    "triton": triton_server,
    "echo": echo_server,
}
LOADS: Final = (
    *(Load(f"unary gRPC, {n}", "identity", n) for n in (1, 8, 32)),
    Load("HTTP, 8", "identity", 8, protocol="http"),
    *(
        Load(f"sequences on streams, {n}", "sequence_oldest", n, streaming=True, sequence_length=20)
        for n in (1, 8, 64)
    ),
    Load(
        "sequences on streams, direct, 64",
        "sequence_direct",
        64,
        streaming=True,
        sequence_length=20,
    ),
)


@dataclass(frozen=True, slots=True)
class Result:
    """One server under one load in one round."""

    measurement: Measurement
    server_cpu_ms_per_1000: float
    server_resident_mib: float
    others_cores: float
    """Cores that were busy with neither the server nor perf_analyzer: how noisy the machine was."""


Round = Mapping[str, Result | Failure]
"""Results by server."""


def measure(servers: Sequence[str], loads: Sequence[Load], rounds: int) -> dict[str, list[Round]]:
    """All rounds: for each load's name, one mapping of server to result per round."""
    results: dict[str, list[Round]] = {load.name: [] for load in loads}
    for number in range(rounds):
        shift = number % len(servers)
        order = [*servers[shift:], *servers[:shift]]
        of_round = {name: _measure_server(name, loads) for name in order}
        for load in loads:
            results[load.name].append({name: of_round[name][load.name] for name in servers})
    return results


def _measure_server(name: str, loads: Sequence[Load]) -> dict[str, Result | Failure]:
    """Every load on one server; a server that dies is reported, and started anew for the next."""
    results: dict[str, Result | Failure] = {}
    pending = list(loads)
    while pending:
        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as directory:
            scratch = Path(directory)
            try:
                with SERVERS[name](MODELS, scratch) as server:
                    while pending and server.is_alive():
                        load = pending.pop(0)
                        results[load.name] = _measure_load(server, load, scratch)
                        _say(name, load, results[load.name])
            except (ServerFailedError, FileNotFoundError) as error:
                reason = Failure(str(error).splitlines()[0])
                results.update({load.name: reason for load in pending})
                _say(name, pending[0], reason)
                pending = []
    return results


def _measure_load(server: ServerProcess, load: Load, scratch: Path) -> Result | Failure:
    address = server.http if load.protocol == "http" else server.grpc
    warm_up = perf_analyzer.run(replace(load, window_ms=WARM_UP_WINDOW_MS), address, scratch)
    if isinstance(warm_up, Failure):
        return _with_crash(server, warm_up)
    with contextlib.closing(tritonclient.grpc.InferenceServerClient(server.grpc)) as client:
        served_before = _inference_count(client, load.model)
        cpu_before = server.cpu_seconds()
        machine_before, begin = machine_cpu_seconds(), time.monotonic()
        outcome = perf_analyzer.run(load, address, scratch)
        if isinstance(outcome, Failure):
            return _with_crash(server, outcome)
        cpu_seconds = server.cpu_seconds() - cpu_before
        machine_seconds = machine_cpu_seconds() - machine_before
        others_seconds = machine_seconds - cpu_seconds - outcome.client_cpu_seconds
        others_cores = max(others_seconds, 0.0) / (time.monotonic() - begin)
        served = _inference_count(client, load.model) - served_before
    return Result(
        measurement=outcome,
        server_cpu_ms_per_1000=1e6 * cpu_seconds / max(served, 1),
        server_resident_mib=server.resident_bytes() / 2**20,
        others_cores=others_cores,
    )


def _with_crash(server: ServerProcess, failure: Failure) -> Failure:
    """The failure, and if the server died of it, that."""
    with contextlib.suppress(Exception):
        server.process.wait(1.0)
    if server.is_alive():
        return failure
    words = [line for line in server.log_tail(60).splitlines() if "Signal" in line]
    ending = f"server ended with {server.process.returncode} {' '.join(words[:1])}".strip()
    return Failure(f"{ending}; {failure.reason}")


def _inference_count(client: Any, model: str) -> int:
    stats = client.get_inference_statistics(model).model_stats
    return sum(int(entry.inference_count) for entry in stats)


def _say(server: str, load: Load, result: Result | Failure) -> None:
    match result:
        case Failure(reason):
            shown = f"FAILED: {reason}"
        case Result(measurement, cpu_ms, _, others):
            shown = (
                f"{measurement.inferences_per_second:8.0f}/s  p50 {measurement.p50_us:7.0f} us"
                f"  p99 {measurement.p99_us:8.0f} us  {cpu_ms:6.0f} ms CPU per 1000"
                f"  others {others:.2f} cores"
            )
    print(f"{server:>10}  {load.name:<34}  {shown}", file=sys.stderr, flush=True)


def compared(servers: Sequence[str]) -> list[tuple[str, str]]:
    """Which servers are compared: each of ours to each of the others."""
    return [
        (ours, peer)
        for ours in servers
        if ours.startswith("streamgate")
        for peer in servers
        if not peer.startswith("streamgate")
    ]


def summary(results: Mapping[str, Sequence[Round]], loads: Sequence[Load]) -> list[dict[str, Any]]:
    """Per load: each server's rounds and medians, and StreamGate's ratios to the others."""
    rows: list[dict[str, Any]] = []
    for load in loads:
        rounds = results[load.name]
        servers = list(rounds[0])
        rows.append(
            {
                "load": asdict(load),
                "servers": {name: _of_server([one[name] for one in rounds]) for name in servers},
                "ratios": {
                    f"{ours} / {peer}": ratio
                    for ours, peer in compared(servers)
                    if (ratio := _ratio(rounds, ours, peer)) is not None
                },
            }
        )
    return rows


def _of_server(outcomes: Sequence[Result | Failure]) -> dict[str, Any]:
    measured = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    entry: dict[str, Any] = {
        "rounds": [asdict(outcome) for outcome in outcomes],
        "failures": [outcome.reason for outcome in outcomes if isinstance(outcome, Failure)],
    }
    if measured:
        entry["median"] = {
            field: statistics.median(getattr(one.measurement, field) for one in measured)
            for field in ("inferences_per_second", "p50_us", "p90_us", "p99_us")
        } | {
            field: statistics.median(getattr(one, field) for one in measured)
            for field in ("server_cpu_ms_per_1000", "server_resident_mib", "others_cores")
        }
    return entry


def _ratio(rounds: Sequence[Round], ours: str, peer: str) -> dict[str, Any] | None:
    """Throughput and CPU of `ours` over `peer`, by rounds in which both were measured."""
    pairs = [
        (one[ours], one[peer])
        for one in rounds
        if isinstance(one.get(ours), Result) and isinstance(one.get(peer), Result)
    ]
    if not pairs:
        return None
    speed = [
        left.measurement.inferences_per_second / right.measurement.inferences_per_second
        for left, right in pairs
        if isinstance(left, Result) and isinstance(right, Result)
    ]
    cpu = [
        left.server_cpu_ms_per_1000 / right.server_cpu_ms_per_1000
        for left, right in pairs
        if isinstance(left, Result) and isinstance(right, Result)
    ]
    return {"inferences_per_second": _spread(speed), "server_cpu_per_message": _spread(cpu)}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
