"""Ensembles: what is refused without their models, in Triton's words, and how they fit these."""

import dataclasses
import json

import pytest

from streamgate._proto import model_config_pb2 as pb
from streamgate.errors import Code, ConfigError, ConfigPhase
from streamgate.model.config import (
    DirectStrategy,
    Durability,
    Ensemble,
    EnsembleStep,
    ModelConfig,
    SequenceBatching,
)
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import TensorSpec
from streamgate.repository.composition import compose
from streamgate.repository.ensembles import MAX_INFLIGHT
from tests.repository.conftest import Models
from tests.repository.pieces import parameter

IN = 'input { name: "I" data_type: TYPE_FP32 dims: 1 } '
OUT = 'output { name: "O" data_type: TYPE_FP32 dims: 1 } '


def step(inputs: str, outputs: str, model: str = "x", more: str = "model_version: -1") -> str:
    """A step; maps are written `key=tensor key=tensor`."""
    parts = [f'model_name: "{model}" {more}']
    for field, pairs in (("input_map", inputs), ("output_map", outputs)):
        for pair in pairs.split():
            key, _, tensor = pair.partition("=")
            parts.append(f'{field} {{ key: "{key}" value: "{tensor}" }}')
    return f"step {{ {' '.join(parts)} }} "


def ensemble(*steps: str, more: str = "", tensors: str = IN + OUT) -> str:
    return f'platform: "ensemble" {more} {tensors} ensemble_scheduling {{ {"".join(steps)} }}'


GOOD = step("i=I", "o=O")

REFUSED = [
    (
        'platform: "ensemble"',
        "ensemble scheduling must be set for ensemble m whose platform is ensemble",
    ),
    (
        f"ensemble_scheduling {{ {GOOD} }}",
        "ensemble scheduling cannot be set for model 'm' whose platform is not ensemble",
    ),
    (
        ensemble(GOOD, more='backend: "python"'),
        "Ensemble model 'm' must have platform type 'ensemble' and empty backend type",
    ),
    (
        ensemble(GOOD, more="instance_group { }"),
        "instance group should not be specified for ensemble 'm'",
    ),
    (
        ensemble(GOOD, more="optimization { }"),
        "optimization should not be specified for ensemble 'm'",
    ),
    (
        ensemble(GOOD, more='model_warmup { name: "w" }'),
        "model_warmup can not be specified for ensemble 'm'",
    ),
    (
        ensemble(GOOD, more=parameter("streamgate.execution", "inline")),
        "parameter 'streamgate.execution' should not be specified for ensemble 'm'",
    ),
    (
        ensemble(GOOD, more=parameter("streamgate.determinism", "fixed_bucket")),
        "parameter 'streamgate.determinism' should not be specified for ensemble 'm'",
    ),
    (
        ensemble(GOOD, more=parameter("streamgate.hibernate_after_ms", "100")),
        "parameter 'streamgate.hibernate_after_ms' should not be specified for ensemble 'm'",
    ),
    (ensemble(), "must specify 'step' for ensemble 'm'"),
    (ensemble(step("i=I", "o=O", "")), "must specify 'model_name' in step 0 of ensemble 'm'"),
    (ensemble(GOOD, step("", "o=t")), "must specify 'input_map' in step 1 of ensemble 'm'"),
    (ensemble(step("i=I", "")), "must specify 'output_map' in step 0 of ensemble 'm'"),
    (
        ensemble(GOOD, GOOD),
        "ensemble tensor 'O' can appear in an output map only once for ensemble 'm' step 1",
    ),
    (
        ensemble(GOOD, tensors=IN + OUT + 'input { name: "J" data_type: TYPE_FP32 dims: 1 }'),
        "ensemble input 'J' for ensemble m' is not used",
    ),
    (
        ensemble(GOOD, tensors=IN + OUT + 'output { name: "P" data_type: TYPE_FP32 dims: 1 }'),
        "ensemble output 'P' for ensemble m' is not used",
    ),
    (
        ensemble(step("i=I j=t", "o=O"), step("i=u", "o=t"), step("i=t", "o=u")),
        (
            "output 'O' for ensemble 'm' is not written: at least one of its depending tensors, "
            "'u', is not connected"
        ),
    ),
    (
        ensemble(step("i=I", "o=t"), tensors=IN + OUT.replace('"O"', '"t"') + OUT),
        "ensemble output 'O' for ensemble m' is not used",
    ),
    (ensemble(GOOD, step("i=I", "o=t")), "ensemble tensor 't' is unused in ensemble 'm'"),
]


@pytest.mark.parametrize(("config", "text"), REFUSED)
def test_what_needs_no_models_is_checked_while_reading(
    models: Models, config: str, text: str
) -> None:
    error = models.refused(config)
    assert error.message.startswith(text + " (")
    assert isinstance(error, ConfigError)
    assert error.phase is ConfigPhase.POLL


