"""From the body of an infer request to a `Request`.

A body is JSON, JSON with the inputs' binary data after it, or nothing but the data of the model's
only input. Decides nothing about the model: names, counts, types, shapes and sizes are checked by
the session for every front end alike. All texts are Triton's (2.51).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.json_tensors import (
    DATA_SOURCES,
    has_infinity,
    tensor_from_json,
    tensor_head,
)
from streamgate.frontends.kserve_http.document import (
    Document,
    parse_object,
    refuse_overflow,
    text_member,
    unparsable,
    unsigned_member,
    wrong_type,
)
from streamgate.frontends.kserve_http.parameters import (
    RequestParameters,
    read_output_parameters,
    read_request_parameters,
)
from streamgate.frontends.unserved import SHARED_MEMORY_DISABLED
from streamgate.model.config import ModelConfig
from streamgate.model.datatypes import DataType
from streamgate.model.request import ParameterValue, Request
from streamgate.model.tensor import Shape, Tensor, TensorSpec, pack_bytes

_NO_PARAMETERS: Final = RequestParameters()
_LEADING_INTEGER: Final = re.compile(r"\s*([+-]?[0-9]+)")
_UNKNOWN_REQUEST: Final = "[request id: <id_unknown>] "


@dataclass(slots=True, eq=False)
class Received:
    """A request and how its sender wants the outputs.

    `binary` tells for some outputs whether they are wanted as binary data, `binary_default` for
    the others; `classes` for which outputs the classification extension is asked, and how many
    classes.
    """

    request: Request
    binary_default: bool = False
    binary: Mapping[str, bool] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)


def header_length(text: str | None, body_size: int) -> int:
    """How much of the body is JSON, by the header `Inference-Header-Content-Length`.

    Without the header it is all of it. 0, and text that is no number, mean a raw request. Raises
    StreamGateError (INVALID_ARG) for a length that can't be.
    """
    if text is None:
        return body_size
    match = _LEADING_INTEGER.match(text)
    length = int(match[1][:20]) if match else 0
    if not 0 <= length <= body_size:
        raise _invalid(f"inference header size should be in range (0, {body_size}), got: {length}")
    return length


def decode(
    body: bytes,
    json_size: int,
    config: ModelConfig,
    version: str,
    headers: Mapping[str, ParameterValue],
) -> Received:
    """The request in a body whose first `json_size` bytes are JSON; none means a raw request.

    `headers` are forwarded as parameters; the request's own win over them. Raises StreamGateError
    in Triton's order: id, parameters, inputs with their data, outputs.
    """
    if not json_size:
        return _raw_request(body, config, version, headers)
    view = memoryview(body)
    text, tail = view[:json_size], view[json_size:]
    document = parse_object(text)
    request = Request(config.name, version)
    if "id" in document:
        request.id = text_member(document, "id")
    found = _NO_PARAMETERS
    if "parameters" in document:
        found = read_request_parameters(document["parameters"])
    request.inputs = _inputs(document, text, tail, request)
    received = Received(request, found.binary_output)
    if "outputs" in document:
        _read_outputs(document, received)
    request.parameters = {**headers, **found.custom} if headers else found.custom or {}
    request.sequence = found.sequence
    request.start = found.start
    request.end = found.end
    request.priority = found.priority
    request.timeout_us = found.timeout_us
    return received


def _inputs(
    document: Document, text: memoryview, tail: memoryview, request: Request
) -> Sequence[Tensor]:
    """The inputs, each with its data from the JSON or, in order, from the binary tail.

    Notes in `request` which of them have a datatype that is none.
    """
    inputs = []
    used = 0
    for entry in _entries(document, "inputs"):
        size = _binary_size(entry)
        if size is None:
            tensor = tensor_from_json(entry)
            if has_infinity(tensor):
                refuse_overflow(text)
        else:
            assert isinstance(entry, dict)
            name, datatype, shape = tensor_head(entry)
            raw = tail[used : used + size]
            if len(raw) < size:
                raise _invalid(
                    f"unexpected size for input '{name}', expecting {size - len(raw)} additional "
                    f"bytes for model '{request.model}'"
                )
            used += size
            if datatype is None:
                request.unknown_types = {*request.unknown_types, name}
                datatype = DataType.UINT8
            tensor = Tensor(name, datatype, shape, raw=raw)
        inputs.append(tensor)
    if used != len(tail):
        raise _invalid(f"unexpected additional input data for model '{request.model}'")
    return inputs


def _binary_size(entry: object) -> int | None:
    """How many bytes of the tail are this input's; None when its data is in the JSON.

    Raises StreamGateError unless the data is in exactly one place.
    """
    document: Document = entry if isinstance(entry, dict) else {}
    parameters = document.get("parameters")
    if not isinstance(parameters, dict):
        parameters = {}
    sources = ["data"] if "data" in document else []
    sources += [key for key in ("binary_data_size", "shared_memory_region") if key in parameters]
    if sources == ["data"]:
        return None
    if sources == ["binary_data_size"]:
        return unsigned_member(parameters, "binary_data_size")
    if sources == ["shared_memory_region"]:
        raise StreamGateError(Code.UNSUPPORTED, SHARED_MEMORY_DISABLED)
    shown = " ".join(f"'{source}'" for source in sources)
    raise _invalid(DATA_SOURCES + (f"set {shown}" if sources else "no field is set"))


def _read_outputs(document: Document, received: Received) -> None:
    names = []
    binary = {}
    classes = {}
    for entry in _entries(document, "outputs"):
        name = text_member(entry, "name")
        names.append(name)
        parameters = entry.get("parameters") if isinstance(entry, dict) else None
        if isinstance(parameters, dict):
            is_binary, count = read_output_parameters(parameters)
            if is_binary is not None:
                binary[name] = is_binary
            if count:
                classes[name] = count
    received.request.requested_outputs = names
    received.binary = binary
    received.classes = classes


def _entries(document: Document, key: str) -> Sequence[object]:
    if key not in document:
        raise unparsable(key, f"attempt to access non-existing object member '{key}'")
    entries = document[key]
    if not isinstance(entries, list):
        raise unparsable(key, wrong_type("array"))
    return entries


def _raw_request(
    body: bytes, config: ModelConfig, version: str, headers: Mapping[str, ParameterValue]
) -> Received:
    """The body as the model's only input, of which the configuration knows type and shape."""
    if len(config.inputs) != 1:
        raise _invalid(
            f"{_UNKNOWN_REQUEST}Raw request must only have 1 input (found 1) to be deduced but "
            f"got {len(config.inputs)} inputs in '{config.name}' model configuration"
        )
    spec = config.inputs[0]
    shape: Shape = spec.shape
    raw = body
    if spec.datatype is DataType.BYTES:
        if spec.shape != (1,):
            raise _invalid(
                f"{_UNKNOWN_REQUEST}For BYTE datatype raw input '{spec.name}', the model must "
                "have input shape [1]"
            )
        raw = pack_bytes([body])
    else:
        shape = _raw_shape(len(body), spec, config.name)
    if config.batches:
        shape = (1, *shape)
    tensor = Tensor(spec.name, spec.datatype, shape, raw=raw)
    request = Request(config.name, version, inputs=[tensor], parameters=headers)
    return Received(request, binary_default=True)


def _raw_shape(size_bytes: int, spec: TensorSpec, model: str) -> Shape:
    """The input's shape, its one unknown dimension told by the size of the data."""
    shape = spec.shape
    if shape.count(-1) > 1:
        raise _invalid(
            f"{_UNKNOWN_REQUEST}The shape of the raw input '{spec.name}' can not be deduced "
            "because there are more than one variable-sized dimension"
        )
    expected_bytes = math.prod(size for size in shape if size != -1) * spec.datatype.size_bytes
    if -1 in shape:
        count = size_bytes // expected_bytes if expected_bytes else 0
        shape = tuple(count if size == -1 else size for size in shape)
        expected_bytes *= count
    if expected_bytes != size_bytes:
        raise _invalid(
            f"{_UNKNOWN_REQUEST}input byte size mismatch for input 'raw_input' for model "
            f"'{model}'. Expected {expected_bytes}, got {size_bytes}"
        )
    return shape


def _invalid(message: str) -> StreamGateError:
    return StreamGateError(Code.INVALID_ARG, message)
