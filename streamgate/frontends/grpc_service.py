"""A gRPC service beside KServe's on the same port, as both gRPC transports mount it.

Knows no transport: messages are bytes, and every call is handled as one that streams both ways (on
the wire, a unary call is one that has a single message each way).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, Protocol, final

from streamgate.errors import Failure, OverLimitError
from streamgate.frontends.codes import GRPC_STATUS

Metadata = Sequence[tuple[str, str | bytes]]
"""What a call came with; keys are in lower case."""

RESOURCE_EXHAUSTED: Final = 8

TEXT_CHARS_MAX = 1000
"""A status goes in a header. Clients take some KiB of those, and see another error with more; and
what a client has said itself may be in its text."""


@dataclass(frozen=True, slots=True)
class GrpcStatus:
    """How a call ends that does not end well: a number of gRPC's own, a text, trailing metadata."""

    number: int
    text: str = ""
    trailers: Sequence[tuple[str, str]] = ()

    @classmethod
    def of(cls, failure: Failure) -> "GrpcStatus":
        text = failure.message
        if len(text) > TEXT_CHARS_MAX:
            text = f"{text[:TEXT_CHARS_MAX]}..."
        return cls(GRPC_STATUS[failure.code], text)

    @classmethod
    def of_limit(cls, error: OverLimitError) -> "GrpcStatus":
        """RESOURCE_EXHAUSTED, and when to come again."""
        return cls(RESOURCE_EXHAUSTED, error.message, retry_trailers(error.retry_seconds))


def retry_trailers(seconds: float) -> Sequence[tuple[str, str]]:
    """When a client may come again."""
    return (
        ("retry-after", str(ceil(seconds))),
        # What a gRPC client's own retries heed (proposal A6 of the gRPC project).
        ("grpc-retry-pushback-ms", str(ceil(seconds * 1000))),
    )


class CallWire(Protocol):
    """What carries a call's messages. No method calls back before it returns."""

    def send(self, message: bytes) -> None:
        """Write this message after those before; `on_sent` is called once it has left."""

    def finish(self, status: GrpcStatus | None, /) -> None:
        """End the call, OK or with this status, after all messages were written."""

    def break_off(self, status: GrpcStatus, /) -> None:
        """End the call now, with this status if it can still be told. What was not written is
        dropped."""

    def resume(self) -> None:
        """`wants_message` has become true again."""


class FreshWire(CallWire, Protocol):
    """A call's wire over which nothing has been written yet."""

    def start(self, metadata: Sequence[tuple[str, str]], /) -> None:
        """Send the call's initial metadata, before any message."""


class CallHandler(Protocol):
    """One call, without its transport. Called on the event loop's thread; nothing may be raised."""

    @property
    def wants_message(self) -> bool:
        """Whether the transport may read on; `CallWire.resume` tells when this turns true again."""

    def on_message(self, data: bytes, /) -> None: ...

    def on_half_close(self) -> None:
        """The client has sent its last message. May come while no message is wanted."""

    def on_lost(self) -> None:
        """The call is gone: cancelled, out of time, or its connection lost. Called at the end of
        each call too, when there is nothing left to do."""

    def on_sent(self, size_bytes: int, /) -> None:
        """Messages of this many bytes have left."""

    def drain(self) -> None:
        """The server goes away: begin nothing new."""


@final
class RefusedCall:
    """A call that has been refused: what comes of it is not looked at."""

    wants_message = True

    def on_message(self, data: bytes, /) -> None:
        """Its status has been sent."""

    def on_half_close(self) -> None:
        """The same."""

    def on_lost(self) -> None:
        """The same."""

    def on_sent(self, size_bytes: int, /) -> None:
        """Nothing was."""

    def drain(self) -> None:
        """Nothing is under way."""


OpenCall = Callable[[FreshWire, Metadata], CallHandler]


@dataclass(frozen=True, slots=True)
class GrpcService:
    """A service by the full name that clients call it by, and what begins each method's calls."""

    name: str
    methods: Mapping[str, OpenCall]
