"""One ModelInfer call: bytes in, bytes or a failure out, no transport.

Triton's order of checks: version and model, then the decoupled policy, then the message's
parameters and data, then what the session checks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, final

from google.protobuf.message import DecodeError

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.frontends.kserve_grpc import encode
from streamgate.frontends.kserve_grpc.decode import UNPARSABLE, decode, parse
from streamgate.model.config import ModelConfig
from streamgate.model.request import ParameterValue, Response
from streamgate.session.gateway import Gateway

_LOG: Final = logging.getLogger(__name__)

SHUTTING_DOWN: Final = "GRPC server is shutting down and has stopped accepting new requests."


def not_single(count: int) -> Failure:
    """What a request gets whose model should have answered exactly once and did not."""
    return Failure(Code.INTERNAL, f"expected a single response, got {count}")


def unexpected(error: Exception) -> Failure:
    """What a client is told of an error that nobody foresaw; the log has the rest."""
    _LOG.error("a request could not be handled", exc_info=error)
    return Failure(
        Code.INTERNAL,
        f"the request could not be handled ({type(error).__name__}); the server's log says more",
    )


@final
class UnaryInfer:
    """One call, under way from its construction on.

    `answer` is called exactly once with the response's bytes or a failure, unless the construction
    raises StreamGateError (what can be told at once) or `cancel` was called. It is never called
    before the constructor returns.
    """

    __slots__ = (
        "_answer",
        "_answer_at",
        "_call",
        "_classes",
        "_config",
        "_connection",
        "_count",
        "_first",
        "_loop",
    )

    def __init__(
        self,
        gateway: Gateway,
        data: bytes,
        headers: Mapping[str, ParameterValue],
        answer: Callable[[bytes | Failure], None],
    ) -> None:
        try:
            message, payloads = parse(data)
        except DecodeError:
            raise StreamGateError(Code.INTERNAL, UNPARSABLE) from None
        config = gateway.model(message.model_name, message.model_version).config
        if config.decoupled:
            raise StreamGateError(
                Code.UNSUPPORTED,
                "ModelInfer RPC doesn't support models with decoupled transaction policy",
            )
        received = decode(message, payloads, headers)
        self._config: ModelConfig = config
        self._classes = received.classes
        self._answer: Callable[[bytes | Failure], None] | None = answer
        self._count = 0
        self._first: Response | None = None
        self._loop = asyncio.get_running_loop()
        # Of a client that sends more than it may, the next call waits for this one's answer.
        hold_seconds = gateway.owe(len(data))
        self._answer_at = self._loop.time() + hold_seconds if hold_seconds > 0 else 0.0
        self._connection = gateway.connect()
        try:
            self._call = self._connection.submit(received.request, self._on_response)
        except BaseException:
            self._connection.close(abort=False)
            raise

    def cancel(self) -> None:
        """The client has gone, or its deadline has passed."""
        if self._answer is not None:
            self._answer = None
            self._call.cancel()

    def _on_response(self, response: Response) -> None:
        if not response.empty:
            self._count += 1
            if self._first is None:
                self._first = response
        if not response.final:
            return
        # A sequence that the call belongs to goes on: the next call may come from anywhere.
        self._connection.close(abort=False)
        if self._answer_at > self._loop.time():
            self._loop.call_at(self._answer_at, self._tell)
        else:
            self._tell()

    def _tell(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(self._outcome())

    def _outcome(self) -> bytes | Failure:
        first = self._first
        if first is None or self._count != 1:
            return not_single(self._count)
        if first.failure is not None:
            return first.failure
        try:
            return encode.unary_message(first, self._config, self._classes)
        except StreamGateError as error:
            return error.failure
