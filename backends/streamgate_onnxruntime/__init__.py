"""Runs ONNX models with ONNX Runtime. Imports it only when the backend is created."""

from streamgate.backend.contract import Backend


def create() -> Backend:
    """The backend of this process. Raises ImportError when onnxruntime is not installed."""
    from streamgate_onnxruntime.backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend()
