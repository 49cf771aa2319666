"""`pb_utils.Tensor`: a named numpy array, whether a model made it or a client sent it.

Data is copied once on the way in, when the model first asks for it: its array is its own, and
writable, as Triton's are. It is copied once on the way out, when a response is sent: a model
may go on using the array that it answered with.
"""

from typing import Any

import numpy as np

from streamgate.errors import StreamGateError
from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array, Shape
from streamgate.model.tensor import Tensor as ModelTensor
from streamgate_python import dlpack
from streamgate_python.conversions import NUMBERS, bytes_elements, datatype_of
from streamgate_python.errors import TritonModelException

# A member looked up through its enum costs as much as the rest of a line.
_BYTES = DataType.BYTES
_BF16 = DataType.BF16


class Tensor:
    """A tensor made by a model from a numpy array.

    Raises TypeError unless `array` is a numpy array, TritonModelException for an empty name or a
    numpy type that has no wire type. A non-contiguous array is copied at once.
    """

    __slots__ = ("_array", "_datatype", "_name")

    _array: Array | None

    def __init__(self, name: str, array: Array) -> None:
        if not isinstance(name, str):
            raise TypeError(f"Tensor: name must be str, found {type(name)}")
        if not isinstance(array, np.ndarray):
            raise TypeError(f"Tensor '{name}': expected a numpy array, found {type(array)}")
        if not name:
            raise TritonModelException("Tensor name cannot be an empty string.")
        self._datatype = datatype_of(array.dtype)
        self._name = name
        self._array = array if array.flags.c_contiguous else np.ascontiguousarray(array)

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        """The data; BYTES as an object array. Raises TritonModelException for BF16."""
        if self._datatype is _BF16:
            raise TritonModelException(
                "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and "
                "from_dlpack() instead."
            )
        return self._own()

    def shape(self) -> list[int]:
        return list(self._own().shape)

    def triton_dtype(self) -> int:
        """Triton's type number, as `pb_utils.numpy_to_triton_type` gives it."""
        return NUMBERS[self._datatype]

    def is_cpu(self) -> bool:
        """Always true: tensors of this backend lie in host memory."""
        return True

    def to_dlpack(self) -> Any:
        """A DLPack capsule over the tensor's memory."""
        return dlpack.capsule(self._own(), self._datatype)

    @staticmethod
    def from_dlpack(name: str, tensor: Any) -> "Tensor":
        """A tensor over the memory of a DLPack capsule or of anything with `__dlpack__`.

        Memory of a device is copied to the host. Raises TritonModelException when the tensor is
        not contiguous or has a type without a wire type.
        """
        array, datatype = dlpack.adopt(tensor)
        made = Tensor(name, array)
        made._datatype = datatype
        return made

    def __dlpack__(self, stream: Any = None, **_: Any) -> Any:
        return self.to_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CPU, 0

    def _own(self) -> Array:
        assert self._array is not None
        return self._array

    def _outgoing(self) -> ModelTensor:
        """The tensor as a response carries it, with its own copy of the data."""
        array = self._own()
        datatype = self._datatype
        if datatype is _BYTES:
            return ModelTensor(self._name, datatype, array.shape, array=bytes_elements(array))
        return ModelTensor(self._name, datatype, array.shape, raw=array.tobytes())

    def _copy(self) -> tuple[DataType, Array]:
        """The tensor's type and a copy of its data, as a sequence's state is kept."""
        array = self._own()
        if self._datatype is _BYTES:
            return _BYTES, bytes_elements(array)
        return self._datatype, array.copy()


class InputTensor(Tensor):
    """A tensor of a received request. It costs nothing until it is read."""

    __slots__ = ("_source",)

    def __init__(self, source: ModelTensor) -> None:
        self._source = source
        self._name = source.name
        self._datatype = source.datatype
        self._array = None

    def shape(self) -> list[int]:
        return list(self._source.shape)

    def _own(self) -> Array:
        array = self._array
        if array is None:
            array = self._array = _copied(self._source)
        return array

    def _outgoing(self) -> ModelTensor:
        if self._array is not None:
            return super()._outgoing()
        source = self._source
        shape: Shape = source.shape
        return ModelTensor(source.name, source.datatype, shape, raw=bytes(source.raw))


def _copied(source: ModelTensor) -> Array:
    """A writable copy of a tensor's data, in the fewest steps."""
    datatype = source.datatype
    if source.is_raw and datatype is not _BYTES:
        return np.ndarray(source.shape, datatype.dtype, bytearray(source.raw))
    try:
        return source.array.copy()
    except StreamGateError as error:
        raise TritonModelException(error.message) from None
