"""Requests, responses and snapshots as bytes: the frames that they are on a link between processes.

A frame's header begins with the format; one of another, or with more or less in it, is no value of
ours. Nothing in it is ever run, and no length is believed before the bytes are there. What does not
fit raises `CodecError`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from streamgate.link.frames import Body, encode_frame, frame_of
from streamgate.link.steps import decode_result, decode_step, encode_result, encode_step
from streamgate.link.values import Bodies, pack, unpack
from streamgate.model.request import Request, Response
from streamgate.model.snapshot import Snapshot
from streamgate.model.tensor import Buffer

FORMAT: Final = 2
"""To be raised with each change of what `link.steps` and `link.values` make of these."""

Header = tuple[Any, ...]
ValueT = TypeVar("ValueT")


class CodecError(Exception):
    """Bytes that are no value of ours, or a value that can't be written."""


def encode_request(request: Request) -> bytes:
    """A step of a sequence. Its model and version are known by where it is kept, and its numbers on
    a link say nothing here."""
    return _written(lambda: encode_step(0, 0, 0, 0, 0, request))


def decode_request(data: Buffer, model: str) -> Request:
    """The request, not checked against its model yet, for the model's version that is served."""
    request = _read(data, decode_step).request
    request.model = model
    return request


def encode_response(response: Response) -> bytes:
    """A response without its request."""
    return _written(lambda: encode_result(0, response))


def decode_response(data: Buffer, request: Request) -> Response:
    """The response to this request."""
    return _read(data, decode_result).response_to(request)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """A snapshot with all of its parts."""

    def encode() -> tuple[Header, Bodies]:
        bodies: Bodies = []
        return pack(Snapshot, snapshot, bodies), bodies

    return _written(encode)


def decode_snapshot(data: Buffer) -> Snapshot:
    """The snapshot. Its arrays are its own."""
    return _read(data, partial(unpack, Snapshot))


def encode_value(value: object) -> bytes:
    """A dataclass of declared types. Raises CodecError for one that can't be written."""

    def encode() -> tuple[Header, Bodies]:
        bodies: Bodies = []
        return pack(type(value), value, bodies), bodies

    return _written(encode)


def decode_value(data: Buffer, kind: type[ValueT]) -> ValueT:
    """A value of this dataclass. Raises CodecError."""
    return _read(data, partial(unpack, kind))


def _written(encode: Callable[[], tuple[Header, Sequence[Body]]]) -> bytes:
    try:
        header, bodies = encode()
        return b"".join(encode_frame((FORMAT, *header), bodies))
    except (OverflowError, ValueError, TypeError, RecursionError) as error:
        raise CodecError(f"a value that can't be written: {error}") from None


def _read(data: Buffer, decode: Callable[[Header, Sequence[memoryview]], ValueT]) -> ValueT:
    try:
        (form, *header), bodies = frame_of(data)
        if form != FORMAT:
            raise CodecError(f"found {form!r:.40}, expected format {FORMAT}")
        return decode(tuple(header), bodies)
    except CodecError:
        raise
    except Exception as error:
        # What can be wrong with bytes is without end, and all of it means the same.
        raise CodecError(f"{type(error).__name__}: {error}") from error
