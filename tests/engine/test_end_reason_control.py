"""`streamgate.end_reason_control`: how a model's control tensor says that a sequence is over."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate.backend.contract import LoadContext, ModelFiles, ModelRequest, TensorStep
from streamgate.errors import EndReason, LoadError, StreamGateError
from streamgate.model.config import ControlInput, ControlKind, ModelConfig, StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Tensor, TensorSpec
from streamgate_onnxruntime import create as create_onnx
from tests.backends.onnx_models import model_files, node, save, tensor
from tests.engine.python_stage import sequence_config
from tests.engine.stage import Stage, open_stage

INT32 = DataType.INT32
CONTROLS = (
    ControlInput("START", ControlKind.START, INT32),
    ControlInput("READY", ControlKind.READY, INT32),
    ControlInput("END", ControlKind.END, INT32),
    ControlInput("ID", ControlKind.CORRID, DataType.UINT64),
    ControlInput("WHY", ControlKind.END_REASON, INT32),
)
STATE = StateSpec("S", "N", INT32, (1,))
FILES = ModelFiles("m", "1", Path(), Path(), Path())

Seen = dict[str, list[int]]
"""One step as the model saw it: each input's values by row."""


@dataclass
class Witness:
    """Sees all steps. Its state is the sum of IN, and a step for IN 13 fails."""

    seen: list[Seen] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def step(self, inputs: Mapping[str, Array]) -> Array:
        self.seen.append({name: array.ravel().tolist() for name, array in inputs.items()})
        new: Array = inputs["S"] + inputs["IN"]
        return new


class TensorWitness(Witness):
    def run(self, step: TensorStep) -> Mapping[str, Array]:
        new = self.step(step.inputs)
        return {"OUT": new, "N": new + 1000 * step.inputs["END"] * (1 - step.inputs["READY"])}

    def close(self) -> None:
        """Nothing to free."""


