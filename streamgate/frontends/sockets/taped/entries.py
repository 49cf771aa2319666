"""What a conversation was told, one entry for each thing, and entries as bytes.

What a conversation says is a function of these and of its handshake. Numbers of connections, calls,
reservations and moments count from 0, in the order in which the conversation asked for them.
"""

from dataclasses import dataclass
from typing import Any

from streamgate.errors import Code, EndReason, EndWarning, Failure, WarningCause
from streamgate.link.frames import FrameError, encode_frame, frame_of
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.snapshot.codec import CodecError, decode_response, encode_response


@dataclass(frozen=True, slots=True)
class Admitted:
    """The handshake was accepted."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of the client's."""

    message: str | bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """What the last message had to wait for is done."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A response to a call, as bytes: only who made the call knows its request."""

    connection: int
    call: int
    data: bytes

    def response_to(self, request: Request) -> Response:
        """Raises CodecError."""
        return decode_response(self.data, request)


@dataclass(frozen=True, slots=True)
class Raised:
    """A call was refused at once."""

    connection: int
    call: int
    failure: Failure
    retry_seconds: float | None


@dataclass(frozen=True, slots=True)
class Reserved:
    """A reservation was answered: with None where the slot was had."""

    connection: int
    reservation: int
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class SequenceEnded:
    """The end of a sequence was told."""

    connection: int
    model: str
    sequence: SequenceKey
    reason: EndReason


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning was told that a sequence will end."""

    connection: int
    model: str
    sequence: SequenceKey
    warning: EndWarning


@dataclass(frozen=True, slots=True)
class Came:
    """A moment came."""

    moment: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen, the next time that anything was."""

    value: int | float | str


@dataclass(frozen=True, slots=True)
class Taken:
    """The session went on in the process of this name."""

    owner: str


Entry = (
    Admitted
    | Heard
    | Settled
    | Answered
    | Raised
    | Reserved
    | SequenceEnded
    | Warned
    | Came
    | Chosen
    | Taken
)


def answered(connection: int, call: int, response: Response) -> Answered:
    """The entry for a response. Raises CodecError for one that can't be written."""
    return Answered(connection, call, encode_response(response))


def encode_entry(entry: Entry) -> bytes:
    """The entry's bytes. Raises CodecError for what can't be written."""
    try:
        match entry:
            case Heard(bytes() as data):
                return b"b" + data
            case Heard(text):
                return b"t" + str(text).encode("utf-8", "surrogatepass")
            case Answered(connection, call, data):
                return b"r" + _frame(connection, call) + data
            case Raised(connection, call, failure, retry_seconds):
                return b"x" + _frame(connection, call, *_words(failure), retry_seconds)
            case Reserved(connection, reservation, failure):
                told = None if failure is None else _words(failure)
                return b"v" + _frame(connection, reservation, told)
            case SequenceEnded(connection, model, sequence, reason):
                return b"e" + _frame(connection, model, sequence, reason.value)
            case Warned(connection, model, sequence, warning):
                cause, seconds_left = warning.cause.value, warning.seconds_left
                return b"i" + _frame(connection, model, sequence, cause, seconds_left)
            case Came(moment):
                return b"m" + _frame(moment)
            case Chosen(value):
                return b"c" + _frame(value)
            case Taken(owner):
                return b"k" + _frame(owner)
            case Admitted():
                return b"a"
            case Settled():
                return b"s"
    except (ValueError, TypeError, OverflowError) as error:
        raise CodecError(f"what a session was told can't be written: {error}") from None


def decode_entry(data: bytes) -> Entry:
    """Raises CodecError for what is no entry."""
    kind, rest = data[:1], memoryview(data)[1:]
    try:
        match kind:
            case b"b":
                return Heard(bytes(rest))
            case b"t":
                return Heard(bytes(rest).decode("utf-8", "surrogatepass"))
            case b"r":
                size = 8 + int.from_bytes(rest[:4], "little")
                connection, call = _fields(rest[:size], int, int)
                return Answered(connection, call, bytes(rest[size:]))
            case b"x":
                connection, call, code, text, retry = _fields(
                    rest, int, int, str, str, float | None
                )
                return Raised(connection, call, Failure(Code(code), text), retry)
            case b"v":
                connection, number, told = _fields(rest, int, int, tuple | None)
                failure = None if told is None else Failure(Code(told[0]), str(told[1]))
                return Reserved(connection, number, failure)
            case b"e":
                connection, model, sequence, reason = _fields(rest, int, str, int | str, str)
                return SequenceEnded(connection, model, sequence, EndReason(reason))
            case b"i":
                connection, model, sequence, cause, seconds_left = _fields(
                    rest, int, str, int | str, str, float
                )
                warning = EndWarning(WarningCause(cause), seconds_left)
                return Warned(connection, model, sequence, warning)
            case b"m":
                return Came(*_fields(rest, int))
            case b"c":
                return Chosen(*_fields(rest, int | float | str))
            case b"k":
                return Taken(*_fields(rest, str))
            case b"a":
                return Admitted()
            case b"s":
                return Settled()
    except (FrameError, ValueError, TypeError) as error:
        raise CodecError(f"what a session was told can't be read: {error}") from None
    raise CodecError(f"what a session was told is {kind!r}, which is nothing")


def _frame(*fields: Any) -> bytes:
    return b"".join(encode_frame(fields))


def _fields(data: memoryview, *kinds: Any) -> tuple[Any, ...]:
    fields, _ = frame_of(data)
    if len(fields) != len(kinds):
        raise ValueError(f"found {len(fields)} fields, expected {len(kinds)}")
    for field, kind in zip(fields, kinds, strict=True):
        if not isinstance(field, kind):
            raise TypeError(f"found {type(field).__name__}, expected {kind}")
    return fields


def _words(failure: Failure) -> tuple[str, str]:
    return failure.code.value, failure.message
