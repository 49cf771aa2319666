"""How an ensemble fits the models that it is composed of, and what follows from them.

The checks and their texts are Triton's; it makes them when the models are loaded.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from streamgate.core.dataflow import MixedOriginsError, levels_of
from streamgate.errors import Code, ConfigError
from streamgate.model.config import Ensemble, EnsembleStep, ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Shape, TensorSpec
from streamgate.repository.build import with_ensemble


@dataclasses.dataclass(frozen=True, slots=True)
class _Origin:
    """What a model says about a tensor of the ensemble. `full_shape` has the batch dimension."""

    model: str
    datatype: DataType
    shape: Shape
    full_shape: Shape


def compose(config: ModelConfig, models: Mapping[str, ModelConfig]) -> ModelConfig:
    """The ensemble's configuration with what follows from `models`, by name; all must be there.

    Raises ConfigError (LOAD) when a step does not fit its model.
    """
    ensemble = config.ensemble
    assert ensemble is not None
    tensors: dict[str, _Origin] = {}
    for spec in (*config.inputs, *config.outputs):
        tensors[spec.name] = _origin(config, spec, spec.model_shape)
    for step in ensemble.steps:
        model = models[step.model]
        if 0 < model.max_batch_size < config.max_batch_size:
            raise ConfigError(
                f"ensemble {config.name} allows maximum batch size {config.max_batch_size}, but it "
                f"contains model {step.model} which only allows maximum batch size to be "
                f"{model.max_batch_size}"
            )
        _check_inputs(config.name, step, model, tensors)
        _check_outputs(config.name, step, model, tensors)
    made = with_ensemble(config, _with_traits(config, ensemble, models))
    # Its results are the same bits again where those of all its models are.
    exact = all(models[step.model].durability.fixed_bucket for step in ensemble.steps)
    durability = dataclasses.replace(made.durability, fixed_bucket=exact)
    return dataclasses.replace(made, durability=durability)


def _with_traits(
    config: ModelConfig, ensemble: Ensemble, models: Mapping[str, ModelConfig]
) -> Ensemble:
    used = [models[step.model] for step in ensemble.steps]
    decoupled = frozenset(place for place, model in enumerate(used) if model.decoupled)
    stateful = frozenset(place for place, model in enumerate(used) if _has_sequences(model))
    try:
        levels_of(
            ensemble.steps,
            decoupled,
            [spec.name for spec in config.inputs],
            [spec.name for spec in config.outputs],
        )
    except MixedOriginsError as error:
        name = config.name if error.step is None else ensemble.steps[error.step].model
        raise ConfigError(
            f"in ensemble {config.name}, step of model '{name}' receives inputs originated from "
            "different decoupled models"
        ) from error
    names = _sequence_models(config.name, used)
    limits = [_max_idle_ns(model) for model in used]
    return dataclasses.replace(
        ensemble,
        decoupled=decoupled,
        stateful=stateful,
        sequence_models=frozenset(names),
        max_idle_ns=min((limit for limit in limits if limit > 0), default=0),
    )


def _has_sequences(model: ModelConfig) -> bool:
    """Whether its sequences are its clients'. Those of an iterative model are one request each."""
    return model.stateful and not (model.sequences is not None and model.sequences.iterative)


def _max_idle_ns(model: ModelConfig) -> int:
    """How long a sequence of this model may be idle; 0 if there is no limit, or no sequence."""
    if model.ensemble is not None:
        return model.ensemble.max_idle_ns
    return model.sequences.max_idle_ns if model.sequences is not None else 0


def _sequence_models(name: str, used: Sequence[ModelConfig]) -> list[str]:
    """All stateful models that a request reaches. Each may be reached once: all requests have the
    same correlation ID, so that two steps would share one sequence (in Triton, both START it)."""
    names: list[str] = []
    for model in used:
        if model.ensemble is not None:
            names.extend(model.ensemble.sequence_models)
        elif _has_sequences(model):
            names.append(model.name)
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise ConfigError(
            f"in ensemble {name}, sequence model '{twice[0]}' is used by more than one step: they "
            "would share one sequence; expected a model of its own for each step"
        )
    return names


def _origin(model: ModelConfig, spec: TensorSpec, shape: Shape) -> _Origin:
    full_shape = (-1, *shape) if model.batches else shape
    return _Origin(model.name, spec.datatype, shape, full_shape)


def _check_inputs(
    name: str, step: EnsembleStep, model: ModelConfig, tensors: dict[str, _Origin]
) -> None:
    known = {spec.name for spec in model.inputs}
    for input_name, tensor in step.inputs.items():
        if input_name not in known:
            raise ConfigError(
                f"in ensemble {name}, ensemble tensor {tensor} is mapping to non-existing input "
                f"{input_name} in model {step.model}"
            )
    for spec in model.inputs:
        mapped = step.inputs.get(spec.name)
        if mapped is not None:
            _agree(name, mapped, _origin(model, spec, spec.shape), tensors)
        elif not spec.optional:
            raise ConfigError(
                f"in ensemble {name}, input {spec.name} in model {step.model} is not mapped to any "
                "ensemble tensors"
            )


def _check_outputs(
    name: str, step: EnsembleStep, model: ModelConfig, tensors: dict[str, _Origin]
) -> None:
    specs = {spec.name: spec for spec in model.outputs}
    for output_name, tensor in step.outputs.items():
        if output_name not in specs:
            raise ConfigError(
                f"in ensemble {name}, ensemble tensor {tensor} is mapped from non-existing output "
                f"{output_name} in model {step.model}"
            )
    for output_name, tensor in step.outputs.items():
        spec = specs[output_name]
        _agree(name, tensor, _origin(model, spec, spec.shape), tensors)


def _agree(name: str, tensor: str, origin: _Origin, tensors: dict[str, _Origin]) -> None:
    """Whether a model says the same of a tensor as whoever spoke of it first."""
    first = tensors.setdefault(tensor, origin)
    if first.datatype is not origin.datatype:
        raise ConfigError(
            f"in ensemble {name}, ensemble tensor {tensor}: inconsistent data type: "
            f"{first.datatype.config_name} is inferred from model {first.model} while "
            f"{origin.datatype.config_name} is inferred from model {origin.model}"
        )
    if not _alike(first.shape, origin.shape) and not _alike(first.full_shape, origin.full_shape):
        raise ConfigError(
            f"in ensemble {name}, ensemble tensor {tensor}: inconsistent shape: "
            f"{_dims(first.full_shape)} is inferred from model {first.model} while "
            f"{_dims(origin.full_shape)} is inferred from model {origin.model}"
        )


def _alike(first: Shape, second: Shape) -> bool:
    return len(first) == len(second) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(first, second, strict=True)
    )


def _dims(shape: Shape) -> str:
    return "[" + ",".join(str(size) for size in shape) + "]"


def unavailable(name: str, missing: Sequence[str]) -> ConfigError:
    """Models of an ensemble are not there at all."""
    return ConfigError(
        f"ensemble {name} contains models that are not available or ambiguous: {', '.join(missing)}"
    )


def circular(name: str, last: str) -> ConfigError:
    """An ensemble leads back to itself, through `last`."""
    return ConfigError(
        f"circular dependency between ensembles: {name} -> ... -> {last} -> {name}",
        Code.INVALID_ARG,
    )
