"""How many live streams of speech one core sustains, and how soon a word is stable text.

Peer and limit in one: the same ONNX graph called in a bare loop at its best batch size, with its
state kept in plain arrays and no text made of its tokens: what the model alone allows on one core.
Workload: recordings over `/v1/speech`, each stream a chunk at a time at the pace of speech, their
starts spread over a chunk. A load counts as sustained when 99 of 100 results come back within one
chunk's time of their audio being sent, and every stream gets every result.

    python -m benchmarks.speech_streams [--model numbers --graph numbers_graph] [--streams 50,100]

The server is held to one core, the clients to the others. With fewer than two cores the figures
mean nothing.

With `--cpu`, no pace and no core are kept: each of CPU_STREAMS streams sends a chunk when the one
before is answered, and what counts is the CPU time that a chunk costs the server and the bare loop.
That is worth reading on a machine that has other work, too, but says nothing of lag.
"""

import argparse
import asyncio
import json
import math
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import soundfile
import soxr
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.machine import describe
from benchmarks.server_process import ROOT, ServerProcess, process_tree
from benchmarks.streamgate_server import streamgate_server
from streamgate.model.tensor import Array

MODELS = ROOT / "demos/models"
RATE_HZ = 16_000
BATCHES = (1, 2, 4, 8, 16, 32)
BARE_SECONDS = 2.0
STREAM_SECONDS = 8.0
BYTES_PER_SAMPLE = 2
CPU_STREAMS = 64
CPU_ROUNDS = 3


@dataclass(frozen=True)
class Load:
    """What came of so many streams."""

    streams: int
    lags_ms: Array
    word_ms: Array
    lost: int
    cpu_share: float

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.lags_ms, 99)) if self.lags_ms.size else math.inf

    def is_sustained(self, chunk_seconds: float) -> bool:
        return not self.lost and self.p99_ms <= chunk_seconds * 1000


def bare_loop(graph: Path, chunk: int) -> dict[int, float]:
    """Real-time streams that the graph alone sustains on one core, by batch size."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    speech = np.random.default_rng(1).normal(0, 0.1, (max(BATCHES), chunk)).astype(np.float32)
    streams = {}
    for rows in BATCHES:
        feeds = {}
        for spec in session.get_inputs():
            shape = [rows if isinstance(size, str) else size for size in spec.shape]
            feeds[spec.name] = np.zeros(shape, np.float32)
        feeds["AUDIO"] = speech[:rows]
        states = [name for name in feeds if name != "AUDIO"]
        outputs = [spec.name for spec in session.get_outputs()]
        steps = 0
        # Its own CPU time: what else runs on the machine is not the graph's.
        began = time.process_time()
        while time.process_time() < began + BARE_SECONDS:
            found = dict(zip(outputs, session.run(None, feeds), strict=True))
            for name in states:
                feeds[name] = found.get(f"{name}_out", feeds[name])
            steps += 1
        step_seconds = (time.process_time() - began) / steps
        streams[rows] = rows * chunk / RATE_HZ / step_seconds
    return streams


def recordings(paths: list[Path]) -> list[bytes]:
    """Each as s16le at 16 kHz, repeated until it is long enough."""
    speech = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        if samples.ndim > 1:
            samples = samples.mean(axis=1)
        samples = soxr.resample(samples, rate, RATE_HZ)
        samples = np.concatenate([samples, np.zeros(RATE_HZ // 2, np.float32)])
        count = math.ceil(STREAM_SECONDS * RATE_HZ / samples.size)
        whole = np.tile(samples, count)[: round(STREAM_SECONDS * RATE_HZ)]
        speech.append(np.round(whole * 32767).astype("<i2").tobytes())
    return speech


class Talker:
    """One client, at the pace of speech."""

    def __init__(self, url: str, audio: bytes, chunk: int, at: float) -> None:
        self._url = url
        self._audio = audio
        self._chunk_bytes = chunk * BYTES_PER_SAMPLE
        self._chunk_seconds = chunk / RATE_HZ
        self._at = at
        self._sent: list[float] = []
        self.lags_ms: list[float] = []
        self.word_ms: list[float] = []
        self.lost = 0

    async def run(self) -> None:
        async with connect(self._url, compression=None, ping_interval=None) as socket:
            await socket.recv()
            reading = asyncio.create_task(self._read(socket))
            for number, at in enumerate(range(0, len(self._audio), self._chunk_bytes)):
                # Audio of a chunk exists when its last sample was spoken.
                await asyncio.sleep(self._at + (number + 1) * self._chunk_seconds - _now())
                self._sent.append(_now())
                await socket.send(self._audio[at : at + self._chunk_bytes])
            await socket.send('{"type":"end"}')
            async with asyncio.timeout(30):
                await reading
        self.lost = len(self._sent) - len(self.lags_ms)

    async def _read(self, socket: ClientConnection) -> None:
        async for frame in socket:
            came = _now()
            message: dict[str, Any] = json.loads(frame)
            if message["type"] == "text" and message["position"] < len(self._sent):
                self.lags_ms.append(1000 * (came - self._sent[message["position"]]))
                for word in message.get("words", ()):
                    self.word_ms.append(1000 * (came - self._at - word["end"]))
            elif message["type"] == "ended":
                return


def _now() -> float:
    return asyncio.get_running_loop().time()


async def load(
    server: ServerProcess, model: str, count: int, speech: list[bytes], chunk: int
) -> Load:
    url = f"ws://{server.websocket}/v1/speech?model={model}&encoding=s16le&sample_rate={RATE_HZ}"
    begin = _now() + 1.0 + count * 0.004
    spread = chunk / RATE_HZ
    talkers = [
        Talker(url, speech[number % len(speech)], chunk, begin + spread * number / count)
        for number in range(count)
    ]
    cpu = server.cpu_seconds()
    results = await asyncio.gather(*(talker.run() for talker in talkers), return_exceptions=True)
    failed = sum(isinstance(result, BaseException) for result in results)
    cpu = server.cpu_seconds() - cpu
    return Load(
        count,
        np.array([lag for talker in talkers for lag in talker.lags_ms]),
        np.array([lag for talker in talkers for lag in talker.word_ms]),
        failed + sum(talker.lost for talker in talkers),
        cpu / (STREAM_SECONDS + 1.0 + count * 0.004),
    )


async def cpu_round(server: ServerProcess, model: str, speech: list[bytes], chunk: int) -> float:
    """Microseconds of the server's CPU for each chunk, of streams as fast as they are answered."""
    url = f"ws://{server.websocket}/v1/speech?model={model}&encoding=s16le&sample_rate={RATE_HZ}"
    size = chunk * BYTES_PER_SAMPLE

    async def talk(audio: bytes) -> int:
        count = len(audio) // size
        async with connect(url, compression=None, ping_interval=None) as socket:
            await socket.recv()
            for number in range(count):
                await socket.send(audio[number * size :][:size])
                await socket.recv()
        return count

    before = server.cpu_seconds()
    talks = (talk(speech[number % len(speech)]) for number in range(CPU_STREAMS))
    chunks = sum(await asyncio.gather(*talks))
    return 1e6 * (server.cpu_seconds() - before) / chunks