class RequestWitness(Witness):
    def execute(self, requests: Sequence[ModelRequest]) -> None:
        rows = [{tensor.name: tensor.array for tensor in request.inputs} for request in requests]
        news = self.step({name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
        for request, new in zip(requests, news, strict=True):
            request.states["N"] = new[np.newaxis] + (1000 if request.null else 0)
            request.reply.send([Tensor.of("OUT", new[np.newaxis], INT32)], final=True)
        flags = [request.flags for request in requests if request.null and request.correlation_id]
        assert flags in ([], [2])

    def close(self) -> None:
        """Nothing to free."""


WITNESSES = [TensorWitness, RequestWitness]


@dataclass
class OneSession:
    """A backend with one session."""

    session: Any
    default_model_filename: str = "session"

    def auto_complete(self, config: dict[str, object], files: ModelFiles) -> dict[str, object]:
        return config

    def load(self, context: LoadContext) -> Any:
        return self.session


def configure(**fields: Any) -> ModelConfig:
    return sequence_config(controls=CONTROLS, states=(STATE,), **fields)


@asynccontextmanager
async def open_witness(kind: type[Witness], **fields: Any) -> AsyncIterator[tuple[Stage, Witness]]:
    witness = kind()
    async with open_stage(OneSession(witness), configure(**fields), FILES) as stage:
        yield stage, witness


def one(value: int) -> dict[str, Array]:
    return {"IN": np.array([value], np.int32)}


def row(**values: int) -> Seen:
    """A step of one row; what is not given is 0."""
    inputs = dict.fromkeys(("IN", "START", "READY", "END", "ID", "WHY", "S"), 0)
    return {name: [value] for name, value in (inputs | values).items()}


@pytest.mark.parametrize("kind", WITNESSES)
async def test_a_client_that_ends_its_sequence(kind: type[Witness]) -> None:
    async with open_witness(kind) as (stage, witness):
        await stage.step(7, one(5), start=True)
        await stage.step(7, one(6))
        await stage.step(7, one(7), end=True)
    assert witness.seen == [
        row(IN=5, START=1, READY=1, ID=7),
        row(IN=6, READY=1, ID=7, S=5),
        row(IN=7, READY=1, END=1, ID=7, WHY=1, S=11),
    ]


@pytest.mark.parametrize("kind", WITNESSES)
async def test_a_farewell_before_the_slots_next_sequence(kind: type[Witness]) -> None:
    async with open_witness(kind, slots=1) as (stage, witness):
        gone = stage.connect()
        await stage.answered(stage.send(7, one(5), start=True, connection=gone))
        waiting = stage.send(8, one(6), start=True)
        gone.close(abort=True)
        assert stage.outputs(await stage.answered(waiting)) == {"OUT": 6}
        await stage.step(8, one(1), end=True)
        assert witness.seen == [
            row(IN=5, START=1, READY=1, ID=7),
            row(END=1, ID=7, WHY=2, S=5),
            row(IN=6, START=1, READY=1, ID=8),
            row(IN=1, READY=1, END=1, ID=8, WHY=1, S=6),
        ]
        statistics = stage.runtime.statistics()
        assert statistics.inference_count == statistics.execution_count == 3
        assert statistics.success.count == 3
        assert statistics.fail.count == 0


@pytest.mark.parametrize("kind", WITNESSES)
async def test_in_its_own_row_where_places_count(kind: type[Witness]) -> None:
    async with open_witness(kind, direct=True) as (stage, witness):
        gone = stage.connect()
        await stage.step(7, one(5), start=True)
        await stage.step(8, one(6), start=True)
        await stage.answered(stage.send(9, one(7), start=True, connection=gone))
        witness.seen.clear()
        gone.close(abort=True)
        # The neighbours' states are neither shown nor touched.
        assert await stage.step(7, one(1)) == {"OUT": 6}
        assert await stage.step(8, one(1)) == {"OUT": 7}
        assert witness.seen[0] == {
            "IN": [0, 0, 0],
            "START": [0, 0, 0],
            "READY": [0, 0, 0],
            "END": [0, 0, 1],
            "ID": [0, 0, 9],
            "WHY": [0, 0, 2],
            "S": [0, 0, 7],
        }


@pytest.mark.parametrize("kind", WITNESSES)
@pytest.mark.parametrize(
    ("reason", "rules"),
    [
        (EndReason.IDLE, {"max_idle_ns": 20_000_000}),
        (EndReason.LIFETIME, {"max_lifetime_ns": 20_000_000}),
        (EndReason.SUPERSEDED, {}),
        (EndReason.DRAINED, {}),
        (EndReason.PREEMPTED, {}),
        (EndReason.ERROR, {}),
        (EndReason.CLIENT_END, {}),
    ],
)
async def test_every_reason_has_its_code(
    kind: type[Witness], reason: EndReason, rules: dict[str, int]
) -> None:
    async with open_witness(kind, **rules) as (stage, witness):
        await stage.step(7, one(5), start=True)
        if rules:
            assert await stage.first_end() == (7, reason)
        elif reason is EndReason.SUPERSEDED:
            await stage.step(7, one(6), start=True, end=True)
        elif reason is not EndReason.DRAINED:
            stage.runtime.end_sequence(7, reason, drain=False)
    assert witness.seen[1] == row(END=1, ID=7, WHY=reason.code, S=5)


def test_the_codes() -> None:
    assert {reason.value: reason.code for reason in EndReason} == {
        "client_end": 1,
        "client_abort": 2,
        "idle": 3,
        "lifetime": 4,
        "error": 5,
        "preempted": 6,
        "superseded": 7,
        "drained": 8,
        "engine_lost": 9,
    }


@pytest.mark.parametrize("kind", WITNESSES)
async def test_a_farewell_that_fails_is_logged_and_no_more(
    kind: type[Witness], caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(kind):  # type: ignore[misc, valid-type]
        def step(self, inputs: Mapping[str, Array]) -> Array:
            if not inputs["READY"].any():
                raise ValueError("no farewells")
            return super().step(inputs)  # type: ignore[no-any-return]

    async with open_witness(Failing) as (stage, _):
        await stage.step(6, one(1), start=True)
        await stage.step(7, one(5), start=True)
        with caplog.at_level(logging.ERROR):
            stage.runtime.end_sequence(7, EndReason.PREEMPTED, drain=False)
            assert await stage.step(6, one(1)) == {"OUT": 2}
        assert "end of sequence 7 (preempted)" in caplog.text
        assert "no farewells" in caplog.text
        assert stage.runtime.statistics().fail.count == 0
        await stage.step(6, one(0), end=True)


async def test_an_open_shape_is_that_of_the_last_step() -> None:
    config = {"inputs": (TensorSpec("IN", INT32, (-1,)),)}
    async with open_witness(TensorWitness, **config) as (stage, witness):
        await stage.answered(stage.send(7, {"IN": np.array([1, 2, 3], np.int32)}, start=True))
        stage.runtime.end_sequence(7, EndReason.PREEMPTED, drain=False)
    assert witness.seen[-1]["IN"] == [0, 0, 0]


async def test_clients_do_not_send_it() -> None:
    async with open_witness(TensorWitness) as (stage, _):
        with pytest.raises(StreamGateError, match="WHY"):
            stage.send(7, one(1) | {"WHY": np.zeros(1, np.int32)}, start=True)


async def test_an_onnx_graph_reads_it(tmp_path: Path) -> None:
    files = model_files(tmp_path)
    save(
        files,
        [node("Add", ["IN", "WHY"], ["OUT"])],
        [tensor("IN", ["b", 1], INT32), tensor("WHY", ["b", 1], INT32)],
        [tensor("OUT", ["b", 1], INT32)],
    )
    config = sequence_config(controls=CONTROLS[-1:])
    async with open_stage(create_onnx(), config, files) as stage:
        await stage.step(2, one(7), start=True)
        stage.runtime.end_sequence(2, EndReason.PREEMPTED, drain=False)
        assert await stage.step(1, one(10), start=True) == {"OUT": 10}
        assert await stage.step(1, one(10), end=True) == {"OUT": 11}


async def test_an_onnx_graph_that_does_not_have_it_is_refused(tmp_path: Path) -> None:
    files = model_files(tmp_path)
    save(
        files,
        [node("Identity", ["IN"], ["OUT"])],
        [tensor("IN", ["b", 1], INT32)],
        [tensor("OUT", ["b", 1], INT32)],
    )
    with pytest.raises(StreamGateError, match="declares this sequence control streamgate"):
        async with (
            asyncio.timeout(10),
            open_stage(create_onnx(), sequence_config(controls=CONTROLS[-1:]), files),
        ):
            raise LoadError("it was loaded")
