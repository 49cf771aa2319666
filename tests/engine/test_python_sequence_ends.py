"""`on_sequence_end(correlation_id, reason)`: when Python models are told, and in which order."""

import asyncio
import logging
from pathlib import Path

import numpy as np
import pytest

from streamgate.errors import EndReason
from streamgate.model.config import ControlInput, ControlKind, Execution, Instance, InstanceKind
from streamgate.model.datatypes import DataType
from streamgate.model.request import SequenceKey
from streamgate.model.tensor import TensorSpec
from tests.engine.python_stage import open_model, sequence_config
from tests.engine.stage import Stage

# Answers each step with all that the model has seen so far.
DIARY = """
class TritonPythonModel:
    def initialize(self, args):
        self.diary = []

    def execute(self, requests):
        for request in requests:
            if request.correlation_id():
                self.diary.append(f"{request.correlation_id()}:{value_of(request).item()}")
        text = np.full((1, 1), " ".join(self.diary).encode(), dtype=object)
        return [answer(OUT=text) for _ in requests]

    def on_sequence_end(self, correlation_id, reason):
        self.diary.append(f"{correlation_id!r} {reason}")
"""
TEXT = (TensorSpec("OUT", DataType.BYTES, (1,)),)


def one(value: int = 0) -> dict[str, np.ndarray]:
    return {"IN": np.array([value], np.int32)}


async def diary(stage: Stage, key: SequenceKey = 999) -> str:
    """What the model has seen before this, which is itself a sequence of one step."""
    text: bytes = (await stage.step(key, one(), start=True, end=True))["OUT"][0]
    return text.decode().removesuffix(f"{key}:0").strip()


@pytest.mark.parametrize("execution", list(Execution))
@pytest.mark.parametrize("direct", [False, True])
async def test_between_its_last_step_and_the_slots_next_sequence(
    tmp_path: Path, direct: bool, execution: Execution
) -> None:
    config = sequence_config(slots=1, direct=direct, outputs=TEXT, execution=execution)
    async with open_model(tmp_path, DIARY, config) as stage:
        answers = []
        for key in (1, "two", 3):
            answers += [
                stage.send(key, one(1), start=True),
                stage.send(key, one(2)),
                stage.send(key, one(3), end=True),
            ]
        for answer in answers:
            stage.outputs(await stage.answered(answer))
        assert await diary(stage) == (
            "1:1 1:2 1:3 1 client_end two:1 two:2 two:3 'two' client_end 3:1 3:2 3:3 3 client_end"
        )


@pytest.mark.parametrize("execution", list(Execution))
async def test_the_control_tensor_and_the_hook(tmp_path: Path, execution: Execution) -> None:
    source = DIARY.replace(
        "{value_of(request).item()}",
        "{value_of(request).item()}/{value_of(request, 'WHY').item()}",
    )
    why = ControlInput("WHY", ControlKind.END_REASON, DataType.INT32)
    config = sequence_config(outputs=TEXT, direct=True, controls=(why,), execution=execution)
    async with open_model(tmp_path, source, config) as stage:
        gone = stage.connect()
        await stage.step(1, one(5), start=True)
        await stage.answered(stage.send(2, one(6), start=True, connection=gone))
        gone.close(abort=True)
        await stage.step(1, one(7), end=True)
        text = await diary(stage)
    assert text.startswith("1:5/0 2:6/0 2:0/2 2 client_abort 1:7/1 1 client_end")


async def test_an_abort(tmp_path: Path) -> None:
    async with open_model(tmp_path, DIARY, sequence_config(outputs=TEXT)) as stage:
        gone = stage.connect()
        await stage.answered(stage.send(1, one(5), start=True, connection=gone))
        gone.close(abort=True)
        assert await diary(stage) == "1:5 1 client_abort"


async def test_a_sequence_that_is_idle(tmp_path: Path) -> None:
    config = sequence_config(outputs=TEXT, max_idle_ns=20_000_000)
    async with open_model(tmp_path, DIARY, config) as stage:
        await stage.step(1, one(5), start=True)
        assert await stage.first_end() == (1, EndReason.IDLE)
        assert await diary(stage) == "1:5 1 idle"


