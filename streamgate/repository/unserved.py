"""Settings of Triton that StreamGate does not serve: refused where answers would differ.

What only changes speed or observation is a warning in the log instead, so that a configuration
written for Triton still loads. Nothing is dropped without a word.
"""

import logging
from collections.abc import Callable, Mapping

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import Code, ConfigError
from streamgate.repository.defects import defect

_log = logging.getLogger(__name__)


def refuse_unserved(config: pb.ModelConfig) -> None:
    """Raise ConfigError (UNSUPPORTED) for what a model can't do without."""
    refusals = (
        (len(config.batch_input) > 0, "batch_input", "inputs made from a batch are not served"),
        (len(config.batch_output) > 0, "batch_output", "scattering by input shape is not served"),
        (
            len(config.model_repository_agents.agents) > 0,
            "model_repository_agents",
            "repository agents, which may have to check or decrypt the model, are not run",
        ),
        (
            any(group.secondary_devices for group in config.instance_group),
            "instance_group.secondary_devices",
            "secondary devices are not served",
        ),
    )
    for present, field, reason in refusals:
        if present:
            raise defect(
                f"model {config.name} can't be served: {reason}",
                field=field,
                found="a value",
                expected="none",
                code=Code.UNSUPPORTED,
            )
    for position, control in enumerate(config.sequence_batching.control_input):
        if not control.control:
            raise ConfigError(
                f"sequence batching control tensor '{control.name}' of {config.name} has no "
                f"'control': nothing would fill it (sequence_batching.control_input[{position}])"
            )


def warn_unserved(config: pb.ModelConfig) -> None:
    """Log what is ignored although it was given. Call before defaults are filled in."""
    for field, given in IGNORED_FIELDS.items():
        if given(config):
            _log.warning("model '%s': '%s' %s", config.name, field, _WORDS.get(field, "is ignored"))


IGNORED_FIELDS: Mapping[str, Callable[[pb.ModelConfig], bool]] = {
    "response_cache.enable": lambda config: config.response_cache.enable,
    "model_warmup": lambda config: len(config.model_warmup) > 0,
    "model_metrics": lambda config: config.HasField("model_metrics"),
    "runtime": lambda config: bool(config.runtime),
    "cc_model_filenames": lambda config: len(config.cc_model_filenames) > 0,
    "optimization.priority": lambda config: config.optimization.priority != 0,
    "optimization.gather_kernel_buffer_threshold": (
        lambda config: config.optimization.gather_kernel_buffer_threshold != 0
    ),
    "optimization.eager_batching": lambda config: config.optimization.eager_batching,
    "instance_group.rate_limiter": (
        lambda config: any(group.HasField("rate_limiter") for group in config.instance_group)
    ),
    "instance_group.profile": lambda config: any(group.profile for group in config.instance_group),
    "instance_group.host_policy": (
        lambda config: any(group.host_policy for group in config.instance_group)
    ),
    "instance_group.passive": lambda config: any(group.passive for group in config.instance_group),
}
"""Whether a field that makes no difference here was given."""

_WORDS = {
    "response_cache.enable": "is ignored: there is no response cache, every request runs",
    "model_warmup": "is ignored: the first requests run on a cold model",
    "cc_model_filenames": "is ignored: default_model_filename is loaded on every GPU",
    "instance_group.passive": "is set: those instances are not created",
}
