"""ONNX models of every kind keep the backend contract."""

from collections.abc import Callable
from pathlib import Path

import pytest

from streamgate.backend.conformance import check_backend
from streamgate.backend.contract import ModelFiles
from streamgate.model.config import (
    ControlInput,
    ControlKind,
    ModelConfig,
    StateSpec,
)
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import TensorSpec
from streamgate_onnxruntime import create
from tests.backends.onnx_models import (
    configure,
    model_files,
    node,
    running_sum,
    save,
    save_running_sum,
    spec,
    tensor,
)


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    return model_files(tmp_path)


def add_sub(files: ModelFiles) -> ModelConfig:
    inputs = [tensor("A", ["n", "m"]), tensor("B", ["n", "m"])]
    outputs = [tensor("SUM", ["n", "m"]), tensor("DIFFERENCE", ["n", "m"])]
    nodes = [node("Add", ["A", "B"], ["SUM"]), node("Sub", ["A", "B"], ["DIFFERENCE"])]
    save(files, nodes, inputs, outputs)
    shapes = [spec("A", [-1]), spec("B", [-1])], [spec("SUM", [-1]), spec("DIFFERENCE", [-1])]
    return configure(*shapes)


def sum_by_rows(files: ModelFiles) -> ModelConfig:
    save_running_sum(files)
    return running_sum()


def sum_by_columns(files: ModelFiles) -> ModelConfig:
    save_running_sum(files, batch_axis=1)
    return running_sum(batch_axis=1)


def controlled_counts(files: ModelFiles) -> ModelConfig:
    """Counts steps since START, in rows that are READY; answers with the correlation ID too."""
    save(
        files,
        [
            node("Cast", ["START"], ["start"], to=9),
            node("Where", ["start", "zero", "count"], ["before"]),
            node("Cast", ["READY"], ["ready"], to=7),
            node("Add", ["before", "ready"], ["count_out"]),
            node("Identity", ["count_out"], ["COUNT"]),
            node("Add", ["CORRID", "X"], ["TAGGED"]),
        ],
        [
            tensor("X", ["n", 1], DataType.UINT64),
            tensor("START", ["n", 1], DataType.FP32),
            tensor("READY", ["n", 1], DataType.BOOL),
            tensor("CORRID", ["n", 1], DataType.UINT64),
            tensor("count", ["n", 1], DataType.INT64),
        ],
        [
            tensor("COUNT", ["n", 1], DataType.INT64),
            tensor("TAGGED", ["n", 1], DataType.UINT64),
            tensor("count_out", ["n", 1], DataType.INT64),
        ],
        {"zero": DataType.INT64.dtype.type([[0]])},
    )
    return configure(
        [spec("X", [1], DataType.UINT64)],
        [spec("COUNT", [1], DataType.INT64), spec("TAGGED", [1], DataType.UINT64)],
        states=[StateSpec("count", "count_out", DataType.INT64, (1,))],
        controls=[
            ControlInput("START", ControlKind.START, DataType.FP32),
            ControlInput("READY", ControlKind.READY, DataType.BOOL),
            ControlInput("CORRID", ControlKind.CORRID, DataType.UINT64),
        ],
    )


def growing_history(files: ModelFiles) -> ModelConfig:
    """A state that is one element longer after each step."""
    save(
        files,
        [
            node("Concat", ["history", "X"], ["history_out"], axis=1),
            node("ReduceSum", ["history_out", "axis"], ["Y"], keepdims=1),
        ],
        [tensor("X", ["n", 1]), tensor("history", ["n", "length"])],
        [tensor("Y", ["n", 1]), tensor("history_out", ["n", "longer"])],
        {"axis": DataType.INT64.dtype.type([1])},
    )
    state = StateSpec("history", "history_out", DataType.FP32, (-1,), initial_value=0.5)
    return configure([spec("X", [1])], [spec("Y", [1])], states=[state])


