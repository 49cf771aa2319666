"""Steps and their results as frames. On the way of each request, so written out by hand.

A step's header is (STEP, number, model, owner, epoch, position, sequence, flags, rows, signature,
id, priority, timeout in us, age in ns, requested outputs, parameters, tensors), a result's (RESULT,
number, flags, position, index, version, failure, parameters, batch, tensors). A batch is (number,
instance, rows, sequences), told to whoever asks for it. A tensor is (name, datatype, shape); its
raw bytes are the body at the same place.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streamgate.errors import Code, Failure
from streamgate.link.frames import Body, FrameError
from streamgate.link.messages import RESULT, STEP
from streamgate.model.datatypes import from_wire
from streamgate.model.request import Batch, Request, Response
from streamgate.model.tensor import Tensor

_START: Final = 1
_END: Final = 2
_ASKS_BATCH: Final = 4

_FINAL: Final = 1
_EMPTY: Final = 2
_ADMITTED: Final = 4
_LOST: Final = 8
_RAN: Final = 16

Header = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class Step:
    """A request that came over a link. Its request has no model yet, but its `model`'s number."""

    number: int
    model: int
    owner: int
    epoch: int
    position: int
    request: Request


@dataclass(slots=True, eq=False)
class Result:
    """A response that came over a link, to the request of this number."""

    number: int
    position: int
    index: int
    version: str
    final: bool
    empty: bool
    admitted: bool
    lost: bool
    ran: bool
    failure: Failure | None
    parameters: dict[str, Any]
    batch: Batch | None
    outputs: list[Tensor]

    def response_to(self, request: Request) -> Response:
        if self.batch is not None and request.batch is not None:
            request.batch = self.batch
        return Response(
            request,
            request.model,
            self.version,
            self.outputs,
            self.failure,
            self.final,
            self.empty,
            self.admitted,
            self.parameters,
            self.position,
            self.index,
            self.lost,
            self.ran,
        )


def encode_step(
    number: int, model: int, owner: int, epoch: int, position: int, request: Request
) -> tuple[Header, list[Body]]:
    """The frame of a checked request."""
    tensors, bodies = _encode_tensors(request.inputs)
    flags = (
        (_START if request.start else 0)
        | (_END if request.end else 0)
        | (_ASKS_BATCH if request.batch is not None else 0)
    )
    header = (
        *(STEP, number, model, owner, epoch, position, request.sequence, flags, request.rows),
        *(_encode_signature(request.signature), request.id, request.priority),
        *(request.timeout_us, request.age_ns),
        *(tuple(request.requested_outputs), dict(request.parameters), tensors),
    )
    return header, bodies


def decode_step(header: Header, bodies: Sequence[memoryview]) -> Step:
    """The request of a frame. Raises FrameError."""
    try:
        _, number, model, owner, epoch, position, sequence, flags, *rest = header
        rows, signature, name, priority, timeout_us, age_ns, *rest = rest
        requested, parameters, tensors = rest
        _check_numbers(number, model, owner, epoch, position, flags, rows, priority)
        _check_numbers(timeout_us, age_ns)
        if type(sequence) not in {int, str} or type(name) is not str:
            raise FrameError("a step's sequence and ID are no names")
        _check_parameters(parameters)
        if not all(type(each) is str for each in requested):
            raise FrameError("a requested output is no name")
        request = Request(
            "",
            "",
            name,
            _decode_tensors(tensors, bodies),
            requested,
            parameters,
            sequence,
            bool(flags & _START),
            bool(flags & _END),
            priority,
            timeout_us,
            rows,
            _decode_signature(signature),
            batch=Batch() if flags & _ASKS_BATCH else None,
            age_ns=age_ns,
        )
    except (ValueError, TypeError) as error:
        raise FrameError(f"no step: {error}") from error
    return Step(number, model, owner, epoch, position, request)


