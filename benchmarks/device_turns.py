"""Streams beside a heavy load of stateless requests on one device: how late do they get?

Four streams have a step every 80 ms; four instances of a stateless model are never without a
request. Peers: `--device-turns` 0 (all at once), 2 and 1. Limit: the streams alone.

`processors`: the device is the machine's processors. A stream's step multiplies two matrices of
384 x 384, a stateless one does that ten times. `sleeping`: it is one that does a step at a time, in
the order in which they come, 2 ms and 30 ms long; the steps sleep meanwhile, so that what else the
machine has to do is not measured. `batched` is the same with one stateless model that batches up to
16 requests, 10 ms + 5 ms each.

    python -m benchmarks.device_turns [--device processors|sleeping|batched] [--seconds 15]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks import machine
from benchmarks.paced_streams import Diary, keep_coming, percentile
from benchmarks.streamgate_server import streamgate_server

STREAMS: Final = 4
PACE_MS: Final = 80.0
STEP_PRODUCTS: Final = 1
HEAVY_INSTANCES: Final = 4
HEAVY_CALLERS: Final = 8
HEAVY_PRODUCTS: Final = 10
STEP_MS: Final = (2.0, 0.0)
HEAVY_MS: Final = (30.0, 0.0)
BATCH_ROWS: Final = 16
BATCHED_MS: Final = (10.0, 5.0)
BATCHED_CALLERS: Final = 24
ONE_CORE: Final = "OPENBLAS_NUM_THREADS"
"""Each product is made on one core, as each step is on its own."""
WARM_UP_SECONDS: Final = 3.0

_CONFIG: Final = """
backend: "python"
max_batch_size: {rows}
input {{ name: "IN" data_type: TYPE_INT32 dims: {dims} }}
output {{ name: "OUT" data_type: TYPE_INT32 dims: {dims} }}
instance_group {{ kind: KIND_CPU count: {instances} }}
parameters {{ key: "streamgate.execution" value {{ string_value: "thread" }} }}
"""
_SEQUENCES: Final = """
sequence_batching {{ oldest {{ max_candidate_sequences: {streams} }} }}
parameters {{ key: "streamgate.deadline_ms" value {{ string_value: "{pace:g}" }} }}
"""
_ASKED: Final = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [1, 1], "data": [1]}]}


@dataclass(frozen=True, slots=True)
class Measured:
    """One server. Times are milliseconds, `heavy_rate` stateless requests a second."""

    name: str
    lag_p50: float
    lag_p99: float
    lag_max: float
    heavy_rate: float


def _parameter(name: str, value: object) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


def write_repository(place: Path, device: str) -> None:
    """The models `stream` and `heavy`, and what they sleep by beside them."""
    is_batched = device == "batched"
    streams = _SEQUENCES.format(streams=STREAMS, pace=PACE_MS)
    stream = _CONFIG.format(rows=STREAMS, dims="1", instances=1) + streams
    if is_batched:
        heavy = _CONFIG.format(rows=BATCH_ROWS, dims="1", instances=1) + "dynamic_batching { }\n"
    else:
        heavy = _CONFIG.format(rows=0, dims="[ 1, 1 ]", instances=HEAVY_INSTANCES)
    lengths = {"stream": STEP_MS, "heavy": BATCHED_MS if is_batched else HEAVY_MS}
    counts = {"stream": STEP_PRODUCTS, "heavy": HEAVY_PRODUCTS}
    for name, config in (("stream", stream), ("heavy", heavy)):
        if device == "processors":
            model, told = "matmul", _parameter("count", counts[name])
        else:
            knob = place.parent / f"{name}.ms"
            knob.write_text("{:g} {:g}".format(*lengths[name]))
            one = place.parent / "device"
            model, told = "paced_sleep", _parameter("knob", knob) + _parameter("device", one)
        shutil.copytree(Path(__file__).parent / "unconfigured_models" / model, place / name)
        (place / name / "config.pbtxt").write_text(config + told)


async def measure(name: str, websocket: str, http: str, seconds: float, callers: int) -> Measured:
    diary = Diary()
    begin = time.monotonic() + WARM_UP_SECONDS
    until = begin + seconds
    url = f"ws://{websocket}/v1/sequence"
    answered: list[float] = []
    clients = [_stream(n, url, until, diary) for n in range(STREAMS)]
    clients += [_call(http, until, answered) for _ in range(callers)]
    await asyncio.gather(*clients)
    lags = [1000 * each.lag for each in diary.results if each.at >= begin]
    assert not diary.failures
    return Measured(
        name,
        percentile(lags, 0.5),
        percentile(lags, 0.99),
        max(lags),
        sum(at >= begin for at in answered) / seconds,
    )


async def _stream(number: int, url: str, until: float, diary: Diary) -> None:
    """Streams are out of step with each other, and stay."""
    await asyncio.sleep(number * PACE_MS / 1000 / STREAMS)
    await keep_coming(url, "stream", PACE_MS / 1000, 1e9, until, diary)


async def _call(http: str, until: float, answered: list[float]) -> None:
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until:
            async with session.post(f"http://{http}/v2/models/heavy/infer", json=_ASKED) as answer:
                assert answer.status == 200, await answer.text()
            answered.append(time.monotonic())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each (%(default)s)")
    parser.add_argument(
        "--device", choices=("processors", "sleeping", "batched"), default="processors"
    )
    options = parser.parse_args()
    callers = BATCHED_CALLERS if options.device == "batched" else HEAVY_CALLERS
    os.environ[ONE_CORE] = "1"
    print({"machine": machine.describe(), "device": options.device})
    print("\n| | stream lag p50 / p99 / max, ms | stateless requests a second |\n|---|---|---|")
    for name, turns, heavy in (
        ("streams alone", 0, False),
        ("all at once", 0, True),
        ("`--device-turns 2`", 2, True),
        ("`--device-turns 1`", 1, True),
    ):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            write_repository(place / "models", options.device)
            arguments = [f"--device-turns={turns}"]
            with streamgate_server(place / "models", place, arguments) as server:
                found = asyncio.run(
                    measure(
                        name,
                        server.websocket,
                        server.http,
                        options.seconds,
                        callers if heavy else 0,
                    )
                )
        lags = f"{found.lag_p50:.0f} / {found.lag_p99:.0f} / {found.lag_max:.0f}"
        print(f"| {found.name} | {lags} | {found.heavy_rate:.0f} |", flush=True)


if __name__ == "__main__":
    main()