def text_identity(files: ModelFiles) -> ModelConfig:
    text = DataType.BYTES
    ends = [tensor("X", ["n", 2], text)], [tensor("Y", ["n", 2], text)]
    save(files, [node("Identity", ["X"], ["Y"])], *ends)
    return configure([spec("X", [2], text)], [spec("Y", [2], text)])


def text_state(files: ModelFiles) -> ModelConfig:
    """Answers with the text of the step before."""
    text = DataType.BYTES
    save(
        files,
        [node("Identity", ["last"], ["Y"]), node("Identity", ["X"], ["last_out"])],
        [tensor("X", ["n", 1], text), tensor("last", ["n", 1], text)],
        [tensor("Y", ["n", 1], text), tensor("last_out", ["n", 1], text)],
    )
    state = StateSpec("last", "last_out", text, (1,))
    return configure([spec("X", [1], text)], [spec("Y", [1], text)], states=[state])


def halves(files: ModelFiles) -> ModelConfig:
    """FP16 and BF16 in, both out."""
    fp16, bf16 = DataType.FP16, DataType.BF16
    save(
        files,
        [
            node("Cast", ["B"], ["wide"], to=10),
            node("Add", ["H", "wide"], ["SUM"]),
            node("Cast", ["SUM"], ["BSUM"], to=16),
        ],
        [tensor("H", ["n", 2], fp16), tensor("B", ["n", 2], bf16)],
        [tensor("SUM", ["n", 2], fp16), tensor("BSUM", ["n", 2], bf16)],
    )
    return configure(
        [spec("H", [2], fp16), spec("B", [2], bf16)],
        [spec("SUM", [2], fp16), spec("BSUM", [2], bf16)],
    )


def unbatched_sum(files: ModelFiles) -> ModelConfig:
    save(
        files,
        [node("Add", ["INPUT", "total"], ["total_out"]), node("Neg", ["total_out"], ["OUTPUT"])],
        [tensor("INPUT", [2, 2]), tensor("total", [2, 2])],
        [tensor("OUTPUT", [2, 2]), tensor("total_out", [2, 2])],
    )
    state = StateSpec("total", "total_out", DataType.FP32, (2, 2))
    return configure([spec("INPUT", [2, 2])], [spec("OUTPUT", [2, 2])], 0, states=[state])


def reshaped_scalar(files: ModelFiles) -> ModelConfig:
    save(files, [node("Neg", ["X"], ["Y"])], [tensor("X", ["n"])], [tensor("Y", ["n"])])
    whole = DataType.FP32
    return configure(
        [TensorSpec("X", whole, (1,), reshape=())], [TensorSpec("Y", whole, (1,), reshape=())]
    )


MODELS: tuple[Callable[[ModelFiles], ModelConfig], ...] = (
    add_sub,
    sum_by_rows,
    sum_by_columns,
    controlled_counts,
    growing_history,
    text_identity,
    text_state,
    halves,
    unbatched_sum,
    reshaped_scalar,
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_model_keeps_the_contract(
    model: Callable[[ModelFiles], ModelConfig], files: ModelFiles
) -> None:
    config = model(files)
    report = check_backend(create(), config, files)
    report.require()
    assert "A missing model file is a StreamGateError" in report.passed
    assert len(report.passed) >= 14


def test_a_model_whose_rows_disturb_each_other_is_found(files: ModelFiles) -> None:
    """A graph that normalizes over the batch: the mistake that nobody sees with one client."""
    save(
        files,
        [node("ReduceMax", ["X"], ["most"], keepdims=0), node("Div", ["X", "most"], ["Y"])],
        [tensor("X", ["n", 4])],
        [tensor("Y", ["n", 4])],
    )
    config = configure([spec("X", [4])], [spec("Y", [4])])
    report = check_backend(create(), config, files)
    names = {failure.name for failure in report.failures}
    assert "A row alone and among others gets the same answer" in names
