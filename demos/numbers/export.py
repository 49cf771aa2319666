"""Writes the trained recogniser as the graph of the demo model `numbers_graph`.

python demos/numbers/export.py --weights DIR/model.pt [--output FILE]
"""

import argparse
import sys
from pathlib import Path

import onnx
import torch

import graph
import served
import vocabulary


def main() -> int:
    parser = argparse.ArgumentParser(description="Export the recogniser of spoken numbers.")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--output", type=Path, default=served.GRAPH, metavar="FILE")
    given = parser.parse_args()
    weights = {name: value.numpy() for name, value in torch.load(given.weights).items()}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(graph.build(graph.from_torch(weights)), given.output)
    served.WORDS.write_text("\n".join(vocabulary.WORDS) + "\n", encoding="utf-8")
    print(f"{given.output.stat().st_size:,} bytes  {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
