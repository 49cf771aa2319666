"""`make bench`: StreamGate, a real Triton and the echo limit under the same load.

    python -m benchmarks                                   what is installed, three rounds
    python -m benchmarks --servers triton,echo --rounds 5
    python -m benchmarks --only "unary gRPC"               loads whose name begins so
    python -m benchmarks --profile --only "sequences on streams, 64"

Results go to benchmarks/results as JSON and as a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks import grpc_sequences, machine, perf_analyzer, streamgate_server, triton_server
from benchmarks.grpc_sequences import LOADS, MODELS, SERVERS
from benchmarks.profile_server import profile
from benchmarks.report import markdown
from benchmarks.server_process import ROOT

RESULTS: Final = ROOT / "benchmarks" / "results"
ABOUT: Final = (
    "16 floats a request through the same model.py (StreamGate and Triton); `echo` is a bare "
    "grpc.aio and aiohttp server without model, queue or batch: the limit of such a server in "
    "Python. The load generator shares the cores with the server. Numbers after a comma are "
    "concurrent requests; sequences are 20 steps long and run by the `oldest` strategy unless "
    "the row says otherwise."
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    if not perf_analyzer.is_installed():
        print(f"benchmarks: {perf_analyzer.MISSING_REASON}", file=sys.stderr)
        return 2
    servers = options.servers.split(",") if options.servers else _installed()
    loads = [
        replace(load, window_ms=options.window_ms)
        for load in LOADS
        if not options.only or any(load.name.startswith(word) for word in options.only)
    ]
    if not loads:
        names = ", ".join(load.name for load in LOADS)
        print(f"benchmarks: --only selects nothing; there are: {names}", file=sys.stderr)
        return 2
    if options.profile:
        return _profile(servers[0], loads, options.native)
    document: dict[str, Any] = {
        "about": ABOUT,
        "machine": machine.describe(),
        "perf_analyzer": perf_analyzer.VERSION,
        "window_ms": options.window_ms,
        "rounds": options.rounds,
        "servers": _versions(servers),
    }
    results = grpc_sequences.measure(servers, loads, options.rounds)
    document["results"] = grpc_sequences.summary(results, loads)
    place = Path(options.output) if options.output else RESULTS
    place.mkdir(parents=True, exist_ok=True)
    name = f"grpc_sequences-{document['machine']['date'][:10]}"
    (place / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (place / f"{name}.md").write_text(markdown(document))
    print(markdown(document))
    return 0


def _installed() -> list[str]:
    present = {
        "streamgate": streamgate_server.is_installed(),
        "streamgate-lean": streamgate_server.is_installed(),
        "triton": triton_server.is_installed(),
        "echo": True,
    }
    for name, is_present in present.items():
        if not is_present:
            print(f"benchmarks: {name} is not installed and left out", file=sys.stderr)
    return [name for name, is_present in present.items() if is_present]


def _versions(servers: Sequence[str]) -> dict[str, str]:
    """What each server says of itself, by starting it once."""
    versions = {}
    for name in servers:
        with (
            tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as directory,
            SERVERS[name](MODELS, Path(directory)) as server,
        ):
            versions[name] = server.version
    return versions


def _profile(name: str, loads: Sequence[perf_analyzer.Load], native: bool) -> int:
    for load in loads:
        with (
            tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as directory,
            SERVERS[name](MODELS, Path(directory)) as server,
        ):
            text = profile(server, load, Path(directory), duration_seconds=8, native=native)
            print(f"{name}, {load.name}: {text}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Compare servers under load.")
    parser.add_argument("--servers", help=f"comma-separated, of: {', '.join(SERVERS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window-ms", type=int, default=1500, help="one measurement window")
    parser.add_argument("--only", action="append", metavar="LOAD", help="loads that begin so")
    parser.add_argument("--output", metavar="DIR", help="where results go")
    parser.add_argument("--profile", action="store_true", help="profile the first server instead")
    parser.add_argument("--native", action="store_true", help="native frames in the profile too")
    options = parser.parse_args(arguments)
    unknown = set((options.servers or "").split(",")) - {"", *SERVERS}
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
