"""`pb_utils.Tensor`, responses and errors as values, types by their names, DLPack."""

import gc
from typing import Any

import numpy as np
import pytest

from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array
from streamgate.model.tensor import Tensor as ModelTensor
from streamgate_python import triton_python_backend_utils as pb_utils
from streamgate_python.tensors import InputTensor

pytestmark = pytest.mark.usefixtures("execution")

Tensor = pb_utils.Tensor

TYPES = [
    ("TYPE_BOOL", np.bool_, 1),
    ("TYPE_UINT8", np.uint8, 2),
    ("TYPE_UINT16", np.uint16, 3),
    ("TYPE_UINT32", np.uint32, 4),
    ("TYPE_UINT64", np.uint64, 5),
    ("TYPE_INT8", np.int8, 6),
    ("TYPE_INT16", np.int16, 7),
    ("TYPE_INT32", np.int32, 8),
    ("TYPE_INT64", np.int64, 9),
    ("TYPE_FP16", np.float16, 10),
    ("TYPE_FP32", np.float32, 11),
    ("TYPE_FP64", np.float64, 12),
    ("TYPE_STRING", np.object_, 13),
]


class TestTensor:
    @pytest.mark.parametrize(("config_name", "numpy_type", "number"), TYPES)
    def test_every_type(self, config_name: str, numpy_type: type, number: int) -> None:
        array: Array = np.array([[1, 0]], dtype=numpy_type)
        tensor = Tensor("T", array)
        assert tensor.as_numpy() is array
        assert tensor.shape() == [1, 2]
        assert tensor.triton_dtype() == number
        assert tensor.is_cpu()
        assert np.dtype(pb_utils.triton_string_to_numpy(config_name)) == numpy_type
        assert pb_utils.numpy_to_triton_type(numpy_type) == number
        assert pb_utils.triton_to_numpy_type(number) == numpy_type

    def test_byte_strings_are_text(self) -> None:
        tensor = Tensor("T", np.array([b"a", b"bc"]))
        assert tensor.triton_dtype() == 13
        assert tensor._outgoing().array.tolist() == [b"a", b"bc"]
        assert pb_utils.numpy_to_triton_type(np.bytes_) == 13

    def test_text_elements_are_bytes_or_anything_with_a_text(self) -> None:
        tensor = Tensor("T", np.array([b"\xff", "ß", 7], dtype=object))
        assert tensor._outgoing().array.tolist() == [b"\xff", "ß".encode(), b"7"]

    @pytest.mark.parametrize(
        "array",
        [
            np.array(["text"]),
            np.array([1j]),
            np.array(["2020-01-01"], dtype="datetime64[D]"),
            np.array([1], dtype=">i4"),
        ],
        ids=["unicode", "complex", "date", "big-endian"],
    )
    def test_types_without_a_wire_type(self, array: Any) -> None:
        with pytest.raises(
            pb_utils.TritonModelException, match=r"^NumPy dtype is not supported\.$"
        ):
            Tensor("T", array)

    def test_an_empty_name(self) -> None:
        with pytest.raises(pb_utils.TritonModelException, match="cannot be an empty string"):
            Tensor("", np.zeros(1))

    @pytest.mark.parametrize("value", [[1, 2], 3, None, np.float32(1)])
    def test_something_else_than_an_array(self, value: Any) -> None:
        with pytest.raises(TypeError, match="expected a numpy array, found <class"):
            Tensor("T", value)

    def test_no_dimensions_and_no_elements(self) -> None:
        assert Tensor("T", np.array(3.0)).shape() == []
        empty = Tensor("T", np.zeros((2, 0), np.int16))._outgoing()
        assert (empty.shape, bytes(empty.raw)) == ((2, 0), b"")

    def test_non_contiguous_arrays_are_copied(self) -> None:
        array = np.arange(6, dtype=np.int32).reshape(2, 3)
        tensor = Tensor("T", array.T)
        array[:] = 0
        assert tensor.as_numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
        assert tensor._outgoing().array.tolist() == [[0, 3], [1, 4], [2, 5]]


