"""DLPack capsules to and from numpy, bfloat16 included.

Numpy has no bfloat16, so such a tensor crosses as its uint16 bits: the type code inside the
capsule (DLPack's `DLTensor.dtype`) is exchanged on the way. No device library is imported.
"""

import ctypes
from typing import Any

import numpy as np

from streamgate.model.datatypes import DataType
from streamgate.model.tensor import Array
from streamgate_python.conversions import datatype_of
from streamgate_python.errors import TritonModelException

CPU = 1
"""DLPack's device type of host memory (kDLCPU)."""

_CPU_PINNED = 3
_UNSIGNED = 1
_BFLOAT = 4
_NAME = b"dltensor"


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype = ctypes.c_int
_is_valid.argtypes = (ctypes.py_object, ctypes.c_char_p)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


class _Held:
    """Numpy takes an object with `__dlpack__`, not a bare capsule."""

    __slots__ = ("_capsule",)

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU, 0


def capsule(array: Array, datatype: DataType) -> Any:
    """A capsule over `array`, which stays alive with it. BYTES raises TritonModelException."""
    if datatype is DataType.BYTES:
        raise TritonModelException("DLPack does not have support for string tensors.")
    made = array.__dlpack__()
    if datatype is DataType.BF16:
        _view(made).code = _BFLOAT
    return made


def adopt(tensor: Any) -> tuple[Array, DataType]:
    """An array over the memory of a capsule or a tensor with `__dlpack__`, and its type."""
    if not _is_valid(tensor, _NAME):
        tensor = _exported(tensor)
    view = _view(tensor)
    if view.device_type not in {CPU, _CPU_PINNED}:
        raise TritonModelException(
            f"DLDevice type {view.device_type} is not supported: a capsule must lie in host memory"
        )
    bfloat = view.code == _BFLOAT and view.bits == 16
    if bfloat:
        view.code = _UNSIGNED
    view.device_type = CPU
    try:
        array: Array = np.from_dlpack(_Held(tensor))
    except (BufferError, RuntimeError) as error:
        raise TritonModelException(f"DLPack tensor has an unsupported type: {error}") from None
    if not array.flags.c_contiguous:
        raise TritonModelException(
            "DLPack tensor is not contiguous. Only contiguous DLPack tensors that are stored in "
            "C-Order are supported."
        )
    datatype = DataType.BF16 if bfloat else datatype_of(array.dtype)
    return _writable(array), datatype


def _exported(tensor: Any) -> Any:
    if not hasattr(tensor, "__dlpack__") or not hasattr(tensor, "__dlpack_device__"):
        raise TritonModelException(
            "Provided tensor is not supported. Tensor must be a DLPack capsule or have "
            "`__dlpack__` and `__dlpack_device__` attributes"
        )
    device_type = int(tensor.__dlpack_device__()[0])
    if device_type not in {CPU, _CPU_PINNED}:
        # The two ways to host memory that need no import of ours: PyTorch's and CuPy's.
        to_host = getattr(tensor, "cpu", None) or getattr(tensor, "get", None)
        if not callable(to_host):
            raise TritonModelException(
                f"DLDevice type {device_type} is not supported: the tensor must lie in host memory "
                "or have a method cpu()"
            )
        tensor = to_host()
    if isinstance(tensor, np.ndarray) and not tensor.flags.writeable:
        tensor = tensor.copy()
    return tensor.__dlpack__()


def _writable(array: Array) -> Array:
    """The same memory, writable: numpy takes every capsule of the first DLPack for read-only."""
    if array.flags.writeable or not array.nbytes:
        return array
    memory: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    memory.owner = array
    return np.ndarray(array.shape, array.dtype, memory)


def _view(held: Any) -> _DLTensor:
    return _DLTensor.from_address(_pointer(held, _NAME))
