"""Turns a model's configuration into ONNX Runtime session options and execution providers.

The keys are those of Triton's ONNX Runtime backend, so a model's configuration needs no change.
One default differs: `intra_op_thread_count` is 1, not the number of cores, because a gateway runs
many instances beside each other and a small step only loses by being split.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import onnxruntime

from streamgate.errors import ConfigError, LoadError
from streamgate.model.config import Instance, InstanceKind, ModelConfig
from streamgate_onnxruntime.tensorrt import tensorrt_options

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"

_RUN_KEYS = ("memory.enable_memory_arena_shrinkage",)
_TRUE = ("1", "true")
_FALSE = ("0", "false")
_CONV_SEARCHES = {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"}
_ARENA_STRATEGIES = {"0": "kNextPowerOfTwo", "1": "kSameAsRequested"}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider to use. `required` ones must be there when the session stands."""

    name: str
    options: Mapping[str, str]
    required: bool = True


def session_options(config: ModelConfig, directory: Path) -> Any:
    """`onnxruntime.SessionOptions` for this model. Raises ConfigError naming the parameter."""
    raw = json.loads(config.json) if config.json else {}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _optimization_level(config, raw)
    options.execution_mode = _choice(
        config,
        "execution_mode",
        {
            "0": onnxruntime.ExecutionMode.ORT_SEQUENTIAL,
            "1": onnxruntime.ExecutionMode.ORT_PARALLEL,
        },
        "0",
    )
    options.intra_op_num_threads = _count(config, "intra_op_thread_count", 1)
    options.inter_op_num_threads = _count(config, "inter_op_thread_count", 0)
    options.enable_cpu_mem_arena = flag(config, "enable_mem_arena", default=True)
    options.enable_mem_pattern = flag(config, "enable_mem_pattern", default=True)
    for key, value in config.parameters.items():
        if key.startswith("session."):
            options.add_session_config_entry(key, value)
    operations = raw.get("model_operations", {}).get("op_library_filename", ())
    register_operations(options, operations, directory)
    return options


def run_options(config: ModelConfig) -> Any:
    """`onnxruntime.RunOptions` for each step, or None when the defaults do."""
    entries = {key: config.parameters[key] for key in _RUN_KEYS if key in config.parameters}
    if not entries:
        return None
    options = onnxruntime.RunOptions()
    for key, value in entries.items():
        options.add_run_config_entry(key, value)
    return options


def register_operations(options: Any, filenames: list[str], directory: Path) -> None:
    """Load libraries of custom operators; a relative name is first looked for beside the model.

    Raises LoadError naming the library.
    """
    for filename in filenames:
        beside = directory / filename
        path = str(beside) if beside.exists() else filename
        try:
            options.register_custom_ops_library(path)
        except Exception as error:
            raise LoadError(
                f"model_operations: op_library_filename '{filename}': {error}"
            ) from error


def providers(config: ModelConfig, instance: Instance) -> list[Provider]:
    """The execution providers for this instance, first choice first, CPU last.

    Raises ConfigError when one that is asked for is not part of the installed onnxruntime.
    """
    available = onnxruntime.get_available_providers()
    wanted: list[Provider] = []
    if instance.kind is InstanceKind.GPU or (
        instance.kind is InstanceKind.AUTO and CUDA in available
    ):
        wanted += _gpu_providers(config, instance)
    for accelerator in config.cpu_accelerators:
        if accelerator.name != "openvino":
            raise _unknown_accelerator(config, accelerator.name, "cpu", "openvino")
        wanted.append(Provider(OPENVINO, {"device_type": "CPU", **accelerator.parameters}))
    for provider in wanted:
        if provider.name not in available:
            raise ConfigError(
                f"model '{config.name}', instance '{instance.name}' ({instance.kind.value}): "
                f"needs {provider.name}, but the installed onnxruntime "
                f"{onnxruntime.__version__} has only {', '.join(available)}"
            )
    return [*wanted, Provider(CPU, {})]


def flag(config: ModelConfig, key: str, *, default: bool) -> bool:
    """A parameter that is 1 or 0, true or false."""
    truths = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
    return _choice(config, key, truths, _TRUE[0] if default else _FALSE[0])


def _gpu_providers(config: ModelConfig, instance: Instance) -> list[Provider]:
    device = {"device_id": str(instance.device_id)}
    cuda = _cuda_options(config)
    found: list[Provider] = []
    for accelerator in config.gpu_accelerators:
        if accelerator.name == "tensorrt":
            options = tensorrt_options(config.name, accelerator.parameters)
            found.append(Provider(TENSORRT, options | device))
        elif accelerator.name == "cuda":
            cuda |= accelerator.parameters
        else:
            raise _unknown_accelerator(config, accelerator.name, "gpu", "tensorrt, cuda")
    required = instance.kind is InstanceKind.GPU
    return [*found, Provider(CUDA, cuda | device, required)]


def _cuda_options(config: ModelConfig) -> dict[str, str]:
    """CUDA options from `parameters`: Triton's older way, beside the accelerator `cuda`."""
    options: dict[str, str] = {}
    if "cudnn_conv_algo_search" in config.parameters:
        options["cudnn_conv_algo_search"] = _choice(
            config, "cudnn_conv_algo_search", _CONV_SEARCHES, "0"
        )
    if "gpu_mem_limit" in config.parameters:
        options["gpu_mem_limit"] = str(_count(config, "gpu_mem_limit", 0))
    if "arena_extend_strategy" in config.parameters:
        options["arena_extend_strategy"] = _choice(
            config, "arena_extend_strategy", _ARENA_STRATEGIES, "0"
        )
    if "do_copy_in_default_stream" in config.parameters:
        copies = flag(config, "do_copy_in_default_stream", default=True)
        options["do_copy_in_default_stream"] = "1" if copies else "0"
    return options


def _optimization_level(config: ModelConfig, raw: Mapping[str, Any]) -> Any:
    """Triton's `optimization.graph.level`: -1 basic, 1 extended, 2 none, else everything."""
    levels = onnxruntime.GraphOptimizationLevel
    level = raw.get("optimization", {}).get("graph", {}).get("level", 0)
    known = {
        -1: levels.ORT_ENABLE_BASIC,
        0: levels.ORT_ENABLE_ALL,
        1: levels.ORT_ENABLE_EXTENDED,
        2: levels.ORT_DISABLE_ALL,
    }
    if level not in known:
        raise ConfigError(
            f"model '{config.name}': optimization.graph.level is {level}, expected -1 (basic), "
            "0 (all), 1 (extended) or 2 (none)"
        )
    return known[level]


def _count(config: ModelConfig, key: str, default: int) -> int:
    text = config.parameters.get(key, str(default)).strip()
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(
            f"model '{config.name}': parameter '{key}' is '{text}', expected a whole number >= 0"
        )
    return int(text)


def _choice(config: ModelConfig, key: str, choices: Mapping[str, _T], default: str) -> _T:
    text = config.parameters.get(key, default).strip().lower()
    if text not in choices:
        raise ConfigError(
            f"model '{config.name}': parameter '{key}' is '{text}', expected one of "
            f"{', '.join(choices)}"
        )
    return choices[text]


def _unknown_accelerator(config: ModelConfig, name: str, kind: str, known: str) -> ConfigError:
    # The first words are Triton's.
    return ConfigError(
        f"unknown Execution Accelerator '{name}' is requested: model '{config.name}', "
        f"{kind}_execution_accelerator, expected {known}"
    )
