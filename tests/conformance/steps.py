"""What a scripted client does, as values: a case is a short list of steps.

A step says what is sent and by which means, never what comes back: answers are compared between
two servers (see differential.py), or with the recorded answers of one. Steps are plain values, so
that cases can be generated as well as written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Scalar: TypeAlias = bool | int | float | str
Element: TypeAlias = bool | int | float | bytes
Transport: TypeAlias = Literal["grpc", "http"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input tensor: `data` in row-major order; BYTES elements are `bytes`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class SequenceStep:
    """The sequence that a request belongs to."""

    id: int | str
    start: bool = False
    end: bool = False


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output the client asks for by name."""

    name: str
    class_count: int = 0
    binary: bool = True


@dataclass(frozen=True, slots=True)
class Infer:
    """One inference through the unmodified tritonclient.

    `json` sends and asks for JSON instead of binary tensors (HTTP only). `deadline_ms` is the
    client's own deadline and `cancel_after_ms` cancels the call (gRPC only).
    """

    model: str
    inputs: tuple[Tensor, ...]
    via: Transport = "grpc"
    version: str = ""
    id: str = ""
    sequence: SequenceStep | None = None
    outputs: tuple[RequestedOutput, ...] = ()
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    priority: int = 0
    timeout_us: int | None = None
    json: bool = False
    empty_final: bool = False
    deadline_ms: int | None = None
    cancel_after_ms: int | None = None
    compression: Literal["gzip", "deflate"] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Let time pass. Only where a server's own clock is what the case is about."""

    duration_ms: int


@dataclass(frozen=True, slots=True)
class Await:
    """Within a stream: wait until so many responses have arrived on it in total."""

    responses: int


@dataclass(frozen=True, slots=True)
class Stream:
    """One ModelStreamInfer call by tritonclient: send, half-close, take everything that comes.

    `any_order` is for a stream of several sequences: Triton makes them wait for one another and
    answers in the order of the requests, StreamGate answers each sequence as soon as it can.
    """

    parts: tuple[Infer | Pause | Await, ...]
    any_order: bool = False
    grpc_error: bool = False
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class RawGrpc:
    """One unary call; `message` is the request in protobuf text format, or bytes as they are."""

    method: str
    message: str | bytes
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RawGrpcStream:
    """One ModelStreamInfer call of messages that tritonclient would not send."""

    messages: tuple[str | bytes, ...]
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RawHttp:
    """One HTTP/1.1 request, sent as it stands."""

    method: str
    path: str
    body: str | bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a step in the background."""

    name: str
    step: Infer | Stream | RawGrpc | RawGrpcStream | RawHttp


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for a background step; its answer stands here."""

    name: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """Requests sent on a stream that stays open, without waiting; then so many messages awaited.

    The first exchange opens the stream, a HangUp or the end of the case closes it. Answers are
    listed by the part of their id before "#", and in the order of their arrival within it: two
    sequences on a stream do not wait for one another here, as they do in Triton.
    """

    stream: str
    requests: tuple[Infer, ...]
    responses: int


@dataclass(frozen=True, slots=True)
class HangUp:
    """Half-close a stream, or cancel it, and take what still comes."""

    stream: str
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class Together:
    """Requests sent at the same time, each over a call of its own."""

    requests: tuple[Infer, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """Run steps and tell by how much the model's statistics counters grew."""

    model: str
    steps: tuple[Infer | Stream, ...]


Step: TypeAlias = (
    Infer
    | Stream
    | RawGrpc
    | RawGrpcStream
    | RawHttp
    | Pause
    | Start
    | Join
    | Exchange
    | HangUp
    | Together
    | Counted
)


@dataclass(frozen=True, slots=True)
class Case:
    """A named script. `about` is what it shows, in one line."""

    name: str
    about: str
    steps: tuple[Step, ...]


def client_steps(steps: Sequence[Step]) -> int:
    """How many requests the steps send."""
    count = 0
    for step in steps:
        match step:
            case Stream(parts):
                count += sum(isinstance(part, Infer) for part in parts)
            case RawGrpcStream(messages):
                count += len(messages)
            case Exchange(_, requests, _) | Together(requests):
                count += len(requests)
            case Start(_, inner):
                count += client_steps((inner,))
            case Counted(_, inner_steps):
                count += client_steps(inner_steps)
            case Infer() | RawGrpc() | RawHttp():
                count += 1
            case _:
                pass
    return count


def int32(name: str, *data: int, shape: Sequence[int] | None = None) -> Tensor:
    """An INT32 tensor; one-dimensional unless `shape` is given."""
    return Tensor(name, "INT32", tuple(shape) if shape is not None else (len(data),), data)


def fp32(name: str, *data: float, shape: Sequence[int] | None = None) -> Tensor:
    """An FP32 tensor; one-dimensional unless `shape` is given."""
    return Tensor(name, "FP32", tuple(shape) if shape is not None else (len(data),), data)


def text(name: str, *data: bytes, shape: Sequence[int] | None = None) -> Tensor:
    """A BYTES tensor; one-dimensional unless `shape` is given."""
    return Tensor(name, "BYTES", tuple(shape) if shape is not None else (len(data),), data)
