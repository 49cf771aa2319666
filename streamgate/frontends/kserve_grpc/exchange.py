"""One request on a stream and its responses: which message each response becomes.

Message forms, as Triton 2.51 has them:
  - data: the response, with the parameter `triton_final_response`;
  - refused before it was admitted: the error and the request's id, nothing else;
  - failed later: the error, the id, model and version *as the request named them*, and
    `triton_final_response`;
  - end of a decoupled request that has no response of its own: a message without outputs if the
    request asked for it (`triton_enable_empty_final_response`), else nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol, final

from streamgate.errors import Failure, StreamGateError
from streamgate.frontends.kserve_grpc import encode
from streamgate.frontends.kserve_grpc.decode import Received
from streamgate.frontends.kserve_grpc.unary import not_single
from streamgate.model.config import ModelConfig
from streamgate.model.request import Response, SequenceKey
from streamgate.session.named_position import POSITION_PARAMETER

INDEX_PARAMETER: Final = "streamgate_index"

LaneKey = tuple[str, SequenceKey]
"""Model, and sequence; 0 outside sequences."""


class ExchangeOwner(Protocol):
    """The stream that an exchange belongs to."""

    errors_end_stream: bool
    says_places: bool
    """Whether each message says which result of its sequence it is."""
    is_over: bool

    def send(self, message: bytes | Failure) -> None:
        """Write a message; a failure ends the stream instead."""

    def hold(self, size_bytes: int) -> None:
        """So many more bytes wait for their turn; fewer when negative."""

    def end_exchange(self, exchange: Exchange) -> None:
        """The exchange is over and all of its messages were sent."""


@final
class Exchange:
    """A request, from its arrival until its last message was sent.

    `lane` holds the exchanges whose messages must leave in order, the one whose turn it is first;
    None when this one's may leave at any time. Messages made before its turn are held back.
    """

    __slots__ = (
        "_held",
        "_request_id",
        "_version",
        "config",
        "is_over",
        "lane",
        "lane_key",
        "model",
        "owner",
        "received",
    )

    def __init__(self, owner: ExchangeOwner, request_id: str, model: str, version: str) -> None:
        self.owner = owner
        self.model: Final = model
        self.config: ModelConfig | None = None
        self.received: Received | None = None
        self.lane: deque[Exchange] | None = None
        self.lane_key: LaneKey = (model, 0)
        self.is_over = False
        self._request_id = request_id
        self._version = version
        self._held: list[bytes | Failure] = []

    def refuse(self, failure: Failure) -> None:
        """The request was not admitted."""
        self._emit(encode.stream_refusal(self._request_id, failure_text(failure)))
        self._close()

    def on_response(self, response: Response) -> None:
        """Take one response of the request; the sink that was given to the gateway."""
        if self.owner.is_over or self.is_over:
            return
        failure = response.failure
        config, received = self.config, self.received
        assert config is not None
        assert received is not None
        if failure is None:
            if not response.empty:
                try:
                    message = encode.stream_message(response, config, received.classes)
                    self._emit(self._placed(message, response))
                except StreamGateError as error:
                    failure = error.failure
            elif not config.decoupled:
                failure = not_single(0)
            elif received.empty_final:
                message = encode.stream_empty_final(self._request_id, self.model, self._version)
                self._emit(self._placed(message, response))
        if failure is not None:
            self._fail(failure, response)
        if response.final:
            self._close()

    def release(self) -> None:
        """It is this exchange's turn: send what was held back."""
        if not self._held:
            return
        held, self._held = self._held, []
        self.owner.hold(-_size_bytes(held))
        for message in held:
            self.owner.send(message)

    def _fail(self, failure: Failure, response: Response) -> None:
        text = failure_text(failure)
        if not response.admitted:
            self._emit(self._placed(encode.stream_refusal(self._request_id, text), response))
        elif self.owner.errors_end_stream:
            self._emit(Failure(failure.code, text))
        else:
            message = encode.stream_failure(
                self._request_id, self.model, self._version, text, final=response.final
            )
            self._emit(self._placed(message, response))

    def _placed(self, message: bytes, response: Response) -> bytes:
        if not self.owner.says_places or response.position < 0:
            return message
        places = {POSITION_PARAMETER: response.position, INDEX_PARAMETER: response.index}
        return encode.with_parameters(message, places)

    def _emit(self, message: bytes | Failure) -> None:
        lane = self.lane
        if lane is None or lane[0] is self:
            self.owner.send(message)
        else:
            self._held.append(message)
            self.owner.hold(_size_bytes((message,)))

    def _close(self) -> None:
        self.is_over = True
        lane = self.lane
        if lane is None:
            self.owner.end_exchange(self)
        elif lane[0] is self:
            while lane and lane[0].is_over:
                self.owner.end_exchange(lane.popleft())
                if lane:
                    lane[0].release()


def _size_bytes(messages: Iterable[bytes | Failure]) -> int:
    return sum(len(message) for message in messages if isinstance(message, bytes))


def failure_text(failure: Failure) -> str:
    """The failure's message; its code's word if it has none, as an empty text means success."""
    return failure.message or failure.code.value
