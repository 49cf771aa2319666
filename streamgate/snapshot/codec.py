"""Requests, responses and snapshots as bytes: a head in MessagePack, then the tensors' raw bytes.

    head length (uint32, little endian), head, raw bytes of tensor after tensor

Nothing in it is ever run, and no length is believed before the bytes are there. What does not fit
raises `CodecError`.
"""

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgpack
import numpy as np

from streamgate.errors import Code, Failure
from streamgate.model.datatypes import from_wire
from streamgate.model.request import ParameterValue, Request, Response
from streamgate.model.snapshot import Snapshot
from streamgate.model.tensor import Array, Buffer, Tensor, pack_bytes, unpack_bytes

FORMAT: Final = 1
PARTS_DEPTH_MAX: Final = 8
"""Ensembles within ensembles, whose snapshots have parts."""

_LENGTH: Final = struct.Struct("<I")
_BYTES: Final = "object"
"""Stands for a state's dtype where its elements are byte strings."""

Head = list[Any]
ValueT = TypeVar("ValueT")


class CodecError(Exception):
    """Bytes that are no value of ours, or a value that can't be written."""


def encode_request(request: Request) -> bytes:
    """A step of a sequence. Its model, version and correlation ID are known by where it is kept."""
    head = [
        FORMAT,
        request.id,
        list(request.requested_outputs),
        dict(request.parameters),
        request.flags,
        request.priority,
        request.timeout_us,
        [_tensor_head(tensor) for tensor in request.inputs],
    ]
    return _joined(head, [tensor.raw for tensor in request.inputs])


def decode_request(data: Buffer, model: str, sequence: int | str) -> Request:
    """The request, not checked against its model yet, for the model's version that is served."""

    def build(head: Head, body: memoryview) -> Request:
        _, id_, outputs, parameters, flags, priority, timeout_us, tensors = head
        return Request(
            model,
            id=_text(id_),
            inputs=_tensors(tensors, body),
            requested_outputs=[_text(name) for name in outputs],
            parameters=_parameters(parameters),
            sequence=sequence,
            start=bool(_whole(flags) & 1),
            end=bool(flags & 2),
            priority=_whole(priority),
            timeout_us=_whole(timeout_us),
        )

    return _built(data, build)


def encode_response(response: Response) -> bytes:
    """A response without its request."""
    failure = response.failure
    head = [
        FORMAT,
        response.model,
        response.version,
        None if failure is None else [failure.code.value, failure.message],
        response.final,
        response.empty,
        response.admitted,
        dict(response.parameters),
        response.position,
        response.index,
        [_tensor_head(tensor) for tensor in response.outputs],
    ]
    return _joined(head, [tensor.raw for tensor in response.outputs])


def decode_response(data: Buffer, request: Request) -> Response:
    """The response to this request."""

    def build(head: Head, body: memoryview) -> Response:
        _, model, version, failure, final, empty, admitted, parameters, position, index, out = head
        return Response(
            request,
            _text(model),
            _text(version),
            _tensors(out, body),
            None if failure is None else Failure(Code(failure[0]), _text(failure[1])),
            final=_flag(final),
            empty=_flag(empty),
            admitted=_flag(admitted),
            parameters=_parameters(parameters),
            position=_whole(position),
            index=_whole(index),
        )

    return _built(data, build)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """A snapshot with all of its parts."""
    body: list[Buffer] = []
    return _joined([FORMAT, _snapshot_head(snapshot, body)], body)


def decode_snapshot(data: Buffer) -> Snapshot:
    """The snapshot. Its arrays are its own."""

    def build(head: Head, body: memoryview) -> Snapshot:
        snapshot, offset = _snapshot(head[1], body, 0, 0)
        if offset != len(body):
            raise CodecError(f"{len(body) - offset} bytes belong to no state")
        return snapshot

    return _built(data, build)


def _snapshot_head(snapshot: Snapshot, body: list[Buffer]) -> Head:
    states = []
    for name, array in snapshot.states.items():
        is_bytes = array.dtype.hasobject
        raw = pack_bytes(array.ravel()) if is_bytes else array.tobytes()
        states.append([name, _BYTES if is_bytes else array.dtype.str, list(array.shape), len(raw)])
        body.append(raw)
    if snapshot.objects is not None:
        body.append(snapshot.objects)
    return [
        snapshot.position,
        snapshot.schema,
        states,
        None if snapshot.objects is None else len(snapshot.objects),
        [[place, _snapshot_head(part, body)] for place, part in snapshot.parts.items()],
    ]


