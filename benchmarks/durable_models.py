"""The models that `benchmarks.durability` loads, and what is sent to them."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import parser

from benchmarks.perf_analyzer import Load
from benchmarks.server_process import ROOT
from benchmarks.speech_streams import recordings

HASH: Final = "hash"
NUMBERS: Final = "numbers"
OFTEN: Final = "_often"
"""Behind the names of models whose sequences have a snapshot taken every `OFTEN_STEPS`."""
OFTEN_STEPS: Final = 8
DEMOS: Final = ROOT / "demos"
CHUNK: Final = 2560
STEPS: Final = 400
"""Of one sequence: it has six snapshots by default."""

MODULUS: Final = 2**31 - 1
FACTOR: Final = 48_271

_GRAPH: Final = """
<ir_version: 8, opset_import: ["": 16]>
running_hash (int64[B,1] IN, int64[B,1] hash) => (int64[B,1] OUT, int64[B,1] hash_out)
<int64[1] modulus = {MODULUS}, int64[1] factor = {FACTOR}>
{
  scaled = Mul (hash, factor)
  value = Mod (IN, modulus)
  sum = Add (scaled, value)
  OUT = Mod (sum, modulus)
  hash_out = Identity (OUT)
}
"""
_HASH: Final = """
backend: "onnxruntime"
max_batch_size: 32
input { name: "IN" data_type: TYPE_INT64 dims: 1 }
output { name: "OUT" data_type: TYPE_INT64 dims: 1 }
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 64 }
  state {
    input_name: "hash" output_name: "hash_out" data_type: TYPE_INT64 dims: 1
    initial_state { name: "zero" data_type: TYPE_INT64 dims: 1 zero_data: true }
  }
}
"""
_MORE: Final = (
    f'\nparameters {{ key: "streamgate.snapshot_steps" value {{ string_value: "{OFTEN_STEPS}" }} }}'
)
_NUMBERS: Final = (NUMBERS, "numbers_graph", "numbers_text")


def next_hash(kept: int, value: int) -> int:
    """What the model `hash` answers to `value` when it has answered `kept` before (0: nothing)."""
    return (kept * FACTOR + value % MODULUS) % MODULUS


def write_repository(place: Path) -> None:
    """Both models, and both again with more snapshots."""
    text = _GRAPH.replace("MODULUS", str(MODULUS)).replace("FACTOR", str(FACTOR))
    graph = parser.parse_model(text)
    onnx.checker.check_model(graph, full_check=True)
    for suffix, more in (("", ""), (OFTEN, _MORE)):
        version = place / f"{HASH}{suffix}" / "1"
        version.mkdir(parents=True)
        onnx.save(graph, version / "model.onnx")
        (version.parent / "config.pbtxt").write_text(_HASH + more)
        for name in _NUMBERS:
            copy = place / f"{name}{suffix}"
            shutil.copytree(DEMOS / "models" / name, copy)
            config = (copy / "config.pbtxt").read_text()
            for inner in _NUMBERS[1:]:
                config = config.replace(f'"{inner}"', f'"{inner}{suffix}"')
            (copy / "config.pbtxt").write_text(config + more)


def write_loads(scratch: Path, streams: int, window_ms: int) -> tuple[Load, Load]:
    """What perf_analyzer is asked to do to either model: so many sequences at a time."""
    speech = scratch / "speech.json"
    speech.write_text(json.dumps({"data": [_speech()]}))
    hashes = Load(
        "running hash",
        HASH,
        streams,
        streaming=True,
        sequence_length=STEPS,
        window_ms=window_ms,
        own_connections=True,
    )
    numbers = Load(
        "numbers recogniser",
        NUMBERS,
        streams,
        streaming=True,
        sequence_length=STEPS,
        window_ms=window_ms,
        own_connections=True,
        options=(f"--input-data={speech}",),
    )
    return hashes, numbers


def _speech() -> list[dict[str, dict[str, str]]]:
    """Steps of one sequence: a recording, over and over."""
    (raw,) = recordings([min((DEMOS / "audio").glob("*.wav"))])
    samples = np.frombuffer(raw, "<i2").astype(np.float32) / 32768
    chunks = samples[: samples.size // CHUNK * CHUNK].reshape(-1, CHUNK)
    return [
        {"AUDIO": {"b64": base64.b64encode(chunks[number % len(chunks)].tobytes()).decode()}}
        for number in range(STEPS)
    ]
