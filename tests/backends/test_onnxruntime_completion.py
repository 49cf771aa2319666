import copy
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from streamgate.backend.contract import ModelFiles
from streamgate.errors import Code, ConfigError, LoadError
from streamgate.model.datatypes import DataType
from streamgate_onnxruntime import create
from tests.backends.onnx_models import model_files, node, save, save_running_sum, tensor


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    return model_files(tmp_path)


def completed(files: ModelFiles, **given: Any) -> dict[str, Any]:
    """What auto-completion adds, once it is sure that nothing given changed."""
    config = {"name": "m", "backend": "onnxruntime", **given}
    before = copy.deepcopy(config)
    result = create().auto_complete(config, files)
    assert config == before
    assert {key: result[key] for key in before} == before
    return {key: value for key, value in result.items() if key not in before}


def fp32(name: str, *dims: int) -> dict[str, Any]:
    return {"name": name, "data_type": "TYPE_FP32", "dims": list(dims)}


def save_relu(files: ModelFiles, *shape: int | str) -> None:
    save(files, [node("Relu", ["X"], ["Y"])], [tensor("X", shape)], [tensor("Y", shape)])


def test_a_graph_that_can_batch_does(files: ModelFiles) -> None:
    save_relu(files, "n", 4, "length")
    assert completed(files) == {
        "max_batch_size": 4,
        "dynamic_batching": {},
        "input": [fp32("X", 4, -1)],
        "output": [fp32("Y", 4, -1)],
    }


def test_a_graph_of_fixed_shape_does_not(files: ModelFiles) -> None:
    save_relu(files, 1, 4)
    assert completed(files) == {"input": [fp32("X", 1, 4)], "output": [fp32("Y", 1, 4)]}


@pytest.mark.parametrize("size", [1, 2, 8])
def test_a_given_batch_size_stays(files: ModelFiles, size: int) -> None:
    save_relu(files, "n", 4)
    added = completed(files, max_batch_size=size)
    assert added.pop("dynamic_batching", None) == (None if size == 1 else {})
    assert added == {"input": [fp32("X", 4)], "output": [fp32("Y", 4)]}


def test_a_given_zero_means_no_batching(files: ModelFiles) -> None:
    save_relu(files, "n", 4)
    added = completed(files, max_batch_size=0)
    assert added == {"input": [fp32("X", -1, 4)], "output": [fp32("Y", -1, 4)]}


def test_a_given_scheduler_stays_alone(files: ModelFiles) -> None:
    save_relu(files, "n", 4)
    batching = {"max_queue_delay_microseconds": 100}
    added = completed(files, max_batch_size=8, dynamic_batching=batching)
    assert set(added) == {"input", "output"}


def test_given_inputs_stay_and_outputs_are_added(files: ModelFiles) -> None:
    save_relu(files, "n", 4)
    added = completed(files, input=[fp32("X", 4)])
    assert added == {"max_batch_size": 4, "dynamic_batching": {}, "output": [fp32("Y", 4)]}


def test_given_inputs_with_whole_shapes_mean_no_batching(files: ModelFiles) -> None:
    save_relu(files, "n", 4)
    assert completed(files, input=[fp32("X", -1, 4)]) == {"output": [fp32("Y", -1, 4)]}


def test_a_complete_configuration_needs_no_file(files: ModelFiles) -> None:
    assert completed(files, input=[fp32("X", 4)], output=[fp32("Y", 4)]) == {}


