"""Triton's own load generator, unmodified, on StreamGate: it runs and all it asked was served."""

import base64
import contextlib
import ctypes
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc

from benchmarks import perf_analyzer
from benchmarks.grpc_sequences import MODELS
from benchmarks.perf_analyzer import Failure, Load
from benchmarks.server_process import ServerProcess
from benchmarks.streamgate_server import streamgate_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not perf_analyzer.is_installed(), reason=perf_analyzer.MISSING_REASON),
]
LOADS = (
    Load("unary gRPC", "identity", 4, window_ms=300),
    Load("unary gRPC, asynchronous", "identity", 4, window_ms=300, options=("--async",)),
    Load("HTTP", "identity", 4, protocol="http", window_ms=300),
    Load(
        "HTTP, JSON",
        "identity",
        2,
        protocol="http",
        window_ms=300,
        options=("--input-tensor-format=json", "--output-tensor-format=json"),
    ),
    Load("batches of 8", "identity", 2, window_ms=300, options=("-b8",)),
    Load("stream", "identity", 4, streaming=True, window_ms=300),
    Load("request rate", "identity", 0, window_ms=300, options=("--request-rate-range=50",)),
    Load("sequences, unary", "sequence_oldest", 4, sequence_length=5, window_ms=300),
    Load("sequences, oldest", "sequence_oldest", 8, "grpc", True, 5, window_ms=300),
    Load("sequences, direct", "sequence_direct", 8, "grpc", True, 5, window_ms=300),
    Load("sequences, HTTP", "sequence_direct", 4, "http", False, 5, window_ms=300),
)
SETTLE_SECONDS = 5.0


@pytest.fixture(scope="module")
def streamgate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with streamgate_server(MODELS, tmp_path_factory.mktemp("streamgate")) as server:
        yield server


@pytest.fixture
def client(streamgate: ServerProcess) -> Iterator[Any]:
    with contextlib.closing(triton_grpc.InferenceServerClient(streamgate.grpc)) as connected:
        yield connected


def counters(client: Any, model: str) -> tuple[int, int]:
    """Inferences and failed requests of a model so far."""
    statistics = client.get_inference_statistics(model).model_stats[0]
    return statistics.inference_count, statistics.inference_stats.fail.count


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_load(load: Load, streamgate: ServerProcess, client: Any, tmp_path: Path) -> None:
    served_before, failed_before = counters(client, load.model)
    address = streamgate.http if load.protocol == "http" else streamgate.grpc
    outcome = perf_analyzer.run(load, address, tmp_path)
    assert not isinstance(outcome, Failure), f"{outcome}\n{streamgate.log_tail()}"
    assert outcome.inferences_per_second > 0
    assert streamgate.is_alive(), streamgate.log_tail()
    # perf_analyzer counts what fell into its windows; the server counts everything.
    served, failed = counters(client, load.model)
    assert served - served_before >= outcome.request_count > 0
    assert failed == failed_before


def test_nothing_is_left_of_the_sequences(streamgate: ServerProcess, client: Any) -> None:
    """After the load is gone, whoever comes next finds free slots."""
    deadline = time.monotonic() + SETTLE_SECONDS
    request = triton_grpc.InferInput("INPUT0", [1, 16], "FP32")
    request._raw_content = bytes(64)
    for key in range(1, 65):
        answer = client.infer(
            "sequence_oldest",
            [request],
            sequence_id=2**40 + key,
            sequence_start=True,
            sequence_end=True,
            client_timeout=max(deadline - time.monotonic(), 0.1),
        )
        assert answer.get_response().model_name == "sequence_oldest"


class TestLibb64:
    """The small library that stands in for the one perf_analyzer is linked against."""

    @pytest.fixture
    def library(self) -> ctypes.CDLL:
        return ctypes.CDLL(str(perf_analyzer.ENVIRONMENT / "lib-perf" / "libb64.so.0d"))

    @pytest.mark.parametrize("plain", [b"", b"a", b"ab", b"abc", bytes(range(256))])
    def test_it_encodes_and_decodes_as_base64(self, library: ctypes.CDLL, plain: bytes) -> None:
        state = ctypes.create_string_buffer(12)
        code = ctypes.create_string_buffer(2 * len(plain) + 8)
        library.base64_init_encodestate(state)
        length = library.base64_encode_block(plain, len(plain), code, state)
        end = ctypes.create_string_buffer(8)
        tail = library.base64_encode_blockend(end, state)
        encoded = code.raw[:length] + end.raw[:tail]
        assert encoded == base64.b64encode(plain)

        state = ctypes.create_string_buffer(8)
        decoded = ctypes.create_string_buffer(len(plain) + 8)
        library.base64_init_decodestate(state)
        length = library.base64_decode_block(encoded, len(encoded), decoded, state)
        assert decoded.raw[:length] == plain


def test_the_binary_is_the_pinned_version() -> None:
    environment = {"LD_LIBRARY_PATH": str(perf_analyzer.ENVIRONMENT / "lib-perf")}
    process = subprocess.run(
        [str(perf_analyzer.BINARY), "--version"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert perf_analyzer.VERSION in process.stdout + process.stderr