def test_an_ensemble_is_read_without_a_backend(models: Models) -> None:
    config = models.made(
        ensemble(
            step("i=I", "o=t", "one", "model_version: 3"),
            step("i=t j=I", "o=O", "two"),
            more="max_batch_size: 4 " + parameter("streamgate.max_pending_requests", "7"),
        )
    )
    assert config.platform == "ensemble"
    assert config.backend == ""
    assert config.instances == ()
    assert config.ensemble == Ensemble(
        (
            EnsembleStep("one", "3", {"i": "I"}, {"o": "t"}),
            EnsembleStep("two", "", {"i": "t", "j": "I"}, {"o": "O"}),
        ),
        MAX_INFLIGHT,
        7,
    )
    assert not config.stateful


def test_the_limit_of_the_newest_tritons_is_read(models: Models) -> None:
    config = ensemble(GOOD).replace("scheduling {", "scheduling { max_inflight_requests: 3 ")
    made = models.made(config).ensemble
    assert made is not None
    assert made.max_inflight == 3


def test_an_ensemble_says_when_its_snapshots_are_due(models: Models) -> None:
    given = {
        "streamgate.log_mb": "2",
        "streamgate.log_seconds": "3",
        "streamgate.snapshot_steps": "7",
        "streamgate.snapshot_ms": "500",
        "streamgate.snapshot_mb_per_second": "1",
        "streamgate.stall_ms": "0",
    }
    more = "".join(parameter(name, value) for name, value in given.items())
    models.write("m", ensemble(GOOD, more=more))
    assert models.config().durability == Durability(
        log_bytes=2 * 2**20,
        log_ns=3 * 10**9,
        snapshot_steps=7,
        snapshot_ns=500 * 10**6,
        snapshot_bytes_per_second=2**20,
    )


def test_the_models_of_steps_are_told_without_reading_more(models: Models) -> None:
    models.write("m", ensemble(step("i=I", "o=t", "one"), step("i=t", "o=O", "two")))
    models.write("plain", 'backend: "python"')
    models.write("broken", "nonsense")
    repository = models.repository()
    assert repository.step_models("m") == ("one", "two")
    assert [repository.step_models(name) for name in ("plain", "broken", "nowhere")] == [()] * 3
    override = '{"ensemble_scheduling": {"step": [{"model_name": "three"}]}}'
    assert repository.step_models("m", override) == ("three",)


FP32 = DataType.FP32


def spec(name: str, *shape: int, datatype: DataType = FP32, optional: bool = False) -> TensorSpec:
    return TensorSpec(name, datatype, shape, optional=optional)


def model(
    name: str = "x",
    inputs: tuple[TensorSpec, ...] = (spec("i", 1),),
    outputs: tuple[TensorSpec, ...] = (spec("o", 1),),
    batch: int = 0,
    *,
    decoupled: bool = False,
    stateful: bool = False,
) -> ModelConfig:
    config = ModelConfig(
        name, "fake", "", batch, inputs, outputs, SequenceBatching(DirectStrategy(), 1)
    )
    if not stateful:
        config = dataclasses.replace(config, scheduling=Ensemble((), 1))
    return dataclasses.replace(config, decoupled=decoupled)


def composed(models: Models, config: str, *parts: ModelConfig) -> ModelConfig:
    return compose(models.made(config), {part.name: part for part in parts})


DECOUPLED = model("d", decoupled=True)
MISFITS = [
    (
        ensemble(step("i=I nope=I", "o=O")),
        [model()],
        "in ensemble m, ensemble tensor I is mapping to non-existing input nope in model x",
    ),
    (
        ensemble(step("i=I", "nope=O")),
        [model()],
        "in ensemble m, ensemble tensor O is mapped from non-existing output nope in model x",
    ),
    (
        ensemble(GOOD),
        [model(inputs=(spec("i", 1), spec("j", 1)))],
        "in ensemble m, input j in model x is not mapped to any ensemble tensors",
    ),
    (
        ensemble(GOOD),
        [model(inputs=(spec("i", 1, datatype=DataType.INT32),))],
        (
            "in ensemble m, ensemble tensor I: inconsistent data type: TYPE_FP32 is inferred from "
            "model m while TYPE_INT32 is inferred from model x"
        ),
    ),
    (
        ensemble(GOOD),
        [model(outputs=(spec("o", 2, 3),))],
        (
            "in ensemble m, ensemble tensor O: inconsistent shape: [1] is inferred from model m "
            "while [2,3] is inferred from model x"
        ),
    ),
    (
        ensemble(GOOD, more="max_batch_size: 8"),
        [model(batch=4)],
        (
            "ensemble m allows maximum batch size 8, but it contains model x which only allows "
            "maximum batch size to be 4"
        ),
    ),
    (
        ensemble(step("i=I", "o=t", "d"), step("i=t j=I", "o=O")),
        [DECOUPLED, model(inputs=(spec("i", 1), spec("j", 1)))],
        (
            "in ensemble m, step of model 'x' receives inputs originated from different decoupled "
            "models"
        ),
    ),
    (
        ensemble(
            step("i=I", "o=O", "d"),
            step("i=I", "o=P"),
            tensors=IN + OUT + OUT.replace('"O"', '"P"'),
        ),
        [DECOUPLED, model()],
        (
            "in ensemble m, step of model 'm' receives inputs originated from different decoupled "
            "models"
        ),
    ),
    (
        ensemble(step("i=I", "o=t"), step("i=t", "o=O")),
        [model(stateful=True)],
        "in ensemble m, sequence model 'x' is used by more than one step: ",
    ),
]


