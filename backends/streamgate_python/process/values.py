"""Requests, tensors and failures as parts of messages: JSON values, and their data as buffers.

A tensor's data travels in KServe's raw form, which every type has, and becomes a tensor over the
received buffer: nothing is copied here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from streamgate.backend.contract import ModelRequest, Reply
from streamgate.errors import Code, Failure
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Array, Buffer, Tensor

Value = list[Any]

_TYPES = {datatype.value: datatype for datatype in DataType}
_CODES = {code.value: code for code in Code}
_BYTES = DataType.BYTES


def pack_tensors(tensors: Iterable[Tensor], buffers: list[Buffer]) -> Value:
    """Names, types and shapes; the data is added to `buffers`."""
    packed = []
    for tensor in tensors:
        packed.append([tensor.name, tensor.datatype.value, tensor.shape])
        buffers.append(_data(tensor))
    return packed


def unpack_tensors(packed: Value, buffers: "Buffers") -> list[Tensor]:
    return [
        Tensor(name, _TYPES[datatype], tuple(shape), raw=buffers.take())
        for name, datatype, shape in packed
    ]


def _data(tensor: Tensor) -> Buffer:
    if tensor.is_raw or tensor.datatype is _BYTES or not tensor.count:
        return tensor.raw
    array = tensor.array
    if not array.flags.c_contiguous:
        return tensor.raw
    return array.reshape(-1).view(np.uint8).data


class Buffers:
    """The buffers of a received message, taken in the order in which they were added."""

    __slots__ = ("_buffers", "_next")

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._buffers = buffers
        self._next = 0

    def take(self) -> Buffer:
        taken = self._buffers[self._next]
        self._next += 1
        return taken


def pack_request(number: int, request: ModelRequest, buffers: list[Buffer]) -> Value:
    """A request under the number by which its replies will name it."""
    return [
        number,
        pack_tensors(request.inputs, buffers),
        request.request_id,
        request.correlation_id,
        request.flags,
        request.timeout_us,
        request.priority,
        dict(request.parameters),
        list(request.requested_outputs),
        request.null,
    ]


def unpack_request(packed: Value, reply: Reply, buffers: Buffers) -> ModelRequest:
    _, inputs, request_id, correlation_id, flags, timeout_us, priority, parameters, wanted, null = (
        packed
    )
    return ModelRequest(
        unpack_tensors(inputs, buffers),
        reply,
        request_id,
        correlation_id,
        flags,
        timeout_us,
        priority,
        parameters,
        wanted,
        null,
    )


def pack_failure(failure: Failure | None) -> Value | None:
    return None if failure is None else [failure.code.value, failure.message]


def unpack_failure(packed: Value | None) -> Failure | None:
    return None if packed is None else Failure(_CODES[packed[0]], packed[1])


def pack_states(
    states: Mapping[str, Array], types: Mapping[str, DataType], buffers: list[Buffer]
) -> Value:
    """A request's new states, whose types the configuration gives."""
    tensors = [Tensor.of(name, array, types[name]) for name, array in states.items()]
    return pack_tensors(tensors, buffers)


def unpack_states(packed: Value, buffers: Buffers) -> dict[str, Array]:
    return {tensor.name: tensor.array for tensor in unpack_tensors(packed, buffers)}


def pack_call(request: Request, buffers: list[Buffer]) -> Value:
    """A request of a model to another."""
    return [
        request.model,
        request.version,
        request.id,
        pack_tensors(request.inputs, buffers),
        list(request.requested_outputs),
        dict(request.parameters),
        request.sequence,
        request.start,
        request.end,
        request.priority,
        request.timeout_us,
    ]


def unpack_call(packed: Value, buffers: Buffers) -> Request:
    model, version, request_id, inputs, outputs, parameters, sequence, start, end, *rest = packed
    priority, timeout_us = rest
    return Request(
        model,
        version,
        request_id,
        unpack_tensors(inputs, buffers),
        outputs,
        parameters,
        sequence,
        start,
        end,
        priority,
        timeout_us,
    )


def pack_response(response: Response, buffers: list[Buffer]) -> Value:
    """A response to such a request."""
    return [
        response.model,
        response.version,
        pack_tensors(response.outputs, buffers),
        pack_failure(response.failure),
        response.final,
        response.empty,
        response.admitted,
        dict(response.parameters),
    ]


def unpack_response(packed: Value, request: Request, buffers: Buffers) -> Response:
    model, version, outputs, failure, final, empty, admitted, parameters = packed
    return Response(
        request,
        model,
        version,
        unpack_tensors(outputs, buffers),
        unpack_failure(failure),
        final,
        empty,
        admitted,
        parameters,
    )
