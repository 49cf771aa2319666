"""Who gets a conversation: a new one, one that can be resumed, or one that was lost and comes back.

The same for both gRPC transports and all services. See docs/resume.md for what a client does.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.grpc_resumption.metadata import TOKEN, last_event_in, seconds_in
from streamgate.frontends.grpc_resumption.stream import (
    Carried,
    KeepLimits,
    ResumableStream,
    Words,
)
from streamgate.frontends.grpc_service import (
    CallHandler,
    FreshWire,
    GrpcStatus,
    Metadata,
    RefusedCall,
)
from streamgate.frontends.shelf import Shelf
from streamgate.observe.resumption import ResumeCounts
from streamgate.session.tokens import SESSION_BYTES, Claim, TokenError, TokenFault, TokenSigner

PURPOSE: Final = "grpc stream"
TOKEN_SECONDS: Final = 7 * 24 * 3600.0
"""How long a token is good, if its stream lives so long."""

UNAUTHENTICATED: Final = 16


@dataclass(frozen=True, slots=True)
class StreamResumption:
    """What is promised to clients that ask for it with `streamgate-resume-seconds`.

    They get as many seconds as they ask for, at most `seconds_max`. At most `streams` are detached
    at a time, with at most `bytes` of messages kept for all together. `signer` signs their tokens.
    """

    signer: TokenSigner = field(default_factory=TokenSigner.random)
    seconds_max: float = 300.0
    streams: int = 1000
    bytes: int = 256 * 2**20
    keep: KeepLimits = field(default_factory=KeepLimits)


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a method's calls begin: `plain`, over the call's own wire, or `resumable`, over a stream
    that has the words for it. `kind` is the method's name: its tokens are no other's."""

    kind: str
    plain: Callable[[], CallHandler]
    resumable: Callable[[ResumableStream], tuple[Carried, Words]]


@final
class StreamReception:
    """Every stream of a process that can be resumed, attached or not."""

    def __init__(self, options: StreamResumption) -> None:
        self._options = options
        self._shelf = Shelf[ResumableStream](options.streams, options.bytes)

    def receive(self, wire: FreshWire, metadata: Metadata, beginning: Beginning) -> CallHandler:
        """What handles a call that comes with this metadata."""
        wishes = {name: value for name, value in metadata if isinstance(value, str)}
        try:
            if TOKEN in wishes:
                return self._resume(wire, wishes, beginning.kind)
            seconds = seconds_in(wishes, self._options.seconds_max)
        except _ForgedError as error:
            wire.finish(GrpcStatus(UNAUTHENTICATED, str(error)))
            return RefusedCall()
        except StreamGateError as error:
            wire.finish(GrpcStatus.of(error.failure))
            return RefusedCall()
        if not seconds:
            return beginning.plain()
        number = secrets.token_bytes(SESSION_BYTES)
        stream = ResumableStream(
            number, beginning.kind, self._token(number), seconds, self._options.keep, self._shelf
        )
        carried, words = beginning.resumable(stream)
        self._shelf.add(stream)
        return stream.begin(carried, words, wire)

    def stop(self) -> None:
        """Give up all that are detached; from now on, none is kept."""
        self._shelf.stop()

    @property
    def counts(self) -> ResumeCounts:
        """How many wait for their clients, and what became of the others."""
        return self._shelf.counts

    def _resume(self, wire: FreshWire, wishes: Mapping[str, str], kind: str) -> CallHandler:
        number = self._number(wishes[TOKEN])
        last_event = last_event_in(wishes)
        stream = self._shelf.find(number)
        if stream is None:
            self._shelf.refuse("expired")
            why = self._shelf.why_over(number) or "it is not known here"
            raise StreamGateError(
                Code.NOT_FOUND, f"the stream of '{TOKEN}' is over: {why}; begin a new one"
            )
        if stream.kind != kind:
            self._shelf.refuse("foreign")
            raise StreamGateError(
                Code.INVALID_ARG,
                f"the token in '{TOKEN}' is for a call of '{stream.kind}', not of '{kind}'",
            )
        try:
            attachment = stream.go_on(wire, last_event, self._token(number))
        except StreamGateError:
            self._shelf.refuse("gap")
            raise
        self._shelf.take_down(stream)
        return attachment

    def _number(self, token: str) -> bytes:
        try:
            return self._options.signer.verify(PURPOSE, token).session
        except TokenError as error:
            self._shelf.refuse(error.fault.value)
            what = "is not valid" if error.fault is TokenFault.FORGED else "has expired"
            raise _ForgedError(f"the token in '{TOKEN}' {what}") from None

    def _token(self, number: bytes) -> str:
        return self._options.signer.sign(PURPOSE, Claim(number), TOKEN_SECONDS)


class _ForgedError(Exception):
    """A token that opens nothing."""
