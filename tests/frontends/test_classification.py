import numpy as np
import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.classification import classify
from streamgate.model.datatypes import DataType, from_numpy
from streamgate.model.tensor import Array, Tensor


def tensor(values: object, dtype: type) -> Tensor:
    array: Array = np.array(values, dtype)
    datatype = from_numpy(array.dtype)
    assert datatype is not None
    return Tensor.of("OUT", array, datatype)


def test_values_come_largest_first_with_index_and_label() -> None:
    found = classify(
        tensor([[0.5, 2.0, -1.0]], np.float32), 2, batches=True, labels=("cat", "dog", "cow")
    )
    assert found.datatype is DataType.BYTES
    assert found.shape == (1, 2)
    assert found.array.tolist() == [[b"2.000000:1:dog", b"0.500000:0:cat"]]


def test_an_index_beyond_the_labels_has_none() -> None:
    found = classify(tensor([1.0, 3.0], np.float64), 2, batches=False, labels=("cat",))
    assert found.array.tolist() == [b"3.000000:1", b"1.000000:0:cat"]


def test_without_batching_the_whole_tensor_is_one_vector() -> None:
    found = classify(tensor([[1, 9], [7, 3]], np.int32), 3, batches=False)
    assert found.shape == (3,)
    assert found.array.tolist() == [b"9:1", b"7:2", b"3:3"]


def test_with_batching_the_other_dimensions_form_the_vector() -> None:
    found = classify(tensor([[[1, 2], [3, 4]], [[8, 7], [6, 5]]], np.uint8), 1, batches=True)
    assert found.shape == (2, 1)
    assert found.array.tolist() == [[b"4:3"], [b"8:0"]]


def test_more_classes_than_there_are() -> None:
    assert classify(tensor([[1, 2]], np.int64), 10, batches=True).shape == (1, 2)


def test_equal_values_keep_their_order_and_nan_comes_last() -> None:
    found = classify(tensor([1.0, np.nan, 1.0, 5.0], np.float32), 4, batches=False)
    assert found.array.tolist() == [b"5.000000:3", b"1.000000:0", b"1.000000:2", b"nan:1"]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
@pytest.mark.parametrize("batches", [True, False])
def test_nothing_to_classify(shape: tuple[int, ...], batches: bool) -> None:
    found = classify(tensor(np.zeros(shape), np.float32), 3, batches=batches)
    assert found.count == 0


@pytest.mark.parametrize("dtype", [np.float16, np.bool_])
def test_types_without_an_order_are_refused(dtype: type) -> None:
    with pytest.raises(StreamGateError) as raised:
        classify(tensor([1, 0], dtype), 1, batches=False)
    name = "FP16" if dtype is np.float16 else "BOOL"
    assert raised.value.code is Code.INVALID_ARG
    assert raised.value.message == (
        f"class result not available for output due to unsupported type '{name}'"
    )


def test_the_result_has_a_raw_form() -> None:
    raw = bytes(classify(tensor([4, 5], np.int8), 1, batches=False).raw)
    assert raw == b"\x03\x00\x00\x005:1"
