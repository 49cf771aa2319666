"""What is served: the demo model's graph, its words, and how it reads tokens."""

import sys
from pathlib import Path

_MODELS = Path(__file__).resolve().parents[1] / "models"
GRAPH = _MODELS / "numbers_graph" / "1" / "model.onnx"
WORDS = _MODELS / "numbers_text" / "words.txt"

sys.path.append(str(_MODELS / "numbers_text" / "1"))

from reading import Reader, Reading  # noqa: E402 - found where the line above says

__all__ = ["GRAPH", "WORDS", "Reader", "Reading"]
