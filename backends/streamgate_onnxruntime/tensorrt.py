"""Options of the TensorRT execution provider, under the names that Triton's users know.

Triton's own keys are translated, the provider's (`trt_...`) are passed on; each value is checked
here, because ONNX Runtime answers a wrong one late and without the model's name.
"""

import enum
from collections.abc import Mapping

from streamgate.errors import ConfigError


class _Kind(enum.Enum):
    TEXT = "text"
    COUNT = "a whole number"
    FLAG = "1, true, 0 or false"


_RENAMED = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_PRECISIONS = {
    "FP32": (),
    "FP16": ("trt_fp16_enable",),
    "BF16": ("trt_bf16_enable",),
    "INT8": ("trt_int8_enable",),
}
_FLAGS = (
    "trt_int8_use_native_calibration_table",
    "trt_dla_enable",
    "trt_engine_cache_enable",
    "trt_dump_subgraphs",
    "trt_force_sequential_engine_build",
    "trt_context_memory_sharing_enable",
    "trt_layer_norm_fp32_fallback",
    "trt_timing_cache_enable",
    "trt_force_timing_cache",
    "trt_detailed_build_log",
    "trt_build_heuristics_enable",
    "trt_sparsity_enable",
    "trt_cuda_graph_enable",
    "trt_dump_ep_context_model",
)
_COUNTS = (
    "trt_max_workspace_size",
    "trt_max_partition_iterations",
    "trt_min_subgraph_size",
    "trt_dla_core",
    "trt_builder_optimization_level",
    "trt_auxiliary_streams",
    "trt_ep_context_embed_mode",
)
_TEXTS = (
    "trt_int8_calibration_table_name",
    "trt_engine_cache_path",
    "trt_engine_cache_prefix",
    "trt_timing_cache_path",
    "trt_tactic_sources",
    "trt_extra_plugin_lib_paths",
    "trt_profile_min_shapes",
    "trt_profile_max_shapes",
    "trt_profile_opt_shapes",
    "trt_ep_context_file_path",
)
_KINDS = (
    dict.fromkeys(_FLAGS, _Kind.FLAG)
    | dict.fromkeys(_COUNTS, _Kind.COUNT)
    | dict.fromkeys(_TEXTS, _Kind.TEXT)
)


def tensorrt_options(model: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Provider options for an accelerator's parameters. Raises ConfigError naming the wrong one."""
    options: dict[str, str] = {}
    for key, value in parameters.items():
        if key == "precision_mode":
            if value not in _PRECISIONS:
                raise ConfigError(
                    f"unsupported precision mode '{value}' is requested: model '{model}', "
                    f"accelerator tensorrt, expected one of {', '.join(_PRECISIONS)}"
                )
            options |= dict.fromkeys(_PRECISIONS[value], "True")
            continue
        name = _RENAMED.get(key, key)
        kind = _KINDS.get(name)
        if kind is None or (name != key and key not in _RENAMED):
            raise ConfigError(
                f"unknown parameter '{key}' is provided for TensorRT Execution Accelerator: "
                f"model '{model}', expected one of "
                f"{', '.join(sorted(('precision_mode', *_RENAMED, *_KINDS)))}"
            )
        options[name] = _value(model, key, value, kind)
    return options


def _value(model: str, key: str, value: str, kind: _Kind) -> str:
    """The value as the provider wants it: flags are True or False."""
    match kind:
        case _Kind.TEXT:
            return value
        case _Kind.COUNT:
            if value.removeprefix("-").isdecimal():
                return value
        case _Kind.FLAG:
            if value.lower() in ("1", "true"):
                return "True"
            if value.lower() in ("0", "false"):
                return "False"
    raise ConfigError(
        f"model '{model}', accelerator tensorrt: parameter '{key}' is '{value}', "
        f"expected {kind.value}"
    )
