"""The benchmark's own arithmetic, on made-up measurements; no server is started."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.grpc_sequences import LOADS, Result, Round, compared, summary
from benchmarks.machine import describe
from benchmarks.perf_analyzer import Failure, Load, Measurement
from benchmarks.profile_server import hottest
from benchmarks.report import markdown
from benchmarks.server_process import ServerProcess, free_ports, launch, process_tree, terminate


def result(speed: float, cpu: float) -> Result:
    measurement = Measurement(speed, 100.0, 200.0, 300.0, 1000, 0.5)
    return Result(
        measurement, server_cpu_ms_per_1000=cpu, server_resident_mib=50.0, others_cores=0.1
    )


LOAD = Load("unary gRPC, 8", "identity", 8)
ROUNDS: list[Round] = [
    {"streamgate": result(100, 20), "triton": result(200, 10)},
    {"streamgate": result(300, 20), "triton": Failure("server ended with -11")},
    {"streamgate": result(200, 30), "triton": result(100, 10)},
]


class TestSummary:
    @pytest.fixture
    def row(self) -> dict[str, Any]:
        return summary({LOAD.name: ROUNDS}, [LOAD])[0]

    def test_medians_are_over_the_rounds_that_measured(self, row: dict[str, Any]) -> None:
        assert row["servers"]["streamgate"]["median"]["inferences_per_second"] == 200
        assert row["servers"]["triton"]["median"]["inferences_per_second"] == 150
        assert row["servers"]["triton"]["failures"] == ["server ended with -11"]

    def test_ratios_are_within_rounds(self, row: dict[str, Any]) -> None:
        ratio = row["ratios"]["streamgate / triton"]
        assert ratio["inferences_per_second"] == {"median": 1.25, "min": 0.5, "max": 2.0}
        assert ratio["server_cpu_per_message"] == {"median": 2.5, "min": 2.0, "max": 3.0}

    def test_each_of_ours_is_compared_to_each_of_the_others(self) -> None:
        servers = ["streamgate", "streamgate-lean", "triton", "echo"]
        assert compared(servers) == [
            ("streamgate", "triton"),
            ("streamgate", "echo"),
            ("streamgate-lean", "triton"),
            ("streamgate-lean", "echo"),
        ]

    def test_the_table_tells_speed_ratio_and_failures(self, row: dict[str, Any]) -> None:
        document = {
            "about": "about",
            "machine": describe(),
            "perf_analyzer": "2.45.0",
            "window_ms": 1500,
            "rounds": 3,
            "servers": {"streamgate": "0", "triton": "2.51.0"},
            "results": [row],
        }
        text = markdown(document)
        assert "| unary gRPC, 8 | 200 | 150 (1 of 3 failed) | 1.25 (0.50-2.00) |" in text
        assert "median 0.10, at most 0.10" in text
        assert "- unary gRPC, 8, triton: server ended with -11" in text


def test_a_load_that_no_server_survived_is_shown_as_failed() -> None:
    rounds: list[Round] = [{"streamgate": Failure("no"), "triton": Failure("no")}]
    row = summary({LOAD.name: rounds}, [LOAD])[0]
    assert row["ratios"] == {}
    assert "median" not in row["servers"]["triton"]


def test_every_load_has_its_own_name_and_the_same_window() -> None:
    assert len({load.name for load in LOADS}) == len(LOADS)
    assert len({load.window_ms for load in LOADS}) == 1


def test_arguments_of_a_sequence_load() -> None:
    load = Load("s", "m", 4, streaming=True, sequence_length=20)
    arguments = load.arguments("127.0.0.1:1", Path("out.csv"))
    assert {"--streaming", "--async", "--sequence-length=20", "--concurrency-range=4"} <= {
        *arguments
    }


def test_samples_are_summed_by_function() -> None:
    text = hottest("main;work;send (a.py:3) 3\nmain;work 1\n\nmain;send (a.py:4) 2\n")
    lines = [line.split() for line in text.splitlines()[3:]]
    assert lines == [["83.3%", "83.3%", "send", "(a.py)"], ["16.7%", "66.7%", "work"]]


def test_a_server_without_samples_was_idle() -> None:
    assert "idle" in hottest("")


def test_a_process_group_is_counted_and_ended(tmp_path: Path) -> None:
    process = launch(["sh", "-c", "sleep 60 & sleep 60"], tmp_path / "log")
    server = ServerProcess("sleepers", "0", process, tmp_path / "log", grpc="")
    try:
        assert server.is_alive()
        assert process.pid in process_tree(process.pid)
        assert server.cpu_seconds() >= 0
        assert server.resident_bytes() > 0
    finally:
        terminate(process)
    assert not server.is_alive()


def test_free_ports_differ() -> None:
    assert len(set(free_ports(5))) == 5