def encode_result(number: int, response: Response) -> tuple[Header, list[Body]]:
    """The frame of a response."""
    tensors, bodies = _encode_tensors(response.outputs)
    flags = (
        (_FINAL if response.final else 0)
        | (_EMPTY if response.empty else 0)
        | (_ADMITTED if response.admitted else 0)
        | (_LOST if response.lost else 0)
        | (_RAN if response.ran else 0)
    )
    failure = response.failure
    header = (
        *(RESULT, number, flags, response.position, response.index, response.version),
        None if failure is None else (failure.code.value, failure.message),
        dict(response.parameters),
        _encode_batch(response.request.batch),
        tensors,
    )
    return header, bodies


def decode_result(header: Header, bodies: Sequence[memoryview]) -> Result:
    """The response of a frame. Raises FrameError."""
    try:
        _, number, flags, position, index, version, failure, parameters, batch, tensors = header
        _check_numbers(number, flags, position, index)
        if type(version) is not str:
            raise FrameError("a result's version is no name")
        _check_parameters(parameters)
        if failure is not None:
            code, message = failure
            failure = Failure(Code(code), message)
            if type(message) is not str:
                raise FrameError("a failure's message is no text")
        ran_with = _decode_batch(batch)
        outputs = _decode_tensors(tensors, bodies)
    except (ValueError, TypeError) as error:
        raise FrameError(f"no result: {error}") from error
    return Result(
        *(number, position, index, version),
        *(bool(flags & _FINAL), bool(flags & _EMPTY)),
        *(bool(flags & _ADMITTED), bool(flags & _LOST), bool(flags & _RAN)),
        failure,
        parameters,
        ran_with,
        outputs,
    )


def _encode_batch(batch: Batch | None) -> Any:
    if batch is None or batch.number < 0:
        return None
    return (batch.number, batch.instance, batch.rows, tuple(batch.sequences))


def _decode_batch(packed: Any) -> Batch | None:
    if packed is None:
        return None
    number, instance, rows, sequences = packed
    _check_numbers(number, rows)
    if type(instance) is not str or not all(type(each) in {int, str} for each in sequences):
        raise FrameError("a batch's instance and sequences are no names")
    return Batch(number, instance, rows, sequences)


def _encode_tensors(tensors: Collection[Tensor]) -> tuple[tuple[Any, ...], list[Body]]:
    heads = tuple([(each.name, each.datatype.value, each.shape) for each in tensors])
    return heads, [each.body for each in tensors]


def _decode_tensors(heads: Any, bodies: Sequence[memoryview]) -> list[Tensor]:
    tensors = []
    for (name, word, shape), body in zip(heads, bodies, strict=True):
        datatype = from_wire(word)
        if datatype is None or type(name) is not str or type(shape) is not tuple:
            raise FrameError(f"no tensor is called {name!r:.40}, of type {word!r:.40}")
        for size in shape:
            if type(size) is not int or size < 0:
                raise FrameError(f"tensor '{name}' has no shape {shape}")
        if datatype.size_bytes and math.prod(shape) * datatype.size_bytes != len(body):
            raise FrameError(f"tensor '{name}' of shape {list(shape)} has {len(body)} bytes")
        tensors.append(Tensor(name, datatype, shape, raw=body))
    return tensors


def _encode_signature(signature: Any) -> Any:
    if signature is None:
        return None
    if isinstance(signature, frozenset):
        return (0, tuple(sorted(signature)))
    return (1, signature)


def _decode_signature(packed: Any) -> Any:
    if packed is None:
        return None
    kind, items = packed
    return frozenset(items) if kind == 0 else items


def _check_numbers(*numbers: Any) -> None:
    for number in numbers:
        if type(number) is not int:
            raise FrameError(f"found {number!r:.40}, expected a number")


def _check_parameters(parameters: Any) -> None:
    if type(parameters) is not dict:
        raise FrameError(f"found {type(parameters).__name__}, expected parameters")
    for value in parameters.values():
        if type(value) not in _PARAMETER_TYPES:
            raise FrameError(f"a parameter is a {type(value).__name__}")


_PARAMETER_TYPES: Final = frozenset((bool, int, float, str))
