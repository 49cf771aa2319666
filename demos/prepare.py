"""Writes the parts of the demo model repository that are not checked in.

    python demos/prepare.py                 into demos/models, next to the configurations
    python demos/prepare.py --output DIR    the graphs alone, as DIR/MODEL/1/model.onnx

The voice-activity graph is cut from the data file of the installed `silero-vad` package
(`pip install --no-deps silero-vad`), the others are made from scratch. Needs the package `onnx`.
"""

import argparse
import os
import sys
from pathlib import Path

import onnx

import small_graphs
import telephone_graph
import voice_activity_graph
import voice_activity_windows_graph

MODELS = Path(__file__).resolve().parent / "models"


def prepare(output: Path) -> list[Path]:
    """Writes every generated graph below `output` and returns their paths."""
    voice_activity = voice_activity_graph.build(voice_activity_graph.installed_source())
    graphs = {
        "add_sub_onnx": small_graphs.add_sub(),
        "running_sum_onnx": small_graphs.running_sum(),
        "telephone_audio": telephone_graph.build(),
        "voice_activity": voice_activity,
        "voice_activity_160ms": voice_activity_windows_graph.build(voice_activity),
    }
    return [_write(graph, output / name / "1" / "model.onnx") for name, graph in graphs.items()]


def _write(graph: onnx.ModelProto, path: Path) -> Path:
    """Writes the file whole or not at all: a server may be polling the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        onnx.save(graph, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def main() -> int:
    arguments = argparse.ArgumentParser(description="Write the generated demo models.")
    arguments.add_argument("--output", type=Path, default=MODELS, metavar="DIR")
    output = arguments.parse_args().output
    try:
        written = prepare(output)
    except (voice_activity_graph.GraphSourceError, OSError) as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    for path in written:
        print(f"{path.stat().st_size:>10,} bytes  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
