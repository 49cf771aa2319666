"""A measurement as a Markdown table that can be read without its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.grpc_sequences import compared


def markdown(document: Mapping[str, Any]) -> str:
    """The document of `benchmarks.__main__` for people."""
    machine = document["machine"]
    servers: Mapping[str, str] = document["servers"]
    rows: Sequence[Mapping[str, Any]] = document["results"]
    names = list(servers)
    lines = [
        f"# gRPC, HTTP and sequences, {machine['date'][:10]}",
        "",
        f"{document['about']}",
        "",
        _machine(machine),
        "Servers: " + ", ".join(f"{name} ({version})" for name, version in servers.items()) + ".",
        _method(document),
        "",
        "## Inferences per second",
        "",
        *_table(
            ["load", *names, *_ratio_heads(names)],
            [
                [
                    row["load"]["name"],
                    *_cells(row, names, _speed),
                    *_ratios(row, names, "inferences_per_second"),
                ]
                for row in rows
            ],
        ),
        "",
        "## Latency at the client, p50 / p99, ms",
        "",
        *_table(
            ["load", *names], [[row["load"]["name"], *_cells(row, names, _latency)] for row in rows]
        ),
        "",
        "## CPU of the server's processes per 1000 messages, ms",
        "",
        *_table(
            ["load", *names, *_ratio_heads(names)],
            [
                [
                    row["load"]["name"],
                    *_cells(row, names, _cpu),
                    *_ratios(row, names, "server_cpu_per_message"),
                ]
                for row in rows
            ],
        ),
    ]
    lines += ["", _noise(rows)]
    failures = [
        f"- {row['load']['name']}, {name}: {reason}"
        for row in rows
        for name in names
        for reason in row["servers"][name]["failures"]
    ]
    if failures:
        lines += ["", "## Runs that failed", "", *failures]
    return "\n".join(lines) + "\n"


def _noise(rows: Sequence[Mapping[str, Any]]) -> str:
    others = sorted(
        one["others_cores"]
        for row in rows
        for entry in row["servers"].values()
        for one in entry["rounds"]
        if "others_cores" in one
    )
    if not others:
        return "Nothing was measured."
    return (
        "Cores that other work on the machine took away meanwhile: median "
        f"{others[len(others) // 2]:.2f}, at most {others[-1]:.2f}. Speed and latency suffer from "
        "that most, CPU per message less; ratios within a round least."
    )


def _machine(machine: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"Machine: {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}; {packages}; "
        f"commit {machine['commit']}{' with local changes' if machine['modified'] else ''}; "
        f"load average before the first round {machine['load_average_before']:.1f}."
    )


def _method(document: Mapping[str, Any]) -> str:
    return (
        f"{document['rounds']} rounds, servers in turn; medians. perf_analyzer "
        f"{document['perf_analyzer']}, windows of {document['window_ms']} ms, three a run."
    )


def _speed(median: Mapping[str, float]) -> str:
    return f"{median['inferences_per_second']:,.0f}"


def _latency(median: Mapping[str, float]) -> str:
    return f"{median['p50_us'] / 1000:.2f} / {median['p99_us'] / 1000:.2f}"


def _cpu(median: Mapping[str, float]) -> str:
    return f"{median['server_cpu_ms_per_1000']:,.0f}"


def _cells(row: Mapping[str, Any], names: Sequence[str], show: Any) -> list[str]:
    cells = []
    for name in names:
        entry = row["servers"][name]
        shown = show(entry["median"]) if "median" in entry else "failed"
        failed = len(entry["failures"])
        of = len(entry["rounds"])
        cells.append(
            f"{shown} ({failed} of {of} failed)" if failed and shown != "failed" else shown
        )
    return cells


def _ratio_heads(names: Sequence[str]) -> list[str]:
    return [f"{ours} / {peer}" for ours, peer in compared(names)]


def _ratios(row: Mapping[str, Any], names: Sequence[str], field: str) -> list[str]:
    cells = []
    for head in _ratio_heads(names):
        if head in row["ratios"]:
            spread = row["ratios"][head][field]
            cells.append(f"{spread['median']:.2f} ({spread['min']:.2f}-{spread['max']:.2f})")
        else:
            cells.append("-")
    return cells


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