def _snapshot(head: Head, body: memoryview, offset: int, depth: int) -> tuple[Snapshot, int]:
    if depth > PARTS_DEPTH_MAX:
        raise CodecError(f"a snapshot of more than {PARTS_DEPTH_MAX} floors")
    position, schema, state_heads, objects_bytes, part_heads = head
    states: dict[str, Array] = {}
    for name, dtype, shape, size in state_heads:
        raw, offset = _cut(body, offset, _whole(size))
        states[_text(name)] = _state(_text(name), _text(dtype), [_whole(n) for n in shape], raw)
    objects = None
    if objects_bytes is not None:
        found, offset = _cut(body, offset, _whole(objects_bytes))
        objects = bytes(found)
    parts: dict[int, Snapshot] = {}
    for place, part_head in part_heads:
        parts[_whole(place)], offset = _snapshot(part_head, body, offset, depth + 1)
    return Snapshot(_whole(position), _text(schema), states, objects, parts), offset


def _state(name: str, dtype: str, shape: Sequence[int], raw: memoryview) -> Array:
    if dtype == _BYTES:
        return unpack_bytes(raw, math.prod(shape), name).reshape(shape)
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise CodecError(f"state '{name}' has elements of type {dtype!r}")
    return np.frombuffer(raw, kind).reshape(shape).copy()


def _tensor_head(tensor: Tensor) -> Head:
    size = memoryview(tensor.raw).nbytes
    return [tensor.name, tensor.datatype.value, list(tensor.shape), size]


def _tensors(heads: Iterable[Head], body: memoryview) -> list[Tensor]:
    tensors = []
    offset = 0
    for name, word, sizes, size in heads:
        datatype = from_wire(_text(word))
        if datatype is None:
            raise CodecError(f"no datatype is called {word!r}")
        shape = tuple(_whole(each) for each in sizes)
        if datatype.size_bytes and size != math.prod(shape) * datatype.size_bytes:
            raise CodecError(f"tensor {name!r} of shape {list(shape)} has {size} bytes")
        raw, offset = _cut(body, offset, _whole(size))
        tensors.append(Tensor(_text(name), datatype, shape, raw=bytes(raw)))
    if offset != len(body):
        raise CodecError(f"{len(body) - offset} bytes belong to no tensor")
    return tensors


def _cut(body: memoryview, offset: int, size: int) -> tuple[memoryview, int]:
    if offset + size > len(body):
        raise CodecError(f"{size} bytes at {offset}, but there are only {len(body)}")
    return body[offset : offset + size], offset + size


def _joined(head: Head, body: Iterable[Buffer]) -> bytes:
    try:
        packed: bytes = msgpack.packb(head)
    except (OverflowError, ValueError, TypeError, RecursionError) as error:
        raise CodecError(f"a value that can't be written: {error}") from None
    return b"".join([_LENGTH.pack(len(packed)), packed, *body])


def _built(data: Buffer, build: Callable[[Head, memoryview], ValueT]) -> ValueT:
    view = memoryview(data)
    try:
        (size,) = _LENGTH.unpack_from(view)
        packed, offset = _cut(view, _LENGTH.size, size)
        head = msgpack.unpackb(packed, strict_map_key=False)
        if not isinstance(head, list) or not head or head[0] != FORMAT:
            raise CodecError(f"found {str(head)[:20]!r}, expected format {FORMAT}")
        return build(head, view[offset:])
    except CodecError:
        raise
    except Exception as error:
        # What can be wrong with bytes is without end, and all of it means the same.
        raise CodecError(f"{type(error).__name__}: {error}") from error


def _parameters(found: Any) -> Mapping[str, ParameterValue]:
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, bool | int | float | str)
        for name, value in found.items()
    ):
        raise CodecError("parameters are plain values by name")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise CodecError(f"found {type(value).__name__}, expected a text")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CodecError(f"found {value!r:.40}, expected a number from 0")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CodecError(f"found {type(value).__name__}, expected true or false")
    return value
