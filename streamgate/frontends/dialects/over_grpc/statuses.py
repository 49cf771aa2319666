"""Which gRPC status a speech client gets, and for what."""

from typing import Final

from streamgate.errors import Code, EndReason, Failure, OverLimitError, StreamGateError
from streamgate.frontends.codes import GRPC_STATUS
from streamgate.frontends.grpc_service import (
    RESOURCE_EXHAUSTED,
    GrpcStatus,
    Metadata,
    retry_trailers,
)
from streamgate.frontends.speech import SpeechContext, bearer

DEADLINE_EXCEEDED: Final = 4
OUT_OF_RANGE: Final = 11
UNAVAILABLE: Final = GRPC_STATUS[Code.UNAVAILABLE]
INVALID_ARGUMENT: Final = GRPC_STATUS[Code.INVALID_ARG]
UNAUTHENTICATED: Final = 16

RETRY_SECONDS: Final = 1.0

_OF_ENDS: Final = {
    EndReason.IDLE: OUT_OF_RANGE,
    EndReason.LIFETIME: OUT_OF_RANGE,
    EndReason.PREEMPTED: RESOURCE_EXHAUSTED,
    EndReason.DRAINED: UNAVAILABLE,
    EndReason.ENGINE_LOST: UNAVAILABLE,
}


class NoSlotError(StreamGateError):
    """A model that is being served has no slot free, or its client no right to one more."""

    def __init__(self, error: StreamGateError) -> None:
        super().__init__(error.code, error.message)
        self.retry_seconds = RETRY_SECONDS
        if isinstance(error, OverLimitError):
            self.retry_seconds = error.retry_seconds


def invalid(text: str) -> StreamGateError:
    """What the client sent is wrong."""
    return StreamGateError(Code.INVALID_ARG, text)


def refusal(context: SpeechContext, error: StreamGateError) -> GrpcStatus:
    """The status of a call that could not begin. When the server goes away, no slot is free
    either, but trying again soon is of no use."""
    if isinstance(error, NoSlotError) and context.gateway.is_accepting():
        return GrpcStatus(RESOURCE_EXHAUSTED, error.message, retry_trailers(error.retry_seconds))
    return GrpcStatus.of(error.failure)


def end_status(reason: EndReason, failure: Failure | None) -> GrpcStatus | None:
    """The status of a call whose sequence is over; None: it ended well."""
    if failure is None:
        return None
    number = _OF_ENDS.get(reason)
    return GrpcStatus.of(failure) if number is None else GrpcStatus(number, failure.message)


def entered(context: SpeechContext, metadata: Metadata) -> SpeechContext | GrpcStatus:
    """The context of a call that came with this metadata, or why it may not pass."""
    key = _key(metadata)
    if context.access.allows(key):
        return context.of(key)
    return GrpcStatus(
        UNAUTHENTICATED,
        "no valid API key, expected one in the metadata 'authorization: Bearer KEY'",
    )


def _key(metadata: Metadata) -> str:
    """Riva's clients send `authorization`; Google's may send a key in a header of its own."""
    for name, value in metadata:
        if isinstance(value, str):
            if name == "authorization":
                return bearer(value)
            if name == "x-goog-api-key":
                return value
    return ""