def show_cpu(
    server: ServerProcess, model: str, speech: list[bytes], chunk: int, bare_streams: float
) -> None:
    costs = [asyncio.run(cpu_round(server, model, speech, chunk)) for _ in range(CPU_ROUNDS)]
    bare = 1e6 * chunk / RATE_HZ / bare_streams
    print(f"CPU time of a chunk, {CPU_STREAMS} streams as fast as they are answered:")
    print(f"  server {', '.join(f'{cost:.0f}' for cost in costs)} us, bare loop {bare:.0f} us")
    print(f"  {bare / min(costs):.2f} of the bare loop's chunks for the same CPU time")


def hold(server: ServerProcess, cores: set[int]) -> None:
    for pid in process_tree(server.process.pid):
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="numbers")
    parser.add_argument("--graph", default="numbers_graph", help="the model of the bare loop")
    parser.add_argument("--chunk", type=int, default=2560, help="samples of a step")
    parser.add_argument("--audio", type=Path, nargs="*")
    parser.add_argument("--streams", default="25,50,100,150,200,300,400")
    parser.add_argument("--cpu", action="store_true", help="CPU time of a chunk, without a pace")
    parser.add_argument("--repository", type=Path, default=MODELS)
    options = parser.parse_args()
    audio = options.audio or sorted((ROOT / "demos/audio").glob("*.wav"))
    cores = sorted(os.sched_getaffinity(0))
    print(json.dumps(describe(), indent=1))

    os.sched_setaffinity(0, cores[:1])
    bare = bare_loop(options.repository / options.graph / "1/model.onnx", options.chunk)
    os.sched_setaffinity(0, cores)
    best = max(bare, key=lambda rows: bare[rows])
    print("\nBare loop, one core: " + ", ".join(f"batch {r}: {n:.0f}" for r, n in bare.items()))
    print(f"  the limit: {bare[best]:.0f} streams at batch {best}\n")

    speech = recordings(audio)
    chunk_seconds = options.chunk / RATE_HZ
    sustained = None
    only = ["--model-control-mode=explicit", f"--load-model={options.model}"]
    with (
        tempfile.TemporaryDirectory() as scratch,
        streamgate_server(options.repository, Path(scratch), only) as server,
    ):
        if options.cpu:
            show_cpu(server, options.model, speech, options.chunk, bare[best])
            return
        hold(server, set(cores[:1]))
        os.sched_setaffinity(0, cores[1:] or cores)
        print("streams   result lag p50 / p99   word end to stable text p50 / p99   CPU   lost")
        for count in map(int, options.streams.split(",")):
            found = asyncio.run(load(server, options.model, count, speech, options.chunk))
            words = found.word_ms if found.word_ms.size else np.array([math.nan])
            print(
                f"{count:7d}   {np.percentile(found.lags_ms, 50):9.1f} / {found.p99_ms:6.1f} ms"
                f"   {np.percentile(words, 50):20.0f} / {np.percentile(words, 99):6.0f} ms"
                f"   {found.cpu_share:7.2f} {found.lost:6d}",
                flush=True,
            )
            if not found.is_sustained(chunk_seconds):
                break
            sustained = found
    if sustained is None:
        print("\nNot even the smallest load was sustained.")
        return
    share = sustained.streams / bare[best]
    print(
        f"\nSustained on one core: {sustained.streams} streams, {share:.2f} of the bare loop's "
        f"{bare[best]:.0f}."
    )


if __name__ == "__main__":
    main()