class TestDLPack:
    def test_round_trip_through_a_capsule(self) -> None:
        source = Tensor("A", np.arange(6, dtype=np.int16).reshape(2, 3))
        other = Tensor.from_dlpack("B", source.to_dlpack())
        assert (other.name(), other.shape(), other.triton_dtype()) == ("B", [2, 3], 7)
        other.as_numpy()[0, 0] = 9
        assert source.as_numpy()[0, 0] == 9
        again = Tensor.from_dlpack("C", other.to_dlpack())
        assert again.as_numpy().tolist() == [[9, 1, 2], [3, 4, 5]]

    def test_a_tensor_is_a_dlpack_tensor_itself(self) -> None:
        source = Tensor("A", np.arange(3, dtype=np.float32))
        assert source.__dlpack_device__() == (1, 0)
        assert np.from_dlpack(source).tolist() == [0, 1, 2]
        assert source.__dlpack__(stream=None) is not None
        assert Tensor.from_dlpack("B", source).as_numpy().tolist() == [0, 1, 2]

    def test_inputs_too(self) -> None:
        raw = np.arange(3, dtype=np.float32).tobytes()
        tensor = InputTensor(ModelTensor("I", DataType.FP32, (3,), raw=raw))
        assert np.from_dlpack(tensor).tolist() == [0, 1, 2]

    def test_numpy_arrays_writable_or_not(self) -> None:
        array = np.array([False, True, True])
        array.flags.writeable = False
        assert Tensor.from_dlpack("B", array).as_numpy().tolist() == [False, True, True]

    def test_the_memory_lives_as_long_as_the_tensor(self) -> None:
        tensor = Tensor.from_dlpack("B", Tensor("A", np.full(1000, 7, np.int64)).to_dlpack())
        gc.collect()
        np.full(1000, 9, np.int64)
        assert set(tensor.as_numpy().tolist()) == {7}

    def test_no_elements(self) -> None:
        empty = Tensor("A", np.zeros((0, 2), np.int8)).to_dlpack()
        assert Tensor.from_dlpack("B", empty).shape() == [0, 2]

    def test_bfloat16_crosses_as_its_bits(self) -> None:
        raw = np.array([0x3F80, 0x4000], np.uint16).tobytes()
        source = InputTensor(ModelTensor("I", DataType.BF16, (2,), raw=raw))
        with pytest.raises(pb_utils.TritonModelException, match="BF16 and cannot be converted"):
            source.as_numpy()
        with pytest.raises((BufferError, RuntimeError, TypeError)):
            np.from_dlpack(source)
        other = Tensor.from_dlpack("B", source.to_dlpack())
        assert other.triton_dtype() == 14
        sent = other._outgoing()
        assert (sent.datatype, bytes(sent.raw)) == (DataType.BF16, raw)

    def test_text_has_no_dlpack(self) -> None:
        with pytest.raises(pb_utils.TritonModelException, match="string tensors"):
            Tensor("A", np.array([b"a"], object)).to_dlpack()

    def test_non_contiguous_memory(self) -> None:
        with pytest.raises(pb_utils.TritonModelException, match="not contiguous"):
            Tensor.from_dlpack("B", np.zeros((4, 4))[:, ::2])

    def test_a_capsule_is_used_once(self) -> None:
        capsule = Tensor("A", np.zeros(1)).to_dlpack()
        Tensor.from_dlpack("B", capsule)
        with pytest.raises(pb_utils.TritonModelException, match="Provided tensor is not supported"):
            Tensor.from_dlpack("B", capsule)

    @pytest.mark.parametrize("value", [[1], None, "text"])
    def test_something_else(self, value: Any) -> None:
        with pytest.raises(pb_utils.TritonModelException, match="Provided tensor is not supported"):
            Tensor.from_dlpack("B", value)

    def test_complex_numbers(self) -> None:
        with pytest.raises(pb_utils.TritonModelException, match="dtype is not supported"):
            Tensor.from_dlpack("B", np.zeros(1, complex))

    def test_device_memory_is_copied_to_the_host(self) -> None:
        class DeviceTensor:
            def __dlpack_device__(self) -> tuple[int, int]:
                return 2, 0

            def __dlpack__(self, **_: Any) -> Any:
                raise AssertionError("the device's memory was exported")

            def cpu(self) -> Any:
                return np.arange(2, dtype=np.int8)

        assert Tensor.from_dlpack("B", DeviceTensor()).as_numpy().tolist() == [0, 1]

    def test_device_memory_that_can_not_be_copied(self) -> None:
        class DeviceTensor:
            def __dlpack_device__(self) -> tuple[int, int]:
                return 2, 0

            def __dlpack__(self) -> Any:
                return None

        with pytest.raises(pb_utils.TritonModelException, match="DLDevice type 2 is not supported"):
            Tensor.from_dlpack("B", DeviceTensor())


