"""Requests over HTTP with Triton's own client: one stateless inference, and the statistics."""

from dataclasses import dataclass

import numpy as np
import tritonclient.http as triton

from streams import MODEL, DemoError


@dataclass(frozen=True, slots=True)
class StepCounts:
    """How many rows of how many steps the voice-activity model has run since it was loaded."""

    rows: int
    steps: int


def add_and_subtract(address: str) -> tuple[list[float], list[float]]:
    """Asks `add_sub_onnx` once and returns the sum and the difference, checked."""
    left = np.array([[1.5, 2.5, 40.0]], np.float32)
    right = np.array([[0.5, 0.5, 2.0]], np.float32)
    inputs = [triton.InferInput(name, left.shape, "FP32") for name in ("INPUT0", "INPUT1")]
    for tensor, value in zip(inputs, (left, right), strict=True):
        tensor.set_data_from_numpy(value)
    with triton.InferenceServerClient(address) as client:
        result = client.infer("add_sub_onnx", inputs)
    total, difference = result.as_numpy("OUTPUT0"), result.as_numpy("OUTPUT1")
    if not (np.array_equal(total, left + right) and np.array_equal(difference, left - right)):
        raise DemoError(f"add_sub_onnx: wrong answer {total}, {difference} for {left}, {right}")
    return total[0].tolist(), difference[0].tolist()


def step_counts(address: str) -> StepCounts:
    """Reads the voice-activity model's statistics."""
    with triton.InferenceServerClient(address) as client:
        (entry,) = client.get_inference_statistics(MODEL)["model_stats"]
    return StepCounts(rows=int(entry["inference_count"]), steps=int(entry["execution_count"]))