async def test_a_start_on_a_live_id(tmp_path: Path) -> None:
    async with open_model(tmp_path, DIARY, sequence_config(outputs=TEXT)) as stage:
        await stage.step(1, one(5), start=True)
        await stage.step(1, one(6), start=True)
        await stage.step(1, one(7), end=True)
        assert await diary(stage) == "1:5 1 superseded 1:6 1:7 1 client_end"


@pytest.mark.parametrize(
    ("rules", "steps", "seen"),
    [
        ({"max_lifetime_ns": 30_000_000}, 1, "1:0 1 lifetime"),
        ({"end_on_error": True}, 2, "1:0 1:1 1 error"),
    ],
)
async def test_ends_by_rule(tmp_path: Path, rules: dict[str, int], steps: int, seen: str) -> None:
    source = DIARY.replace(
        "        text =",
        "            if value_of(request).item() == 1:\n"
        "                raise ValueError('one')\n"
        "        text =",
    )
    config = sequence_config(outputs=TEXT, **rules)
    async with open_model(tmp_path, source, config) as stage:
        for step in range(steps):
            await stage.answered(stage.send(1, one(step), start=step == 0))
        await stage.first_end()
        assert await diary(stage) == seen


async def test_the_model_is_unloaded(tmp_path: Path) -> None:
    source = (
        DIARY
        + f"""
    def finalize(self):
        with open({str(tmp_path / "diary")!r}, "w") as file:
            file.write(" ".join(self.diary))
"""
    )
    async with open_model(tmp_path, source, sequence_config(outputs=TEXT)) as stage:
        await stage.step(1, one(5), start=True)
    assert (tmp_path / "diary").read_text() == "1:5 1 drained"


async def test_a_sequence_that_never_ran_is_not_told_of(tmp_path: Path) -> None:
    config = sequence_config(slots=1, outputs=TEXT)
    async with open_model(tmp_path, DIARY, config) as stage:
        await stage.step(1, one(5), start=True)
        waiting = stage.connect()
        answer = stage.send(2, one(6), start=True, connection=waiting)
        waiting.close(abort=True)
        assert (await stage.answered(answer)).failure is not None
        await stage.step(1, one(7), end=True)
        assert await diary(stage) == "1:5 1:7 1 client_end"


@pytest.mark.parametrize("fault", ["raise ValueError('no')", "raise SystemExit(1)"])
async def test_what_it_raises_is_logged_and_no_more(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = DIARY + f"        {fault}\n"
    async with open_model(tmp_path, source, sequence_config(outputs=TEXT)) as stage:
        with caplog.at_level(logging.ERROR):
            await stage.step(1, one(5), start=True, end=True)
            assert await diary(stage) == "1:5 1 client_end"
        assert "end of sequence 1 (client_end)" in caplog.text
        assert fault.split("(", maxsplit=1)[0].removeprefix("raise ") in caplog.text


async def test_a_hook_that_hangs_holds_up_its_instance_only(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    source = DIARY + f"        if correlation_id == 1:\n            wait_for({str(gate)!r})\n"
    instances = tuple(Instance(f"m_{index}", InstanceKind.CPU) for index in range(2))
    config = sequence_config(slots=1, outputs=TEXT, instances=instances)
    try:
        async with open_model(tmp_path, source, config) as stage:
            await stage.step(1, one(5), start=True)
            await stage.step(2, one(6), start=True)
            await stage.step(1, one(5), end=True)
            assert (await stage.step(2, one(7)))["OUT"][0] == b"2:6 2:7"
            # Its unloading is not held up, either.
            async with asyncio.timeout(10):
                await stage.runtime.close(0.1)
    finally:
        gate.touch()


async def test_a_model_without_the_hook_costs_nothing(tmp_path: Path) -> None:
    source = DIARY.replace("on_sequence_end", "unheard")
    async with open_model(tmp_path, source, sequence_config(outputs=TEXT)) as stage:
        await stage.step(1, one(5), start=True, end=True)
        assert await diary(stage) == "1:5"