def test_states_and_controls_are_no_inputs(files: ModelFiles) -> None:
    save(
        files,
        [
            node("Cast", ["START"], ["start"], to=1),
            node("Add", ["X", "start"], ["Y"]),
            node("Identity", ["S"], ["S_out"]),
        ],
        [
            tensor("X", ["n", 4]),
            tensor("START", ["n", 1], DataType.INT32),
            tensor("S", [2, "n", 3], DataType.FP16),
        ],
        [tensor("Y", ["n", 4]), tensor("S_out", [2, "n", 3], DataType.FP16)],
    )
    batching = {
        "control_input": [
            {
                "name": "START",
                "control": [{"kind": "CONTROL_SEQUENCE_START", "int32_false_true": [0, 1]}],
            }
        ],
        "state": [
            {"input_name": "S", "output_name": "S_out", "data_type": "TYPE_FP16", "dims": [2, 3]}
        ],
    }
    assert completed(files, sequence_batching=batching) == {
        "max_batch_size": 4,
        "input": [fp32("X", 4)],
        "output": [fp32("Y", 4)],
    }


def test_a_state_with_its_whole_shape_means_no_batching(files: ModelFiles) -> None:
    save_running_sum(files)
    state = {
        "input_name": "total",
        "output_name": "total_out",
        "data_type": "TYPE_FP32",
        "dims": [1, 4],
    }
    added = completed(files, sequence_batching={"state": [state]})
    assert added == {"input": [fp32("INPUT", -1, 4)], "output": [fp32("OUTPUT", -1, 4)]}


def test_a_batch_size_that_the_graph_refuses_is_an_error(files: ModelFiles) -> None:
    save_relu(files, 1, 4)
    with pytest.raises(
        ConfigError,
        match="^autofill failed for model 'm': model does not support batching while non-zero "
        r"max_batch_size is specified. max_batch_size is 8, .* 'X' \[1,4\], 'Y' \[1,4\]$",
    ):
        completed(files, max_batch_size=8)


def test_tensors_without_dims_get_one(files: ModelFiles) -> None:
    save_relu(files, "n")
    added = completed(files, max_batch_size=2)
    assert added["input"] == [fp32("X", 1) | {"reshape": {"shape": []}}]
    save_relu(files)
    assert completed(files) == {"input": [fp32("X", 1)], "output": [fp32("Y", 1)]}


def test_an_input_with_a_default_is_not_added(files: ModelFiles) -> None:
    import numpy as np

    save(
        files,
        [node("Add", ["X", "D"], ["Y"])],
        [tensor("X", ["n", 2]), tensor("D", [2])],
        [tensor("Y", ["n", 2])],
        {"D": np.ones(2, np.float32)},
    )
    assert completed(files)["input"] == [fp32("X", 2)]


def test_outputs_that_no_client_can_be_sent_are_left_out(files: ModelFiles) -> None:
    sequence = helper.make_tensor_sequence_value_info("Q", 1, None)
    made = node("SequenceConstruct", ["X"], ["Q"])
    x = tensor("X", ["n", 4])
    save(files, [made, node("Relu", ["X"], ["Y"])], [x], [sequence, tensor("Y", ["n", 4])])
    assert completed(files)["output"] == [fp32("Y", 4)]
    save(files, [made], [x], [sequence])
    with pytest.raises(LoadError, match=r"unsupported type of output 'Q' seq\(tensor") as caught:
        completed(files)
    assert caught.value.code is Code.UNSUPPORTED


def test_a_missing_or_broken_file_is_named(files: ModelFiles) -> None:
    with pytest.raises(LoadError, match="unable to find"):
        completed(files)
    files.path.parent.mkdir(parents=True)
    files.path.write_bytes(b"nonsense")
    with pytest.raises(LoadError, match=r"model 'm': onnx runtime error 7: .*Protobuf"):
        completed(files)


def test_the_control_that_says_how_a_sequence_ended_is_no_clients_input(files: ModelFiles) -> None:
    save(
        files,
        [node("Add", ["X", "WHY"], ["Y"])],
        [tensor("X", ["n", 1]), tensor("WHY", ["n", 1])],
        [tensor("Y", ["n", 1])],
    )
    added = completed(
        files,
        sequence_batching={},
        parameters={"streamgate.end_reason_control": {"string_value": "WHY"}},
    )
    assert added["input"] == [fp32("X", 1)]
