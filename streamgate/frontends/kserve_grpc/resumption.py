"""Who gets a stream: a new one, one that can be resumed, or one that was lost and comes back.

The same for both gRPC transports. See docs/session-store.md for what a client does.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.codes import GRPC_STATUS
from streamgate.frontends.grpc_service import CallHandler, GrpcStatus, Metadata
from streamgate.frontends.kserve_grpc.resumable import (
    LAST_EVENT_KEY,
    SECONDS_KEY,
    TOKEN_KEY,
    KeepLimits,
    ResumableStream,
    ResumableWire,
)
from streamgate.frontends.kserve_grpc.stream import InferStream, StreamTransport
from streamgate.frontends.shelf import Shelf
from streamgate.observe.resumption import ResumeCounts
from streamgate.session.tokens import SESSION_BYTES, Claim, TokenError, TokenFault, TokenSigner

log = logging.getLogger(__name__)

PURPOSE: Final = "grpc stream"
TOKEN_SECONDS: Final = 7 * 24 * 3600.0
"""How long a token is good, if its stream lives so long."""

UNAUTHENTICATED: Final = 16
_SECONDS_MAX: Final = 3600.0
_DIGITS_MAX: Final = 18

BeginStream = Callable[[StreamTransport, bool], InferStream]
"""Makes a call's `InferStream` over a transport; whether its messages say their places."""


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


@final
class RefusedCall:
    """A call that has been refused: what comes of it is not looked at."""

    wants_message = True

    def on_message(self, data: bytes) -> None:
        """Its status has been sent."""

    def on_half_close(self) -> None:
        """The same."""

    def on_lost(self) -> None:
        """The same."""

    def on_sent(self, size_bytes: int) -> None:
        """Nothing was."""

    def drain(self) -> None:
        """Nothing is under way."""


@final
class StreamReception:
    """Every stream of a front end that can be resumed, attached or not."""

    def __init__(self, options: StreamResumption) -> None:
        self._options = options
        self._shelf = Shelf[ResumableStream](options.streams, options.bytes)

    def receive(self, wire: ResumableWire, metadata: Metadata, begin: BeginStream) -> CallHandler:
        """What handles a call that comes with this metadata."""
        wishes = {name: value for name, value in metadata if isinstance(value, str)}
        try:
            if TOKEN_KEY in wishes:
                return self._resume(wire, wishes)
            seconds = _seconds(wishes.get(SECONDS_KEY, ""), self._options.seconds_max)
        except _RefusalError as error:
            wire.finish(error.status)
            return RefusedCall()
        if not seconds:
            return begin(wire, False)
        number = secrets.token_bytes(SESSION_BYTES)
        stream = ResumableStream(
            number, self._token(number), seconds, self._options.keep, self._shelf
        )
        self._shelf.add(stream)
        return stream.begin(begin(stream, True), wire)

    def stop(self) -> None:
        """Give up all that are detached; from now on, none is kept."""
        self._shelf.stop()

    @property
    def counts(self) -> ResumeCounts:
        """How many wait for their clients, and what became of the others."""
        return self._shelf.counts

    def _resume(self, wire: ResumableWire, wishes: Mapping[str, str]) -> CallHandler:
        number = self._number(wishes[TOKEN_KEY])
        last_event = _last_event(wishes.get(LAST_EVENT_KEY, "0"))
        stream = self._shelf.find(number)
        if stream is None:
            self._shelf.refuse("expired")
            why = self._shelf.why_over(number) or "it is not known here"
            raise _RefusalError(
                Code.NOT_FOUND, f"the stream of '{TOKEN_KEY}' is over: {why}; begin a new one"
            )
        try:
            attachment = stream.go_on(wire, last_event, self._token(number))
        except StreamGateError as error:
            self._shelf.refuse("gap")
            raise _RefusalError(error.code, error.message) from None
        self._shelf.take_down(stream)
        return attachment

    def _number(self, token: str) -> bytes:
        try:
            return self._options.signer.verify(PURPOSE, token).session
        except TokenError as error:
            self._shelf.refuse(error.fault.value)
            what = "is not valid" if error.fault is TokenFault.FORGED else "has expired"
            text = f"the token in '{TOKEN_KEY}' {what}"
            raise _RefusalError(Code.INVALID_ARG, text, UNAUTHENTICATED) from None

    def _token(self, number: bytes) -> str:
        return self._options.signer.sign(PURPOSE, Claim(number), TOKEN_SECONDS)


class _RefusalError(Exception):
    """Why a call is refused."""

    def __init__(self, code: Code, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.status = GrpcStatus(number or GRPC_STATUS[code], text)


def _seconds(text: str, most: float) -> float:
    """For how long a client wants to be waited for; 0 if it does not."""
    if not text:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _SECONDS_MAX:
        raise _RefusalError(
            Code.INVALID_ARG,
            f"'{SECONDS_KEY}' is '{text[:100]}', expected seconds from 0 to {_SECONDS_MAX:g}",
        )
    return min(seconds, most)


def _last_event(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise _RefusalError(
            Code.INVALID_ARG, f"'{LAST_EVENT_KEY}' is '{text[:100]}', expected a number of messages"
        )
    return int(text)
