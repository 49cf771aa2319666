"""Automatic completion: what a configuration may leave out because something else tells it.

Three sources, in this order: the model's files (backend and platform), the model itself (its
backend's `auto_complete`), and Triton's defaults. Nothing that was given is changed.
"""

from collections.abc import Collection
from typing import Any

from streamgate._proto import model_config_pb2 as pb
from streamgate.backend.contract import Backend, ModelFiles
from streamgate.errors import ConfigPhase, LoadError, StreamGateError
from streamgate.repository.defects import defect
from streamgate.repository.parse import parse_dict
from streamgate.repository.render import given_form

DEFAULT_IDLE_US = 1_000_000

_USUAL_FILES = (
    # File, backend, platform: Triton's table, in the order in which Triton looks.
    ("model.savedmodel", "tensorflow", "tensorflow_savedmodel"),
    ("model.graphdef", "tensorflow", "tensorflow_graphdef"),
    ("model.onnx", "onnxruntime", "onnxruntime_onnx"),
    ("model.xml", "openvino", ""),
    ("model.plan", "tensorrt", "tensorrt_plan"),
    ("model.pt", "pytorch", "pytorch_libtorch"),
    ("model.py", "python", ""),
)
_BY_PLATFORM = {platform: row for row in _USUAL_FILES if (platform := row[2])}
_BY_FILE = {row[0]: row for row in _USUAL_FILES}


def complete_backend(config: pb.ModelConfig, file_names: Collection[str]) -> None:
    """Fill backend, platform and model file from each other or from `file_names`.

    `file_names` are the entries of the newest version folder. Raises ConfigError (POLL) when
    nothing tells the backend.
    """
    if not config.backend:
        config.backend = _derived_backend(config, file_names)
    rows = [
        row for row in _USUAL_FILES if row[1] == config.backend and config.platform in ("", row[2])
    ]
    if len(rows) == 1:  # TensorFlow has two, which only the platform tells apart
        config.platform = rows[0][2]
        if not config.default_model_filename:
            config.default_model_filename = rows[0][0]


def _derived_backend(config: pb.ModelConfig, file_names: Collection[str]) -> str:
    name = config.name
    if config.platform:
        if config.platform not in _BY_PLATFORM:
            raise defect(
                f"unexpected platform type '{config.platform}' for {name}",
                field="platform",
                found=f"'{config.platform}'",
                expected=f"one of {', '.join(sorted(_BY_PLATFORM))}, or a 'backend' instead",
                phase=ConfigPhase.POLL,
            )
        return _BY_PLATFORM[config.platform][1]
    known = _BY_FILE.get(config.default_model_filename)
    if known is not None:
        return known[1]
    if not config.default_model_filename:
        for file_name, backend, _ in _USUAL_FILES:
            if file_name in file_names:
                return backend
    _, dot, suffix = name.rpartition(".")
    if dot and suffix:
        return suffix
    found = ", ".join(sorted(file_names)[:8]) or "no file"
    raise defect(
        f"Invalid model name: Could not determine backend for model '{name}' with no backend in "
        "model configuration. Expected model name of the form 'model.<backend_name>'.",
        field="backend",
        found=f"none, and {found} in the newest version folder",
        expected=f"'backend' in the configuration or one of the files {', '.join(_BY_FILE)}",
        phase=ConfigPhase.POLL,
    )


def complete_from_model(
    config: pb.ModelConfig, backend: Backend, files: ModelFiles
) -> pb.ModelConfig:
    """The configuration with what the backend reads from the model added.

    Raises what `Backend.auto_complete` raises, LoadError for an exception that it should not let
    out, ConfigError when its answer is no configuration.
    """
    origin = f"the completion by backend '{config.backend}'"
    try:
        answer: Any = backend.auto_complete(given_form(config), files)
    except StreamGateError:
        raise
    except Exception as error:
        raise LoadError(
            f"{origin} failed for model '{config.name}': {type(error).__name__}: {error}"
        ) from error
    completed = parse_dict(answer, origin, ConfigPhase.LOAD)
    for field in ("name", "backend"):
        given, now = getattr(config, field), getattr(completed, field)
        if given != now:
            raise defect(
                f"{origin} changes what was given for {config.name}",
                field=field,
                found=f"'{now}'",
                expected=f"'{given}'",
            )
    return completed


def complete_defaults(config: pb.ModelConfig) -> None:
    """Triton's defaults for what is still open, except those of instance groups."""
    if config.version_policy.WhichOneof("policy_choice") is None:
        config.version_policy.latest.num_versions = 1
    if config.HasField("dynamic_batching"):
        _prefer_full_batches(config, config.dynamic_batching)
    if config.HasField("sequence_batching"):
        batching = config.sequence_batching
        if batching.max_sequence_idle_microseconds == 0:
            batching.max_sequence_idle_microseconds = DEFAULT_IDLE_US
        if batching.HasField("oldest"):
            _prefer_full_batches(config, batching.oldest)
    if config.HasField("ensemble_scheduling"):
        return  # Memory is the business of its models.
    for memory in ("input_pinned_memory", "output_pinned_memory"):
        if not config.optimization.HasField(memory):
            getattr(config.optimization, memory).enable = True


def _prefer_full_batches(
    config: pb.ModelConfig,
    batcher: pb.ModelDynamicBatching | pb.ModelSequenceBatching.StrategyOldest,
) -> None:
    if not batcher.preferred_batch_size and config.max_batch_size > 0:
        batcher.preferred_batch_size.append(config.max_batch_size)
