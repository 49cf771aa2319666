"""Ensembles: what can be told of their steps without the models that these name.

Triton makes these checks while it polls the repository, with the texts that come first here. How
the steps fit their models is checked by `composition`, once these are loaded.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import ConfigError, ConfigPhase
from streamgate.model.config import Ensemble, EnsembleStep
from streamgate.repository.defects import defect
from streamgate.repository.durability import ENGINE_PARAMETERS
from streamgate.repository.execution import EXECUTION_PARAMETERS

PLATFORM: Final = "ensemble"
MAX_INFLIGHT: Final = 100
"""Runs of one step that are under way at a time for one request, unless the configuration has
`max_inflight_requests`. Triton has no such limit."""

Steps = Sequence[pb.ModelEnsembling.Step]


def is_ensemble(config: pb.ModelConfig) -> bool:
    return config.platform == PLATFORM or config.HasField("ensemble_scheduling")


def build_ensemble(config: pb.ModelConfig, max_pending: int) -> Ensemble:
    """The steps, with nothing known yet of their models."""
    scheduling = config.ensemble_scheduling
    steps = tuple(
        EnsembleStep(
            step.model_name,
            "" if step.model_version < 0 else str(step.model_version),
            dict(sorted(step.input_map.items())),
            dict(sorted(step.output_map.items())),
        )
        for step in scheduling.step
    )
    return Ensemble(steps, scheduling.max_inflight_requests or MAX_INFLIGHT, max_pending)


def check_ensemble(config: pb.ModelConfig) -> None:
    """Raise ConfigError (POLL) for the first thing that is wrong."""
    _check_platform(config)
    _check_absent(config)
    steps = config.ensemble_scheduling.step
    if not steps:
        raise _wrong(
            f"must specify 'step' for ensemble '{config.name}'",
            "ensemble_scheduling.step",
            "nothing",
            "at least one",
        )
    _check_steps(config.name, steps)
    _check_flow(config, steps)


def _wrong(text: str, field: str, found: object, expected: str) -> ConfigError:
    return defect(text, field=field, found=found, expected=expected, phase=ConfigPhase.POLL)


def _check_platform(config: pb.ModelConfig) -> None:
    if not config.HasField("ensemble_scheduling"):
        raise _wrong(
            f"ensemble scheduling must be set for ensemble {config.name} whose platform is "
            f"{PLATFORM}",
            "ensemble_scheduling",
            "nothing",
            "the steps of the ensemble",
        )
    if config.platform != PLATFORM:
        raise _wrong(
            f"ensemble scheduling cannot be set for model '{config.name}' whose platform is not "
            f"{PLATFORM}",
            "platform",
            f"'{config.platform}'",
            f"'{PLATFORM}'",
        )
    if config.backend:
        raise _wrong(
            f"Ensemble model '{config.name}' must have platform type '{PLATFORM}' and empty "
            "backend type",
            "backend",
            f"'{config.backend}'",
            "none: an ensemble runs nothing itself",
        )


def _check_absent(config: pb.ModelConfig) -> None:
    absent = (
        (len(config.instance_group) > 0, "instance_group", "instance group should not be"),
        (config.HasField("optimization"), "optimization", "optimization should not be"),
        (len(config.model_warmup) > 0, "model_warmup", "model_warmup can not be"),
    )
    for is_given, field, text in absent:
        if is_given:
            raise _wrong(
                f"{text} specified for ensemble '{config.name}'",
                field,
                "a value",
                "none: it belongs to the models of the steps",
            )
    for name in (*EXECUTION_PARAMETERS, *ENGINE_PARAMETERS):
        if name in config.parameters:
            raise _wrong(
                f"parameter '{name}' should not be specified for ensemble '{config.name}'",
                "parameters",
                f"'{name}'",
                "none: it belongs to the models of the steps",
            )


def _check_steps(name: str, steps: Steps) -> None:
    written: set[str] = set()
    for position, step in enumerate(steps):
        where = f"ensemble_scheduling.step[{position}]"
        for field, is_given in (
            ("model_name", bool(step.model_name)),
            ("input_map", len(step.input_map) > 0),
            ("output_map", len(step.output_map) > 0),
        ):
            if not is_given:
                raise _wrong(
                    f"must specify '{field}' in step {position} of ensemble '{name}'",
                    f"{where}.{field}",
                    "nothing",
                    "a value",
                )
        for output, tensor in sorted(step.output_map.items()):
            if tensor in written:
                raise _wrong(
                    f"ensemble tensor '{tensor}' can appear in an output map only once for "
                    f"ensemble '{name}' step {position}",
                    f"{where}.output_map['{output}']",
                    f"'{tensor}', which another output is mapped to already",
                    "a tensor of its own",
                )
            written.add(tensor)


def _check_flow(config: pb.ModelConfig, steps: Steps) -> None:
    """Whether every tensor comes from somewhere and goes somewhere."""
    name = config.name
    makers = {tensor: step for step in steps for tensor in step.output_map.values()}
    taken = {tensor for step in steps for tensor in step.input_map.values()}
    for position, tensor in enumerate(config.input):
        if tensor.name not in taken and tensor.name not in makers:
            raise _wrong(
                f"ensemble input '{tensor.name}' for ensemble {name}' is not used",
                f"input[{position}]",
                f"'{tensor.name}'",
                "a tensor that some step takes",
            )
    written = _written({tensor.name for tensor in config.input}, steps)
    for position, output in enumerate(config.output):
        if output.name not in makers and output.name not in taken:
            raise _wrong(
                f"ensemble output '{output.name}' for ensemble {name}' is not used",
                f"output[{position}]",
                f"'{output.name}'",
                "a tensor that some step gives",
            )
        if output.name not in written:
            source = _unconnected(output.name, makers, written)
            why = ""
            if source != output.name:
                why = f": at least one of its depending tensors, '{source}', is not connected"
            raise _wrong(
                f"output '{output.name}' for ensemble '{name}' is not written{why}",
                f"output[{position}]",
                f"'{output.name}'",
                "a tensor that follows from the ensemble's inputs",
            )
    outputs = {output.name for output in config.output}
    for tensor_name in [*taken, *makers]:
        unused = tensor_name not in outputs and tensor_name not in taken
        if tensor_name not in written or unused:
            raise _wrong(
                f"ensemble tensor '{tensor_name}' is unused in ensemble '{name}'",
                "ensemble_scheduling.step",
                f"'{tensor_name}'",
                "a tensor that comes from the ensemble's inputs and leads to its outputs",
            )


def _written(inputs: Iterable[str], steps: Steps) -> set[str]:
    """The tensors that follow from the inputs."""
    written = set(inputs)
    waiting = list(steps)
    while True:
        able = [step for step in waiting if written.issuperset(step.input_map.values())]
        if not able:
            return written
        for step in able:
            written.update(step.output_map.values())
        waiting = [step for step in waiting if step not in able]


def _unconnected(
    tensor: str, makers: Mapping[str, pb.ModelEnsembling.Step], written: set[str]
) -> str:
    """Going back from a tensor that is not written: the last one found that isn't either."""
    seen = {tensor}
    while tensor in makers:
        missing = sorted(set(makers[tensor].input_map.values()) - written - seen)
        if not missing:
            break
        tensor = missing[0]
        seen.add(tensor)
    return tensor
