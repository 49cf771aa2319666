"""From the bytes of a `ModelInferRequest` to a `Request`.

Repeated fields are read through slices: one call for a list instead of one for each element.

Decides nothing about the model: names, counts, types, shapes and sizes are checked by the session
for every front end alike. What is checked here is what only this wire can get wrong: parameter
types, and where a tensor's data is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from streamgate._proto.grpc_service_pb2 import ModelInferRequest
from streamgate.errors import Code, StreamGateError
from streamgate.frontends.kserve_grpc.contents import raw_of_contents
from streamgate.frontends.kserve_grpc.parameters import (
    RequestParameters,
    invalid,
    names_region,
    read_output_parameters,
    read_request_parameters,
)
from streamgate.frontends.unserved import SHARED_MEMORY_DISABLED
from streamgate.model.datatypes import DataType, from_wire
from streamgate.model.request import ParameterValue, Request
from streamgate.model.tensor import Buffer, Tensor

UNPARSABLE: Final = "Unable to parse request"
SPLIT_BYTES_MIN: Final = 32 * 1024
"""From this size on, payloads are cut out of the message as views before protobuf reads the rest.

Below it, the two copies that protobuf makes cost less than looking for the payloads (measured:
even at about 35 KB).
"""

_RAW_CONTENTS_TAG: Final = 7 << 3 | 2
_NO_PARAMETERS: Final = RequestParameters()


@dataclass(slots=True, eq=False)
class Received:
    """A request and what its sender wants of the responses.

    `empty_final`: a message of its own when a decoupled request ends without one; `classes`: for
    which outputs the classification extension is asked, and how many classes.
    """

    request: Request
    empty_final: bool
    classes: Mapping[str, int]


def parse(data: bytes) -> tuple[ModelInferRequest, Sequence[Buffer]]:
    """The message and its raw contents, which are views of `data` when that is large.

    Raises google.protobuf.message.DecodeError.
    """
    if len(data) >= SPLIT_BYTES_MIN:
        rest, payloads = _split_payloads(data)
        if payloads:
            return ModelInferRequest.FromString(rest), payloads
    message = ModelInferRequest.FromString(data)
    return message, message.raw_input_contents[:]


def decode(
    message: ModelInferRequest,
    payloads: Sequence[Buffer],
    headers: Mapping[str, ParameterValue],
) -> Received:
    """The request of a parsed message.

    `headers` are metadata forwarded as parameters; the message's own win over them. Raises
    StreamGateError with Triton's texts, in Triton's order: parameters, then data, then outputs.
    """
    found = read_request_parameters(message.parameters) if message.parameters else _NO_PARAMETERS
    inputs, unknown_types = _inputs(message, payloads)
    outputs: Sequence[str] = ()
    classes: Mapping[str, int] = {}
    if message.outputs:
        outputs, classes = _requested_outputs(message)
    request = Request(
        message.model_name,
        message.model_version,
        message.id,
        inputs,
        outputs,
        {**headers, **found.custom} if headers else found.custom or {},
        found.sequence,
        found.start,
        found.end,
        found.priority,
        found.timeout_us,
        unknown_types=unknown_types,
    )
    return Received(request, found.empty_final, classes)


def _requested_outputs(message: ModelInferRequest) -> tuple[Sequence[str], Mapping[str, int]]:
    names = []
    classes = {}
    for output in message.outputs:
        name = output.name
        names.append(name)
        if output.parameters:
            count = read_output_parameters(name, output.parameters)
            if count:
                classes[name] = count
    return names, classes


def _inputs(
    message: ModelInferRequest, payloads: Sequence[Buffer]
) -> tuple[Sequence[Tensor], Collection[str]]:
    """The inputs with their data: raw contents in order, or each one's typed contents.

    And the names of those whose datatype is none.
    """
    inputs = []
    unknown_types: Collection[str] = ()
    given = len(payloads)
    used = 0
    for tensor in message.inputs[:]:
        name = tensor.name
        wire_type = tensor.datatype
        datatype = from_wire(wire_type)
        explicit = tensor.HasField("contents")
        if tensor.parameters and names_region(name, tensor.parameters):
            if explicit:
                raise invalid(
                    "unexpected 'content' provided when using shared memory for input tensor "
                    f"'{name}' for model '{message.model_name}'"
                )
            raise StreamGateError(Code.UNSUPPORTED, SHARED_MEMORY_DISABLED)
        raw: Buffer
        if explicit:
            if given:
                raise invalid(
                    "contents field must not be specified when using raw_input_contents for "
                    f"'{name}' for model '{message.model_name}'"
                )
            raw = raw_of_contents(tensor.contents, datatype, name, message.model_name)
        elif used < given:
            raw = payloads[used]
            used += 1
        else:
            raise invalid(
                f"unable to find data for input tensor '{name}' for model "
                f"'{message.model_name}' in request."
            )
        if datatype is None:
            unknown_types = {*unknown_types, name}
            datatype = DataType.UINT8
        inputs.append(Tensor(name, datatype, tuple(tensor.shape[:]), raw=raw))
    return inputs, unknown_types


def _split_payloads(data: bytes) -> tuple[bytes, Sequence[memoryview]]:
    """The message without its raw contents, and those as views of `data`.

    No payloads when there are none or the message is not well formed, which is then protobuf's to
    say.
    """
    view = memoryview(data)
    end = len(data)
    kept: list[memoryview] = []
    payloads: list[memoryview] = []
    kept_from = position = 0
    try:
        while position < end:
            tag_at = position
            tag, position = _varint(data, position)
            wire_type = tag & 7
            if wire_type == 2:
                size, position = _varint(data, position)
                field_end = position + size
                if tag == _RAW_CONTENTS_TAG:
                    payloads.append(view[position:field_end])
                    kept.append(view[kept_from:tag_at])
                    kept_from = field_end
                position = field_end
            elif wire_type == 0:
                _, position = _varint(data, position)
            elif wire_type in {1, 5}:
                position += 8 if wire_type == 1 else 4
            else:
                return data, ()
    except IndexError:
        return data, ()
    if position != end:
        return data, ()
    kept.append(view[kept_from:])
    return b"".join(kept), payloads


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position` and the position after it. Raises IndexError when it is cut."""
    byte = data[position]
    position += 1
    if byte < 0x80:
        return byte, position
    number = byte & 0x7F
    shift = 7
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
        if shift > 63:
            raise IndexError(position)
