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


def save_states(files: ModelFiles, *inputs: Any, prefix: str = "new_") -> None:
    """Each input is passed on to an output of its name with a prefix."""
    nodes = [node("Identity", [each.name], [f"{prefix}{each.name}"]) for each in inputs]
    outputs = []
    for each in inputs:
        output = copy.deepcopy(each)
        output.name = f"{prefix}{each.name}"
        outputs.append(output)
    save(files, nodes, inputs, outputs)


def states_parameter(text: str) -> dict[str, Any]:
    return {"streamgate.complete_states": {"string_value": text}}


def completed_with(files: ModelFiles, text: str, **given: Any) -> dict[str, Any]:
    config = {"name": "m", "backend": "onnxruntime", "parameters": states_parameter(text), **given}
    before = copy.deepcopy(config)
    result = create().auto_complete(config, files)
    assert config == before
    return dict(result)


def test_states_are_told_by_their_names(files: ModelFiles) -> None:
    int64 = DataType.INT64
    save_states(
        files,
        tensor("x", ("N", 45)),
        tensor("cached_key_0", (64, "N", 8)),
        tensor("cached_conv1_0", ("N", 16, 3)),
        tensor("processed_lens", ("N",), int64),
    )
    text = "cached_*=new_cached_*, processed_lens = new_processed_lens"
    result = completed_with(files, text, max_batch_size=4, sequence_batching={"oldest": {}})
    assert result["sequence_batching"] == {
        "oldest": {},
        "state": [
            {
                "input_name": "cached_key_0",
                "output_name": "new_cached_key_0",
                "data_type": "TYPE_FP32",
                "dims": [64, 8],
            },
            {
                "input_name": "cached_conv1_0",
                "output_name": "new_cached_conv1_0",
                "data_type": "TYPE_FP32",
                "dims": [16, 3],
            },
            {
                "input_name": "processed_lens",
                "output_name": "new_processed_lens",
                "data_type": "TYPE_INT64",
                "dims": [1],
            },
        ],
    }
    assert result["parameters"] == {
        **states_parameter(text),
        "streamgate.state_batch_axis.cached_key_0": {"string_value": "1"},
        "streamgate.state_scalar.processed_lens": {"string_value": "true"},
    }
    assert result["input"] == [fp32("x", 45)]
    assert result["output"] == [fp32("new_x", 45)]


def test_a_state_that_was_given_stays(files: ModelFiles) -> None:
    save_states(files, tensor("a", ("N", 2)), tensor("b", ("N", "T")))
    given = {"input_name": "b", "output_name": "new_b", "data_type": "TYPE_FP32", "dims": [7]}
    batching = {"state": [given]}
    result = completed_with(files, "*=new_*", max_batch_size=4, sequence_batching=batching)
    assert [each["input_name"] for each in result["sequence_batching"]["state"]] == ["b", "a"]
    assert result["sequence_batching"]["state"][0] == given


def test_states_without_a_batch(files: ModelFiles) -> None:
    save_states(files, tensor("x", (1, 4)), tensor("s", (2, 3)))
    result = completed_with(files, "s=new_s", sequence_batching={})
    (state,) = result["sequence_batching"]["state"]
    assert state["dims"] == [2, 3]
    assert result["parameters"] == states_parameter("s=new_s")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a", "found 'a', expected the name of an input, '='"),
        ("a*=new_a", "found 'a*=new_a', expected"),
        ("**=new_**", "found '**=new_**', expected"),
        ("a=new_a, z*=new_z*", "'z*=new_z*' fits no input and output of the graph"),
        ("b=new_b", "'b' has shape [-1,-1], expected one dimension of variable size (-1)"),
        ("c=new_a", "the types of 'c' (INT64) and 'new_a' (FP32) are those of no state"),
    ],
)
def test_states_that_do_not_fit(files: ModelFiles, text: str, complaint: str) -> None:
    c = tensor("c", ("N",), DataType.INT64)
    save_states(files, tensor("a", ("N", 2)), tensor("b", ("N", "T")), c)
    with pytest.raises(ConfigError) as caught:
        completed_with(files, text, max_batch_size=4, sequence_batching={})
    assert "parameter 'streamgate.complete_states' of model m does not fit the graph" in str(
        caught.value
    )
    assert complaint in str(caught.value)
