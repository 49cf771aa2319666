"""What the configuration says must be what the graph has; every difference is named at load."""

from collections.abc import Callable
from pathlib import Path

import pytest

from streamgate.backend.contract import ModelFiles
from streamgate.errors import Code, ConfigError
from streamgate.model.config import ControlInput, ControlKind, ModelConfig, StateSpec
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import TensorSpec
from streamgate_onnxruntime import create
from tests.backends.onnx_models import (
    configure,
    context,
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


def save_two_inputs(files: ModelFiles) -> None:
    """Y [n,4] = X [n,4] + where(START [n,1], 1, 0)."""
    save(
        files,
        [node("Cast", ["START"], ["start"], to=1), node("Add", ["X", "start"], ["Y"])],
        [tensor("X", ["n", 4]), tensor("START", ["n", 1], DataType.INT32)],
        [tensor("Y", ["n", 4])],
    )


def start(datatype: DataType = DataType.INT32, name: str = "START") -> ControlInput:
    return ControlInput(name, ControlKind.START, datatype)


X, Y = spec("X", [4]), spec("Y", [4])

MISFITS: dict[str, tuple[ModelConfig, str]] = {
    "missing input": (
        configure([X, spec("W", [4])], [Y], controls=[start()]),
        r"tensor 'W': the model configuration declares this input but the model has only X, START$",
    ),
    "missing output": (
        configure([X], [spec("Z", [4])], controls=[start()]),
        r"tensor 'Z': the model configuration declares this output but the model has only Y$",
    ),
    "missing control": (
        configure([X], [Y], controls=[start(), start(name="BEGIN")]),
        (r"tensor 'BEGIN': the model configuration declares this sequence control "
        r"CONTROL_SEQUENCE_START but the model has only X, START$"),
    ),
    "extra input": (
        configure([X], [Y]),
        (r"tensor 'START': the model needs this input \(INT32 \[-1,1\]\) but the model "
        r"configuration has it neither as an input nor as a sequence control or state$"),
    ),
    "input type": (
        configure([spec("X", [4], DataType.INT64)], [Y], controls=[start()]),
        (r"tensor 'X': the model has data type FP32 but the model configuration specifies "
        r"TYPE_INT64 for this input$"),
    ),
    "output type": (
        configure([X], [spec("Y", [4], DataType.BYTES)], controls=[start()]),
        (r"tensor 'Y': the model has data type FP32 but the model configuration specifies "
        r"TYPE_STRING for this output$"),
    ),
    "control type": (
        configure([X], [Y], controls=[start(DataType.FP32)]),
        (r"tensor 'START': the model has data type INT32 but the model configuration specifies "
        r"TYPE_FP32 for this sequence control CONTROL_SEQUENCE_START$"),
    ),
    "input rank": (
        configure([spec("X", [2, 4])], [Y], controls=[start()]),
        (r"tensor 'X': the model has 2 dimensions \(shape \[-1,4\]\) but the model configuration "
        r"specifies 3 dimensions \(shape \[-1,2,4\]\): dims \[2,4\] and the batch dimension at "
        r"axis 0, because max_batch_size is 8$"),
    ),
    "input size": (
        configure([spec("X", [5])], [Y], controls=[start()]),
        (r"tensor 'X': the model has 2 dimensions \(shape \[-1,4\]\) but the model configuration "
        r"specifies 2 dimensions \(shape \[-1,5\]\)"),
    ),
    "input of any size for a graph of one": (
        configure([spec("X", [-1])], [Y], controls=[start()]),
        r"tensor 'X': .* specifies 2 dimensions \(shape \[-1,-1\]\)",
    ),
    "output size": (
        configure([X], [spec("Y", [3])], controls=[start()]),
        r"tensor 'Y': .* specifies 2 dimensions \(shape \[-1,3\]\)",
    ),
    "unbatched rank": (
        configure([X], [spec("Y", [-1, 4])], 0, controls=[start()]),
        (r"tensor 'X': the model has 2 dimensions \(shape \[-1,4\]\) but the model configuration "
        r"specifies 1 dimensions \(shape \[4\]\); tensor 'START'"),
    ),
    "ragged": (
        configure(
            [TensorSpec("X", DataType.FP32, (4,), ragged=True)], [Y], controls=[start()]
        ),
        r"tensor 'X': allow_ragged_batch is not supported",
    ),
    "optional without default": (
        configure(
            [TensorSpec("X", DataType.FP32, (4,), optional=True)], [Y], controls=[start()]
        ),
        (r"tensor 'X': the model configuration makes this input optional but the model has no "
        r"default"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_a_misfit_is_named(files: ModelFiles, case: str) -> None:
    config, message = MISFITS[case]
    save_two_inputs(files)
    with pytest.raises(ConfigError, match="^unable to load model 'm', " + message) as caught:
        create().load(context(config, files))
    assert caught.value.code is Code.INVALID_ARG


def test_every_misfit_is_named_at_once(files: ModelFiles) -> None:
    save_two_inputs(files)
    config = configure([spec("X", [5], DataType.INT8)], [spec("Z", [4])])
    with pytest.raises(ConfigError) as caught:
        create().load(context(config, files))
    for words in ("data type FP32", "shape [-1,5]", "tensor 'Z'", "tensor 'START'"):
        assert words in caught.value.message


def test_what_fits_loads(files: ModelFiles) -> None:
    save_two_inputs(files)
    create().load(context(configure([X], [Y], controls=[start()]), files)).close()
    anything = spec("Y", [-1])
    create().load(context(configure([X], [anything], controls=[start()]), files)).close()
    reshaped = TensorSpec("X", DataType.FP32, (2, 2), reshape=(4,))
    create().load(context(configure([reshaped], [Y], controls=[start()]), files)).close()


def test_a_graph_with_a_fixed_batch_size_does_not_batch(files: ModelFiles) -> None:
    save(files, [node("Relu", ["X"], ["Y"])], [tensor("X", [1, 4])], [tensor("Y", [1, 4])])
    with pytest.raises(ConfigError) as caught:
        create().load(context(configure([X], [Y]), files))
    assert caught.value.message == (
        "unable to load model 'm', tensor 'X': to batch (max_batch_size is 8) the first dimension "
        "of the model's tensor must be of variable size (-1), but its shape is [1,4]; export the "
        "model with a dynamic batch dimension or set max_batch_size to 0; tensor 'Y': to batch "
        "(max_batch_size is 8) the first dimension of the model's tensor must be of variable size "
        "(-1), but its shape is [1,4]; export the model with a dynamic batch dimension or set "
        "max_batch_size to 0"
    )


def one_state(**changes: object) -> StateSpec:
    fields: dict[str, object] = {
        "input_name": "total",
        "output_name": "total_out",
        "datatype": DataType.FP32,
        "shape": (4,),
    }
    return StateSpec(**(fields | changes))  # type: ignore[arg-type]


STATE_MISFITS: dict[str, tuple[Callable[[], StateSpec], str]] = {
    "input name": (
        lambda: one_state(input_name="sum"),
        r"tensor 'sum': the model configuration declares this state input but the model has only",
    ),
    "output name": (
        lambda: one_state(output_name="sum"),
        r"tensor 'sum': the model configuration declares this state output but the model has only",
    ),
    "type": (
        lambda: one_state(datatype=DataType.FP16),
        (
            r"tensor 'total': the model has data type FP32 but the model configuration specifies "
            r"TYPE_FP16 for this state input; tensor 'total_out': .* for this state output$"
        ),
    ),
    "size": (
        lambda: one_state(shape=(5,)),
        (
            r"tensor 'total': the model has 2 dimensions \(shape \[-1,4\]\) but the model "
            r"configuration specifies 2 dimensions \(shape \[-1,5\]\): dims \[5\] and the batch "
            r"dimension at axis 0"
        ),
    ),
    "axis": (
        lambda: one_state(batch_axis=1),
        (
            r"tensor 'total': to batch \(max_batch_size is 8\) dimension 1 of the model's tensor "
            r"must be of variable size \(-1\), but its shape is \[-1,4\]"
        ),
    ),
    "growing state in a graph of one size": (
        lambda: one_state(shape=(-1,)),
        r"tensor 'total': .* specifies 2 dimensions \(shape \[-1,-1\]\)",
    ),
}


@pytest.mark.parametrize("case", STATE_MISFITS)
def test_a_state_that_does_not_fit_is_named(files: ModelFiles, case: str) -> None:
    make, message = STATE_MISFITS[case]
    save_running_sum(files)
    config = configure([spec("INPUT", [4])], [spec("OUTPUT", [4])], states=[make()])
    with pytest.raises(ConfigError, match="^unable to load model 'm', " + message):
        create().load(context(config, files))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_state_fits_at_its_batch_axis(files: ModelFiles, axis: int) -> None:
    save_running_sum(files, axis)
    create().load(context(running_sum(axis), files)).close()
    with pytest.raises(ConfigError, match="tensor 'total'"):
        create().load(context(running_sum(1 - axis), files))


def test_an_output_of_unknown_rank_fits_any_shape(files: ModelFiles) -> None:
    # ONNX Runtime infers shapes, so the rank must depend on a value that only a step has.
    save(
        files,
        [node("Reshape", ["X", "S"], ["Y"])],
        [tensor("X", ["n", 4]), tensor("S", ["k"], DataType.INT64)],
        [tensor("Y", None)],
    )
    config = configure(
        [spec("X", [-1, 4]), spec("S", [-1], DataType.INT64)], [spec("Y", [2, 2])], 0
    )
    create().load(context(config, files)).close()


def test_a_type_that_no_client_can_send_is_named(files: ModelFiles) -> None:
    from onnx import helper

    sequence = helper.make_tensor_sequence_value_info("Q", 1, None)
    save(
        files,
        [node("SequenceConstruct", ["X"], ["Q"])],
        [tensor("X", ["n", 4])],
        [sequence],
    )
    with pytest.raises(ConfigError, match=r"tensor 'Q': the model has data type seq\(tensor"):
        create().load(context(configure([X], [spec("Q", [4])]), files))
