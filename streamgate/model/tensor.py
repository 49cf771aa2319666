"""Tensors as every floor sees them: a name, a type, a shape and a buffer that is never copied.

A tensor that came from a socket holds the raw bytes of the message; one that came from a model
holds a numpy array. Each form is made from the other on demand and kept.
"""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from streamgate.errors import Code, StreamGateError
from streamgate.model.datatypes import DataType

Array = NDArray[Any]
Shape = tuple[int, ...]
Buffer = bytes | bytearray | memoryview

LARGE_BYTES: Final = 2**14
"""From here on it is worth some trouble to copy a tensor less often."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model declares about one input or output.

    `shape` is the shape of one request's tensor without the batch dimension when the model
    batches, and the whole shape when it does not; -1 stands for any size. `reshape` is the shape
    that the model itself sees instead, when the configuration asks for one.
    """

    name: str
    datatype: DataType
    shape: Shape
    optional: bool = False
    ragged: bool = False
    reshape: Shape | None = None
    labels: tuple[str, ...] = ()

    @property
    def model_shape(self) -> Shape:
        return self.shape if self.reshape is None else self.reshape


@final
class Tensor:
    """One tensor of a request or response.

    `shape` is the full shape, batch dimension included. Give either `array` (numpy, C-contiguous
    not required; `object` elements of bytes for BYTES; `uint16` bits for BF16) or `raw` (KServe
    raw form: little endian, row-major; BYTES elements each led by a uint32 length).
    """

    __slots__ = ("_array", "_raw", "datatype", "name", "shape")

    def __init__(
        self,
        name: str,
        datatype: DataType,
        shape: Shape,
        *,
        array: Array | None = None,
        raw: Buffer | None = None,
    ) -> None:
        self.name = name
        self.datatype = datatype
        self.shape = shape
        self._array = array
        self._raw = raw

    @classmethod
    def of(cls, name: str, array: Array, datatype: DataType) -> "Tensor":
        """A tensor over an existing array, whose shape it takes."""
        return cls(name, datatype, array.shape, array=array)

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_raw(self) -> bool:
        """Whether the tensor came with its raw bytes, so that `raw` costs nothing."""
        return self._raw is not None

    @property
    def array(self) -> Array:
        """The tensor as numpy, shaped. A view of the raw bytes where the type allows it.

        Raises StreamGateError (INVALID_ARG) when BYTES data is cut short or has a wrong count.
        """
        if self._array is None:
            raw = self._raw
            assert raw is not None
            if self.datatype is DataType.BYTES:
                self._array = unpack_bytes(raw, self.count, self.name).reshape(self.shape)
            else:
                self._array = np.frombuffer(raw, self.datatype.dtype).reshape(self.shape)
        return self._array

    @property
    def raw(self) -> Buffer:
        """The tensor in KServe raw form. A view of the array where it is contiguous."""
        if self._raw is None:
            array = self._array
            assert array is not None
            if self.datatype is DataType.BYTES:
                self._raw = pack_bytes(array.ravel())
            else:
                self._raw = array.tobytes()
        return self._raw

    @property
    def body(self) -> Buffer | Array:
        """As `raw`, for whoever copies it at once: a large contiguous array as it is."""
        raw = self._raw
        if raw is None:
            array = self._array
            assert array is not None
            if (
                array.nbytes >= LARGE_BYTES
                and self.datatype is not DataType.BYTES
                and array.flags.c_contiguous
            ):
                return array
            raw = self.raw
        return raw

    def viewed(self, name: str, shape: Shape) -> "Tensor":
        """The same data under another name and in another shape of as many elements; itself, if
        it has these already."""
        if name == self.name and shape == self.shape:
            return self
        array = None if self._array is None else self._array.reshape(shape)
        return Tensor(name, self.datatype, shape, array=array, raw=self._raw)

    @property
    def size_bytes(self) -> int:
        """Length of the raw form in bytes."""
        if self._raw is None and self.datatype is not DataType.BYTES:
            return self.count * self.datatype.size_bytes
        return memoryview(self.raw).nbytes

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.datatype.value}, {list(self.shape)})"


def pack_bytes(elements: Iterable[bytes | str]) -> bytes:
    """BYTES elements in KServe raw form; str is sent as UTF-8."""
    parts: list[bytes] = []
    for element in elements:
        data = element.encode() if isinstance(element, str) else bytes(element)
        parts.append(struct.pack("<I", len(data)))
        parts.append(data)
    return b"".join(parts)


def unpack_bytes(raw: Buffer, count: int, name: str) -> Array:
    """The `count` elements of a BYTES tensor in raw form, as a flat object array of bytes.

    Raises StreamGateError (INVALID_ARG) naming the tensor when the data is cut short or has more
    or fewer elements. The texts are those of Triton's Python backend; front ends that check
    earlier have their own.
    """
    view = memoryview(raw).cast("B")
    elements = np.empty(count, dtype=np.object_)
    offset = 0
    found = 0
    while offset < len(view):
        if offset + 4 > len(view):
            raise StreamGateError(
                Code.INVALID_ARG,
                f"incomplete string length indicator for inference input '{name}', "
                f"expecting 4 bytes but only {len(view) - offset} bytes available",
            )
        (length,) = struct.unpack_from("<I", view, offset)
        offset += 4
        if offset + length > len(view):
            raise StreamGateError(
                Code.INVALID_ARG,
                f"incomplete string data for inference input '{name}', expecting string of "
                f"length {length} but only {len(view) - offset} bytes available",
            )
        if found < count:
            elements[found] = bytes(view[offset : offset + length])
        found += 1
        offset += length
    if found != count:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"expected {count} string elements for inference input '{name}', got {found}",
        )
    return elements
