"""The demo as a user runs it, and the demo models as a user of Triton's client calls them."""

import os
import queue
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tritonclient.grpc
import tritonclient.http

from tests.system.mulaw import mulaw

DEMO = Path(__file__).resolve().parents[2] / "demos" / "run_demo.py"
TIMEOUT_SECONDS = 110.0


def _installed_vad() -> bool:
    try:
        metadata.distribution("silero-vad")
    except metadata.PackageNotFoundError:
        return False
    return True


pytestmark = pytest.mark.skipif(
    not _installed_vad(), reason="silero-vad, whose data file the graph is made from, is absent"
)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, str(DEMO), *arguments]


@dataclass(frozen=True)
class Served:
    """The demo models, served by `run_demo.py --serve`."""

    http: str
    grpc: str
    process: subprocess.Popen[str]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics", "websocket")]
    process = subprocess.Popen(_command("--serve", *ports), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found: dict[str, str] = {}
        while len(found) < 2:  # the demo itself gives up when the gateway is not ready in time
            line = process.stdout.readline()
            assert line, f"the demo ended before it served: exit code {process.wait()}"
            if match := re.match(r"  (HTTP|gRPC) +(?:http://)?([\d.:]+)", line):
                found[match[1]] = match[2]
        yield Served(found["HTTP"], found["gRPC"], process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
            process.stdout.close()


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT_SECONDS)
def test_the_demo_runs_and_both_transports_hear_the_same() -> None:
    done = subprocess.run(
        _command(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for transport in ("websocket", "grpc"):
        for edge, seconds in (("starts", 0.61), ("ends", 1.79), ("starts", 2.69), ("ends", 5.34)):
            event = rf"{transport} +station_16k +speech {edge} +{seconds} s\n"
            assert re.search(event, done.stdout), f"no {event!r} in\n{done.stdout}"
        assert re.search(rf"{transport} +4 +780 +24 ", done.stdout)
    assert "1560 chunks was answered once and in order" in done.stdout
    assert "24 events are identical over both transports" in done.stdout
    text = "one hundred and twenty four dollars and ninety nine cents"
    german = "einhundertvierundzwanzig dollars und neunundneunzig cents"
    assert re.search(rf"  \d\.\d\d s  {text}\n +{german}\n", done.stdout)
    assert re.search(r"es   menos doce coma cinco / setecientos seis mil\n", done.stdout)
    for dialect in ("OpenAI  POST /v1/audio/transcriptions", "Deepgram  ws /v1/listen"):
        assert f"  {dialect}\n      {text}\n" in done.stdout
    killed = re.findall(r"kill -9 \d+, which is (engine-[01])\n", done.stdout)
    assert len(killed) == 2
    assert "all 37 words of 4 streams, and their translations, are the\n" in done.stdout
    assert "attention please the train to the harbour leaves" in done.stdout
    assert "\033" not in done.stdout, "colour codes although the output is no terminal"
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("file", "reason"), [("missing.wav", "can't be read as audio"), ("text.wav", "as audio")]
)
def test_a_recording_that_is_none_is_named(tmp_path: Path, file: str, reason: str) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    done = subprocess.run(
        _command("--audio", str(tmp_path / file)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert file in done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("model", ["running_sum_onnx", "running_sum_python"])
def test_running_sums_of_two_sequences(served: Served, model: str) -> None:
    values = {"first": [5, 7, -2], "second": [100, 1, 1]}
    sums: dict[str, list[int]] = {"first": [], "second": []}
    with tritonclient.http.InferenceServerClient(served.http) as client:
        for step in range(3):
            for sequence, inputs in values.items():
                tensor = tritonclient.http.InferInput("INPUT", [1, 1], "INT32")
                tensor.set_data_from_numpy(np.array([[inputs[step]]], np.int32))
                result = client.infer(
                    model,
                    [tensor],
                    sequence_id=f"{model}-{sequence}",
                    sequence_start=step == 0,
                    sequence_end=step == 2,
                )
                sums[sequence].append(int(result.as_numpy("OUTPUT").item()))
    assert sums == {"first": [5, 12, 10], "second": [100, 101, 102]}


def test_two_telephone_calls_through_the_ensemble(served: Served) -> None:
    samples, rate = soundfile.read(DEMO.parent / "audio" / "call_8k.wav", dtype="float32")
    assert rate == 8_000
    samples = np.pad(samples, (0, rate // 2))
    chunks = mulaw(samples[: len(samples) // 256 * 256]).reshape(-1, 1, 256)
    events: dict[str, list[tuple[int, float]]] = {"one": [], "two": []}
    with tritonclient.http.InferenceServerClient(served.http) as client:
        for step, chunk in enumerate(chunks):
            tensor = tritonclient.http.InferInput("MULAW", [1, 256], "UINT8")
            tensor.set_data_from_numpy(chunk)
            for call, heard in events.items():
                result = client.infer(
                    "telephone_voice_activity",
                    [tensor],
                    sequence_id=call,
                    sequence_start=step == 0,
                    sequence_end=step == len(chunks) - 1,
                )
                if event := int(result.as_numpy("SPEECH_EVENT").item()):
                    heard.append((event, float(result.as_numpy("EVENT_TIME").item())))
    assert events["one"] == events["two"]
    kinds = [kind for kind, _ in events["one"]]
    assert kinds == [1, 2] * 4
    # As the demo hears the same recording, which it resamples with all that is to come in sight.
    assert events["one"][0][1] == pytest.approx(0.80, abs=0.1)
    assert events["one"][-1][1] == pytest.approx(5.79, abs=0.1)


def _countdown(served: Served, count: int) -> tuple[list[int], str]:
    """The numbers that a countdown answers, and its error if it has one."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    tensor = tritonclient.grpc.InferInput("COUNT", [1], "INT32")
    tensor.set_data_from_numpy(np.array([count], np.int32))
    numbers: list[int] = []
    with tritonclient.grpc.InferenceServerClient(served.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("decoupled_countdown", [tensor], enable_empty_final_response=True)
        while True:
            result, error = answers.get(timeout=10)
            if error is not None:
                return numbers, error.message()
            if result.get_response().parameters["triton_final_response"].bool_param:
                return numbers, ""
            numbers.append(int(result.as_numpy("REMAINING").item()))


def test_countdown_answers_as_often_as_it_is_told(served: Served) -> None:
    assert _countdown(served, 3) == ([3, 2, 1], "")
    assert _countdown(served, 0) == ([], "")
    numbers, error = _countdown(served, -1)
    assert numbers == []
    assert "COUNT is -1, expected 0 to 10000" in error


def test_add_sub_is_completed_from_its_graph(served: Served) -> None:
    with tritonclient.http.InferenceServerClient(served.http) as client:
        config = client.get_model_config("add_sub_onnx")
    assert config["backend"] == "onnxruntime"
    assert config["max_batch_size"] == 16
    assert [(item["name"], item["dims"]) for item in config["input"]] == [
        ("INPUT0", [-1]),
        ("INPUT1", [-1]),
    ]
    assert [item["data_type"] for item in config["output"]] == ["TYPE_FP32", "TYPE_FP32"]