class TestResponse:
    def test_reads_as_it_was_made(self) -> None:
        tensor = Tensor("O", np.zeros(1))
        response = pb_utils.InferenceResponse([tensor], parameters={"a": "b"})
        assert response.output_tensors() == [tensor]
        assert not response.has_error()
        assert response.error() is None
        assert response.parameters() == '{"a": "b"}'
        assert pb_utils.get_output_tensor_by_name(response, "O") is tensor
        assert pb_utils.get_output_tensor_by_name(response, "X") is None

    def test_with_nothing(self) -> None:
        response = pb_utils.InferenceResponse()
        assert (response.output_tensors(), response.parameters()) == ([], "{}")

    def test_an_error(self) -> None:
        error = pb_utils.TritonError("text", pb_utils.TritonError.UNAVAILABLE)
        response = pb_utils.InferenceResponse(error=error)
        assert response.has_error()
        assert response.error() is error
        assert (error.message(), error.code()) == ("text", pb_utils.TritonError.UNAVAILABLE)

    def test_error_codes_are_tritons_numbers(self) -> None:
        names = "UNKNOWN INTERNAL NOT_FOUND INVALID_ARG UNAVAILABLE UNSUPPORTED ALREADY_EXISTS"
        codes = [getattr(pb_utils.TritonError, name) for name in (*names.split(), "CANCELLED")]
        assert codes == list(range(8))
        assert pb_utils.TritonError("text").code() == 1

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            (
                {"output_tensors": [None]},
                pb_utils.TritonModelException,
                "Output tensor for inference response should not be empty.",
            ),
            ({"output_tensors": ["x"]}, TypeError, "must hold Tensors, found <class 'str'>"),
            ({"output_tensors": None}, TypeError, "NoneType"),
            ({"error": "text"}, TypeError, "must be a TritonError, found <class 'str'>"),
            (
                {"parameters": {"a": 1.0}},
                pb_utils.TritonModelException,
                "bool/int/str, found type <class 'float'>",
            ),
            ({"parameters": [1]}, pb_utils.TritonModelException, "to be a dict"),
        ],
    )
    def test_wrong_arguments(
        self, arguments: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        with pytest.raises(error, match=text):
            pb_utils.InferenceResponse(**arguments)

    @pytest.mark.parametrize(("message", "code"), [(3, 1), ("text", 8), ("text", "INTERNAL")])
    def test_wrong_errors(self, message: Any, code: Any) -> None:
        with pytest.raises(TypeError, match="TritonError"):
            pb_utils.TritonError(message, code)


class TestConversions:
    def test_raw_text_there_and_back(self) -> None:
        array = np.array([[b"ab", b""], [b"\0", "ß"]], dtype=object)
        raw = pb_utils.serialize_byte_tensor(array)
        assert isinstance(raw, bytes)
        assert raw.startswith(b"\x02\0\0\0ab\0\0\0\0")
        back = pb_utils.deserialize_bytes_tensor(raw)
        assert back.tolist() == [b"ab", b"", b"\0", "ß".encode()]
        assert back.dtype == np.object_

    def test_nothing_and_other_types(self) -> None:
        assert pb_utils.serialize_byte_tensor(np.array([], object)) == ()
        assert pb_utils.serialize_byte_tensor(np.zeros(1)) is None
        assert pb_utils.deserialize_bytes_tensor(b"").shape == (0,)

    @pytest.mark.parametrize("raw", [b"\x02\0", b"\x02\0\0\0a"])
    def test_cut_text(self, raw: bytes) -> None:
        with pytest.raises(pb_utils.TritonModelException, match="Invalid bytes tensor data"):
            pb_utils.deserialize_bytes_tensor(raw)

    def test_names_without_a_type(self) -> None:
        assert pb_utils.triton_to_numpy_type(14) is None
        assert pb_utils.numpy_to_triton_type(np.complex64) is None
        with pytest.raises(KeyError):
            pb_utils.triton_string_to_numpy("TYPE_BF16")
        assert set(pb_utils.TRITON_STRING_TO_NUMPY) == {name for name, _, _ in TYPES}

    def test_configuration_entries(self) -> None:
        config = {
            "input": [{"name": "A", "dims": [1]}],
            "output": [{"name": "B"}],
            "model_transaction_policy": {"decoupled": True},
        }
        assert pb_utils.get_input_config_by_name(config, "A") == {"name": "A", "dims": [1]}
        assert pb_utils.get_input_config_by_name(config, "B") is None
        assert pb_utils.get_output_config_by_name(config, "B") == {"name": "B"}
        assert pb_utils.get_output_config_by_name({}, "B") is None
        assert pb_utils.using_decoupled_model_transaction_policy(config)
        assert not pb_utils.using_decoupled_model_transaction_policy({})