@pytest.mark.parametrize(("config", "parts", "text"), MISFITS)
def test_what_does_not_fit_its_models(
    models: Models, config: str, parts: list[ModelConfig], text: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        composed(models, config, *parts)
    assert raised.value.message.startswith(text)
    assert raised.value.code is Code.INVALID_ARG
    assert raised.value.phase is ConfigPhase.LOAD


FITTING = [
    # Unknown sizes fit any, and a batch dimension may be an ordinary one to a model without it.
    (ensemble(GOOD), model(inputs=(spec("i", -1),))),
    (ensemble(GOOD, more="max_batch_size: 8"), model()),
    (ensemble(GOOD, more="max_batch_size: 8"), model(inputs=(spec("i", -1, 1),))),
    (ensemble(GOOD, more="max_batch_size: 8"), model(batch=16)),
    (ensemble(GOOD), model(batch=16)),
    (ensemble(GOOD), model(inputs=(spec("i", 1), spec("j", 1, optional=True)))),
]


@pytest.mark.parametrize(("config", "part"), FITTING)
def test_what_fits(models: Models, config: str, part: ModelConfig) -> None:
    made = composed(models, config, part)
    assert not made.decoupled
    assert not made.stateful


def test_a_decoupled_step_makes_the_ensemble_decoupled(models: Models) -> None:
    made = composed(
        models, ensemble(step("i=I", "o=t", "d"), step("i=t", "o=O")), DECOUPLED, model()
    )
    assert made.decoupled
    assert made.ensemble is not None
    assert made.ensemble.decoupled == {0}
    assert json.loads(made.json)["model_transaction_policy"] == {"decoupled": True}
    assert pb.ModelConfig.FromString(made.wire).model_transaction_policy.decoupled


def test_a_stateful_step_makes_the_ensemble_stateful(models: Models) -> None:
    inner = composed(models, ensemble(GOOD), model(stateful=True))
    assert inner.stateful
    assert inner.sequences is None
    inner = dataclasses.replace(inner, name="inner")
    outer = composed(models, ensemble(step("I=I", "O=O", "inner")), inner)
    assert outer.ensemble is not None
    assert outer.ensemble.stateful == {0}
    assert outer.ensemble.sequence_models == {"x"}


def test_an_ensemble_of_models_with_fixed_buckets_gives_the_same_bits_again(
    models: Models,
) -> None:
    exact = dataclasses.replace(model(), durability=Durability(fixed_bucket=True))
    other = dataclasses.replace(model(), name="other")
    config = ensemble(step("i=I", "o=t"), step("i=t", "o=O", "other"))
    assert not composed(models, config, exact, other).durability.fixed_bucket
    both = dataclasses.replace(exact, name="other")
    assert composed(models, config, exact, both).durability.fixed_bucket


def test_the_sequences_of_an_iterative_step_are_its_own(models: Models) -> None:
    scheduling = SequenceBatching(DirectStrategy(), 1, iterative=True)
    part = dataclasses.replace(model(), scheduling=scheduling)
    made = composed(models, ensemble(step("i=I", "o=t"), step("i=t", "o=O")), part)
    assert not made.stateful


def test_the_shortest_idle_limit_is_known(models: Models) -> None:
    parts = [
        dataclasses.replace(
            model(name), scheduling=SequenceBatching(DirectStrategy(), 1, max_idle_ns=limit)
        )
        for name, limit in (("x", 7), ("y", 5), ("z", 0))
    ]
    chain = ensemble(step("i=I", "o=t"), step("i=t", "o=u", "y"), step("i=u", "o=O", "z"))
    made = composed(models, chain, *parts)
    assert made.ensemble is not None
    assert made.ensemble.max_idle_ns == 5
    outer = composed(
        models, ensemble(step("I=I", "O=O", "inner")), dataclasses.replace(made, name="inner")
    )
    assert outer.ensemble is not None
    assert outer.ensemble.max_idle_ns == 5
