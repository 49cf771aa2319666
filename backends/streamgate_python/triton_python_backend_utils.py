"""What a `model.py` imports as `triton_python_backend_utils`.

Inside the gateway this module stands in `sys.modules` under that name, whatever else is
installed.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final

from streamgate_python.calling import calling_model
from streamgate_python.calls import OtherModels
from streamgate_python.conversions import (
    TRITON_STRING_TO_NUMPY,
    deserialize_bytes_tensor,
    numpy_to_triton_type,
    serialize_byte_tensor,
    triton_string_to_numpy,
    triton_to_numpy_type,
)
from streamgate_python.errors import TritonError, TritonModelException
from streamgate_python.logger import Logger
from streamgate_python.metrics import MetricFamily
from streamgate_python.model_config import ModelConfig
from streamgate_python.requests import (
    RELEASE_ALL,
    RELEASE_RESCHEDULE,
    TRITONSERVER_MEMORY_CPU,
    TRITONSERVER_MEMORY_GPU,
    InferenceRequest,
    InferenceTrace,
    PreferredMemory,
)
from streamgate_python.responses import InferenceResponse
from streamgate_python.senders import RESPONSE_COMPLETE_FINAL, InferenceResponseSender
from streamgate_python.tensors import Tensor

__all__ = [
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START",
    "TRITONSERVER_REQUEST_RELEASE_ALL",
    "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE",
    "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
    "TRITON_STRING_TO_NUMPY",
    "InferenceRequest",
    "InferenceResponse",
    "InferenceResponseSender",
    "InferenceTrace",
    "Logger",
    "MetricFamily",
    "ModelConfig",
    "PreferredMemory",
    "Tensor",
    "TritonError",
    "TritonModelException",
    "deserialize_bytes_tensor",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_model_dir",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "is_model_ready",
    "load_model",
    "numpy_to_triton_type",
    "serialize_byte_tensor",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "unload_model",
    "using_decoupled_model_transaction_policy",
]

TRITONSERVER_REQUEST_FLAG_SEQUENCE_START: Final = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END: Final = 2
TRITONSERVER_RESPONSE_COMPLETE_FINAL: Final = RESPONSE_COMPLETE_FINAL
TRITONSERVER_REQUEST_RELEASE_ALL: Final = RELEASE_ALL
TRITONSERVER_REQUEST_RELEASE_RESCHEDULE: Final = RELEASE_RESCHEDULE


def install() -> None:
    """Make `import triton_python_backend_utils` find this module, in this process."""
    sys.modules["triton_python_backend_utils"] = sys.modules[__name__]


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor | None:
    """The request's input of this name, or None."""
    for tensor in inference_request.inputs():
        if tensor._name == name:
            return tensor
    return None


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str) -> Tensor | None:
    """The response's output of this name, or None."""
    for tensor in inference_response.output_tensors():
        if tensor._name == name:
            return tensor
    return None


def get_input_config_by_name(model_config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The entry of an input in a model's configuration, or None."""
    return _by_name(model_config.get("input", ()), name)


def get_output_config_by_name(model_config: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The entry of an output in a model's configuration, or None."""
    return _by_name(model_config.get("output", ()), name)


def using_decoupled_model_transaction_policy(model_config: Mapping[str, Any]) -> bool:
    """Whether a model's configuration says that it is decoupled."""
    policy = model_config.get("model_transaction_policy", {})
    return bool(policy.get("decoupled", False))


def get_model_dir() -> str:
    """The folder of the calling model's version.

    Raises TritonModelException outside all models: in a thread of a library that has no model's
    code above it.
    """
    model = calling_model()
    if model is None:
        raise TritonModelException("get_model_dir: no model is calling")
    return model.version_directory


def load_model(model_name: str, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
    """Load or reload a model: `config` is a JSON override, `files` maps `file:<path>` to content.

    Raises TritonModelException with why it was not loaded.
    """
    contents = {path.removeprefix("file:"): bytes(data) for path, data in (files or {}).items()}
    _others("load_model").load_model(model_name, config or None, contents)


def unload_model(model_name: str, unload_dependents: bool = False) -> None:
    """Stop serving a model. Raises TritonModelException where models can't be unloaded."""
    _others("unload_model").unload_model(model_name, unload_dependents=unload_dependents)


def is_model_ready(model_name: str, model_version: str = "") -> bool:
    """Whether the version, the newest for "", is ready. Raises TritonModelException when nobody
    can say."""
    return _others("is_model_ready").is_model_ready(model_name, model_version)


def _others(function: str) -> OtherModels:
    model = calling_model()
    if model is None:
        raise TritonModelException(f"{function}: no model is calling")
    return model.others


def _by_name(entries: Any, name: str) -> dict[str, Any] | None:
    return next((entry for entry in entries if entry["name"] == name), None)
