"""Configurations of fake models, and a reply that keeps what it is sent."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamgate.backend.contract import LoadContext, ModelFiles
from streamgate.errors import Failure
from streamgate.model.config import (
    ControlInput,
    ControlKind,
    DefaultScheduling,
    DirectStrategy,
    Instance,
    InstanceKind,
    ModelConfig,
    SequenceBatching,
    StateSpec,
)
from streamgate.model.datatypes import DataType
from streamgate.model.request import ParameterValue
from streamgate.model.tensor import Tensor, TensorSpec

START = ControlInput("START", ControlKind.START, DataType.INT32)
END = ControlInput("END", ControlKind.END, DataType.BOOL)
READY = ControlInput("READY", ControlKind.READY, DataType.FP32)
CORRID = ControlInput("CORRID", ControlKind.CORRID, DataType.UINT64)
CONTROLS = (START, END, READY, CORRID)
HASH_STATE = StateSpec("hash", "hash_out", DataType.UINT64, (1,))
COUNT_STATE = StateSpec("count", "count_out", DataType.INT64, (1,), batch_axis=1)
INPUT = TensorSpec("INPUT", DataType.INT16, (-1,))
OUTPUTS = (
    TensorSpec("HASH", DataType.UINT64, (1,)),
    TensorSpec("COUNT", DataType.INT64, (1,)),
    TensorSpec("LEVEL", DataType.FP32, (1,)),
)


def fake_config(**changes: Any) -> ModelConfig:
    """A fake sequence model of style `tensor` with all controls and both states, 4 slots."""
    fields: dict[str, Any] = {
        "name": "fake",
        "backend": "fake",
        "platform": "",
        "max_batch_size": 4,
        "inputs": (INPUT,),
        "outputs": OUTPUTS,
        "scheduling": SequenceBatching(DirectStrategy(), 4),
        "controls": CONTROLS,
        "states": (HASH_STATE, COUNT_STATE),
    }
    return ModelConfig(**(fields | changes))


def request_config(**changes: Any) -> ModelConfig:
    """The same model of style `request`, which keeps its state itself."""
    parameters = {"style": "request", **changes.pop("parameters", {})}
    return fake_config(states=(), parameters=parameters, **changes)


def stateless_config(**changes: Any) -> ModelConfig:
    return fake_config(states=(), controls=(), scheduling=DefaultScheduling(), **changes)


FILES = ModelFiles("fake", "1", Path("fake"), Path("fake/1"), Path("fake/1/model.fake"))


def fake_context(config: ModelConfig) -> LoadContext:
    return LoadContext(config, FILES, Instance("fake_0", InstanceKind.CPU))


class KeptReply:
    """A `Reply` that keeps the responses it is sent."""

    def __init__(self) -> None:
        self.outputs: list[Mapping[str, Any]] = []
        self.failures: list[Failure] = []
        self.final = False

    def send(
        self,
        outputs: Sequence[Tensor],
        failure: Failure | None = None,
        *,
        final: bool,
        parameters: Mapping[str, ParameterValue] | None = None,
    ) -> None:
        assert not self.final, "a response after the final one"
        self.final = final
        if failure is None:
            self.outputs.append({tensor.name: tensor.array for tensor in outputs})
        else:
            self.failures.append(failure)

    def finish(self) -> None:
        assert not self.final
        self.final = True

    def is_cancelled(self) -> bool:
        return False
