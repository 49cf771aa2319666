"""From a `Response` to the bytes of a `ModelInferResponse` or `ModelStreamInferResponse`.

Messages are put together from pieces in wire format instead of being built as objects: payloads
are copied once, into the message that leaves, and everything that depends only on the model and
the shapes is kept from one response to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from streamgate._proto.grpc_service_pb2 import (
    InferParameter,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from streamgate.frontends.classification import classify
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import ParameterValue, Response
from streamgate.model.tensor import Tensor

_MODEL_NAME: Final = b"\x0a"
_MODEL_VERSION: Final = b"\x12"
_ID: Final = b"\x1a"
_RAW_CONTENTS: Final = b"\x32"
_STREAM_ERROR: Final = b"\x0a"
_STREAM_RESPONSE: Final = b"\x12"
_SKETCHES_MAX: Final = 4096
_INT64_MAX: Final = 2**63 - 1


def _final_parameter(*, value: bool) -> bytes:
    parameters = {"triton_final_response": InferParameter(bool_param=value)}
    return ModelInferResponse(parameters=parameters).SerializeToString()


_FINAL: Final = _final_parameter(value=True)
_NOT_FINAL: Final = _final_parameter(value=False)

Piece = bytes | memoryview
Sketch = tuple[bytes, bytes]
"""The fields before `id` (model and version) and the `outputs` of a message."""
_sketches: dict[tuple[object, ...], Sketch] = {}


def unary_message(response: Response, config: ModelConfig, classes: Mapping[str, int]) -> bytes:
    """A `ModelInferResponse`.

    `classes` names the outputs that are turned into their so many largest classes. Raises
    StreamGateError (INVALID_ARG) when the type of one doesn't allow it.
    """
    return b"".join(_pieces(response, config, classes, b""))


def stream_message(response: Response, config: ModelConfig, classes: Mapping[str, int]) -> bytes:
    """A `ModelStreamInferResponse` with outputs; otherwise as `unary_message`."""
    pieces = _pieces(response, config, classes, _FINAL if response.final else _NOT_FINAL)
    size = sum(map(_size_bytes, pieces))
    return b"".join([_STREAM_RESPONSE, _varint(size), *pieces])


def stream_refusal(request_id: str, message: str) -> bytes:
    """The error of a request that was never admitted: nothing but its id goes with it."""
    return _stream_error(message, _text(_ID, request_id))


def stream_failure(
    request_id: str, model: str, version: str, message: str, *, final: bool
) -> bytes:
    """The error of an admitted request; model and version are those that the request named."""
    return _stream_error(message, _closing(request_id, model, version, final=final))


def stream_empty_final(request_id: str, model: str, version: str) -> bytes:
    """The end of a decoupled request without a response of its own; names as the request's."""
    body = _closing(request_id, model, version, final=True)
    return b"".join([_STREAM_RESPONSE, _varint(len(body)), body])


def stream_greeting(parameters: Mapping[str, ParameterValue]) -> bytes:
    """A message that answers no request: parameters and nothing else."""
    body = _parameters(parameters)
    return b"".join([_STREAM_RESPONSE, _varint(len(body)), body])


def with_parameters(message: bytes, parameters: Mapping[str, ParameterValue]) -> bytes:
    """A stream's message with more parameters in its response."""
    start = 0
    if message[:1] == _STREAM_ERROR:
        size, start = _read_varint(message, 1)
        start += size
    body = _parameters(parameters)
    if start == len(message):
        return b"".join([message, _STREAM_RESPONSE, _varint(len(body)), body])
    size, first = _read_varint(message, start + 1)
    length = _varint(size + len(body))
    return b"".join([message[:start], _STREAM_RESPONSE, length, memoryview(message)[first:], body])


def _closing(request_id: str, model: str, version: str, *, final: bool) -> bytes:
    return b"".join(
        [
            _text(_MODEL_NAME, model),
            _text(_MODEL_VERSION, version),
            _text(_ID, request_id),
            _FINAL if final else _NOT_FINAL,
        ]
    )


def _stream_error(message: str, body: bytes) -> bytes:
    error = ModelStreamInferResponse(error_message=message).SerializeToString()
    return b"".join([error, _STREAM_RESPONSE, _varint(len(body)), body])


def _pieces(
    response: Response, config: ModelConfig, classes: Mapping[str, int], final: bytes
) -> list[Piece]:
    """A `ModelInferResponse` as the pieces of its wire form, in the order of its fields."""
    outputs = response.outputs
    if classes:
        outputs = _classified(outputs, config, classes)
    key = (response.model, response.version, *[(t.name, t.datatype, t.shape) for t in outputs])
    sketch = _sketches.get(key)
    if sketch is None:
        sketch = _sketch(response.model, response.version, outputs)
        if len(_sketches) >= _SKETCHES_MAX:
            _sketches.clear()
        _sketches[key] = sketch
    head, tail = sketch
    pieces: list[Piece] = [head]
    request_id = response.request.id
    if request_id:
        pieces.append(_text(_ID, request_id))
    if response.parameters:
        pieces.append(_parameters(response.parameters))
    pieces.extend((final, tail))
    for tensor in outputs:
        payload = _payload(tensor)
        pieces.extend((_RAW_CONTENTS, _varint(_size_bytes(payload)), payload))
    return pieces


def _sketch(model: str, version: str, outputs: Sequence[Tensor]) -> Sketch:
    head = ModelInferResponse(model_name=model, model_version=version)
    tail = ModelInferResponse()
    for tensor in outputs:
        tail.outputs.add(name=tensor.name, datatype=tensor.datatype.value, shape=tensor.shape)
    return head.SerializeToString(), tail.SerializeToString()


def _classified(
    outputs: Sequence[Tensor], config: ModelConfig, classes: Mapping[str, int]
) -> Sequence[Tensor]:
    labels = {spec.name: spec.labels for spec in config.outputs}
    return [
        classify(
            tensor,
            classes[tensor.name],
            batches=config.batches,
            labels=labels.get(tensor.name, ()),
        )
        if tensor.name in classes
        else tensor
        for tensor in outputs
    ]


def _payload(tensor: Tensor) -> Piece:
    """The raw form, without a copy where the memory already has it."""
    if tensor.is_raw or tensor.datatype is DataType.BYTES:
        raw = tensor.raw
        return raw if isinstance(raw, bytes) else memoryview(raw)
    return np.ascontiguousarray(tensor.array).data


def _size_bytes(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.nbytes


def _parameters(parameters: Mapping[str, ParameterValue]) -> bytes:
    message = ModelInferResponse()
    for key, value in parameters.items():
        parameter = message.parameters[key]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int):
            if value > _INT64_MAX:
                parameter.uint64_param = value
            else:
                parameter.int64_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        else:
            parameter.string_param = value
    return message.SerializeToString()


def _text(tag: bytes, text: str) -> bytes:
    """A string field; nothing when it is empty."""
    if not text:
        return b""
    data = text.encode()
    return b"".join([tag, _varint(len(data)), data])


_ONE_BYTE: Final = [bytes([number]) for number in range(128)]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _ONE_BYTE[number]
    data = bytearray()
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)
