"""What goes wrong in one sequence stays there: failures, numbers that are none, wrong states."""

import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import numpy as np
import pytest

from streamgate.backend.contract import LoadContext, ModelFiles, ModelRequest
from streamgate.model.config import StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Tensor, TensorSpec
from streamgate_onnxruntime import create as create_onnx
from tests.backends.onnx_models import model_files, node, save, tensor
from tests.engine.python_stage import open_model, sequence_config
from tests.engine.stage import Stage, open_stage

FP32 = DataType.FP32
STATE = StateSpec("S", "N", FP32, (1,))
CONFIG = sequence_config(
    inputs=(TensorSpec("IN", FP32, (1,)),),
    outputs=(TensorSpec("OUT", FP32, (1,)),),
    states=(STATE,),
)
KEYS = (1, 2, 3)

# The new state is the old one plus the input; what the input is may spoil it.
MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        value, state = value_of(request), value_of(request, "S")
        new = state + value
        SPOIL
        return answer(OUT=new, N=new)
"""


def one(value: float) -> dict[str, Array]:
    return {"IN": np.array([value], np.float32)}


async def together(
    stage: Stage, values: Sequence[float], *, start: bool = False
) -> list[float | str]:
    """One step with a row for each sequence: what each answers, or the text of its error."""
    steps = stage.runtime.statistics().execution_count
    answers = [
        stage.send(key, one(value), start=start) for key, value in zip(KEYS, values, strict=True)
    ]
    responses = [await stage.answered(answer) for answer in answers]
    assert stage.runtime.statistics().execution_count == steps + 1
    return [
        float(stage.outputs(response)["OUT"][0])
        if response.failure is None
        else response.failure.message
        for response in responses
    ]


def onnx_sum(folder: Path) -> ModelFiles:
    """OUT = N = S + IN; the graph fails for inputs of 100 and above."""
    files = model_files(folder)
    save(
        files,
        [
            node("Add", ["S", "IN"], ["N"]),
            node("Cast", ["IN"], ["WHOLE"], to=7),
            node("Div", ["WHOLE", "HUNDRED"], ["INDEX"]),
            node("Gather", ["ZERO", "INDEX"], ["NOTHING"]),
            node("Add", ["N", "NOTHING"], ["OUT"]),
        ],
        [tensor("IN", ["b", 1]), tensor("S", ["b", 1])],
        [tensor("OUT", ["b", 1]), tensor("N", ["b", 1])],
        {"ZERO": np.zeros(1, np.float32), "HUNDRED": np.array([100], np.int64)},
    )
    return files


@pytest.mark.parametrize("kind", ["onnx", "python"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
async def test_a_number_that_is_none_stays_in_its_row(
    tmp_path: Path, kind: str, value: float
) -> None:
    opened: AbstractAsyncContextManager[Stage]
    if kind == "onnx":
        made = model_files(tmp_path)
        save(
            made,
            [node("Add", ["S", "IN"], ["N"]), node("Identity", ["N"], ["OUT"])],
            [tensor("IN", ["b", 1]), tensor("S", ["b", 1])],
            [tensor("OUT", ["b", 1]), tensor("N", ["b", 1])],
        )
        opened = open_stage(create_onnx(), CONFIG, made)
    else:
        opened = open_model(tmp_path, MODEL.replace("SPOIL", "pass"), CONFIG)
    async with opened as stage:
        assert await together(stage, [1, 2, 3], start=True) == [1, 2, 3]
        first, second, third = await together(stage, [10, value, 10])
        assert (first, third) == (11, 13)
        np.testing.assert_equal(second, value)
        first, second, third = await together(stage, [1, 1, 1])
        assert (first, third) == (12, 14)
        np.testing.assert_equal(second, value)
        # The slot's next sequence begins anew.
        await stage.step(2, one(0), end=True)
        assert await stage.step(4, one(5), start=True) == {"OUT": 5}


async def test_a_graph_that_fails_leaves_all_states_as_they_were(tmp_path: Path) -> None:
    async with open_stage(create_onnx(), CONFIG, onnx_sum(tmp_path)) as stage:
        assert await together(stage, [1, 2, 3], start=True) == [1, 2, 3]
        failed = await together(stage, [1, 100, 1])
        assert all("onnx runtime error" in str(text) for text in failed)
        assert await together(stage, [10, 10, 10]) == [11, 12, 13]


async def test_a_model_that_raises_leaves_all_states_as_they_were(tmp_path: Path) -> None:
    source = MODEL.replace("SPOIL", "if value > 99: raise ValueError('too much')")
    async with open_model(tmp_path, source, CONFIG) as stage:
        assert await together(stage, [1, 2, 3], start=True) == [1, 2, 3]
        failed = await together(stage, [1, 100, 1])
        assert all("ValueError: too much" in str(text) for text in failed)
        assert await together(stage, [10, 10, 10]) == [11, 12, 13]


ERROR = "pb_utils.InferenceResponse([pb_utils.Tensor('N', new)], pb_utils.TritonError('no'))"


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (f"if value > 99: return {ERROR}", "no"),
        ("if value > 99: return answer(OUT=new, N=np.zeros((1, 2), np.float32))", "shape [1, 2]"),
        ("if value > 99: return answer(OUT=new, N=np.zeros((1, 1), np.int32))", "found INT32"),
    ],
)
async def test_one_answer_of_a_batch_that_fails(tmp_path: Path, spoil: str, text: str) -> None:
    async with open_model(tmp_path, MODEL.replace("SPOIL", spoil), CONFIG) as stage:
        assert await together(stage, [1, 2, 3], start=True) == [1, 2, 3]
        first, second, third = await together(stage, [1, 100, 1])
        assert (first, third) == (2, 4)
        assert text in str(second)
        assert await together(stage, [10, 10, 10]) == [12, 12, 14]


async def test_of_several_states_all_are_kept_or_none(tmp_path: Path) -> None:
    states = (STATE, StateSpec("T", "M", FP32, (1,)))
    config = sequence_config(inputs=CONFIG.inputs, outputs=CONFIG.outputs, states=states)
    source = MODEL.replace(
        "SPOIL",
        "if value > 99: return answer(OUT=new, N=new, M=np.zeros(7, np.float32))",
    ).replace("answer(OUT=new, N=new)", "answer(OUT=new, N=new, M=new)")
    async with open_model(tmp_path, source, config) as stage:
        await stage.step(1, one(1), start=True)
        failed = await stage.answered(stage.send(1, one(100)))
        assert failed.failure is not None
        assert await stage.step(1, one(1)) == {"OUT": 2}


async def test_an_execute_that_raises_after_it_has_sent_a_state(tmp_path: Path) -> None:
    """Decoupled: what was answered before stays answered, and the state of the failed step goes."""
    source = """
    class TritonPythonModel:
        def execute(self, requests):
            for request in requests:
                new = value_of(request, "S") + value_of(request)
                request.get_response_sender().send(answer(OUT=new, N=new))
                if value_of(request) > 99:
                    raise ValueError("too much")
                request.get_response_sender().send(flags=1)
    """
    config = sequence_config(
        inputs=CONFIG.inputs, outputs=CONFIG.outputs, states=(STATE,), decoupled=True
    )
    async with open_model(tmp_path, source, config) as stage:
        await stage.answered(stage.send(1, one(1), start=True))
        assert (await stage.answered(stage.send(1, one(100)))).failure is not None
        await stage.answered(stage.send(1, one(2)))
        assert float((await stage.runtime.places.snapshot(1, 0)).states["S"][0]) == 3


async def test_a_state_that_comes_late_writes_nothing(tmp_path: Path) -> None:
    """From a thread, after `execute` returned and the slot has its next sequence."""
    source = f"""
    import threading

    class TritonPythonModel:
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                new = value_of(request, "S") + value_of(request)
                if value_of(request) > 99:
                    threading.Thread(target=self.late, args=(sender, new)).start()
                else:
                    sender.send(answer(OUT=new, N=new), flags=1)

        def late(self, sender, new):
            wait_for({str(tmp_path / "gate")!r})
            try:
                sender.send(answer(OUT=new, N=new), flags=1)
            except pb_utils.TritonModelException as error:
                failed = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
                sender.send(failed, flags=1)
    """
    config = sequence_config(
        slots=1, inputs=CONFIG.inputs, outputs=CONFIG.outputs, states=(STATE,), decoupled=True
    )
    async with open_model(tmp_path, source, config) as stage:
        await stage.answered(stage.send(1, one(1), start=True))
        late = stage.send(1, one(100), end=True)
        await stage.answered(stage.send(2, one(7), start=True))
        (tmp_path / "gate").touch()
        failure = (await stage.answered(late)).failure
        assert failure is not None
        assert "came after execute had returned" in failure.message
        assert float((await stage.runtime.places.snapshot(2, 0)).states["S"][0]) == 7


class SumSession:
    """Sums in the state; for inputs from 100 it hands the engine a state of a wrong shape."""

    def execute(self, requests: Sequence[ModelRequest]) -> None:
        for request in requests:
            inputs = {tensor.name: tensor.array for tensor in request.inputs}
            new = inputs["S"] + inputs["IN"]
            request.reply.send([Tensor.of("OUT", new, FP32)], final=True)
            request.states["N"] = new if new < 100 else np.zeros((1, 2), np.float32)

    def close(self) -> None:
        """Nothing to free."""


class SumBackend:
    default_model_filename = "sum"

    def auto_complete(self, config: dict[str, object], files: ModelFiles) -> dict[str, object]:
        return config

    def load(self, context: LoadContext) -> SumSession:
        return SumSession()


async def test_the_engine_checks_states_itself(tmp_path: Path) -> None:
    """The answer of the row is taken back: what is answered and what is kept agree."""
    async with open_stage(SumBackend(), CONFIG, model_files(tmp_path)) as stage:
        assert await together(stage, [1, 2, 3], start=True) == [1, 2, 3]
        first, second, third = await together(stage, [1, 100, 1])
        assert (first, third) == (2, 4)
        assert second == (
            "state output 'N' has type float32 and shape [1, 2], expected float32 and [1, 1] "
            "(1 rows at axis 0)"
        )
        assert await together(stage, [10, 10, 10]) == [12, 12, 14]


async def test_a_rescheduled_request_finds_the_state_that_it_left(tmp_path: Path) -> None:
    source = """
    class TritonPythonModel:
        def execute(self, requests):
            for request in requests:
                self.step(request)

        def step(self, request):
            new = value_of(request, "S") + 1
            sender = request.get_response_sender()
            if new < value_of(request):
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
                sender.send(answer(N=new))
            else:
                sender.send(answer(OUT=new, N=new), flags=1)
    """
    config = sequence_config(
        inputs=CONFIG.inputs,
        outputs=CONFIG.outputs,
        states=(STATE,),
        decoupled=True,
        iterative=True,
    )
    async with open_model(tmp_path, source, config) as stage:
        answers = [stage.send(key, one(4), start=True) for key in KEYS]
        for answer in answers:
            assert stage.outputs(await stage.answered(answer)) == {"OUT": 4}
        assert stage.runtime.statistics().execution_count == 4


async def test_what_a_model_does_not_write_stays(tmp_path: Path) -> None:
    source = MODEL.replace("SPOIL", "if value > 99: return answer(OUT=new)")
    async with open_model(tmp_path, source, CONFIG) as stage:
        assert await together(stage, [1, 2, 3], start=True) == [1, 2, 3]
        assert await together(stage, [1, 100, 1]) == [2, 102, 4]
        assert await together(stage, [1, 1, 1]) == [3, 3, 5]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="streamgate_python")
