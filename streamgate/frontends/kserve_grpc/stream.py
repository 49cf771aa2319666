"""One ModelStreamInfer call: bytes in, bytes out, no transport.

The transport calls `on_message` for each message read, `on_half_close` when the client has sent
its last, `on_lost` when the call is gone, and `on_sent` for each message that left. The stream
answers through `StreamTransport`. Everything happens on the event loop's thread, in callbacks.

Order of what is written:
  - responses to one request: as they come;
  - requests to decoupled models: as responses come, whatever was asked first;
  - other requests form lanes: one for each sequence of a model, and one for all requests outside
    sequences. Within a lane, responses and refusals leave in the order of the requests; lanes
    never wait for each other. (Triton has one lane per stream, so that sequences wait for each
    other; outside sequences its clients may rely on the order, as ids need not be unique.)

Bounds: see `StreamLimits`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, final

from google.protobuf.message import DecodeError

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.kserve_grpc.decode import UNPARSABLE, decode, parse
from streamgate.frontends.kserve_grpc.exchange import Exchange, LaneKey
from streamgate.frontends.kserve_grpc.parameters import sequence_of
from streamgate.frontends.kserve_grpc.unary import SHUTTING_DOWN, unexpected
from streamgate.model.request import ParameterValue, SequenceKey
from streamgate.session.gateway import Gateway

OUTSIDE_SEQUENCES: Final[LaneKey] = ("", 0)
"""The lane of requests that belong to no sequence."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How much one stream may have under way.

    in_flight: requests without their last response. At this many, nothing more is read, and the
        pressure reaches the client through HTTP/2's window. A client that keeps many sequences on
        one stream needs room for a request of each: one that waits for a slot is in flight.
    unsent_pause_bytes: responses not yet taken by the transport. Above, nothing more is read.
    unsent_bytes: above, the stream is ended with UNAVAILABLE. It takes a decoupled model that
        produces faster than its client reads, as there is no way to hold such a model up.
    """

    in_flight: int = 1024
    unsent_pause_bytes: int = 16 * 1024 * 1024
    unsent_bytes: int = 512 * 1024 * 1024


class StreamTransport(Protocol):
    """What carries a stream's messages. No method calls back before it returns."""

    def send(self, message: bytes) -> None:
        """Write this message after those before; `on_sent` is called once it has left."""

    def finish(self, failure: Failure | None) -> None:
        """End the call, OK or with this failure, after all messages were written."""

    def resume(self) -> None:
        """`wants_message` has become true again."""


@final
class InferStream:
    """One stream and the requests that it has under way.

    `errors_end_stream` is Triton's `triton_grpc_error`: the first error of a model ends the call
    with its status, and whatever else is under way is cancelled. `headers` are forwarded to the
    model with each request.
    """

    def __init__(
        self,
        gateway: Gateway,
        transport: StreamTransport,
        *,
        limits: StreamLimits,
        errors_end_stream: bool,
        headers: Mapping[str, ParameterValue],
    ) -> None:
        self.errors_end_stream = errors_end_stream
        self.is_over = False
        self._gateway = gateway
        self._transport = transport
        self._limits = limits
        self._headers = headers
        self._connection = gateway.connect(self._on_sequence_end)
        self._lanes: dict[LaneKey, deque[Exchange]] = {}
        self._live: set[LaneKey] = set()
        self._in_flight = 0
        self._unsent_bytes = 0
        self._is_paused = False
        self._is_half_closed = False
        self._verdict: Failure | None = None  # what the stream ends with after a half-close
        self._is_draining = False

    @property
    def wants_message(self) -> bool:
        """Whether the transport may read on; `resume` tells when this turns true again."""
        return not self._is_paused

    def on_message(self, data: bytes) -> None:
        """Take one `ModelInferRequest`.

        Bytes that are none end the stream, once what came before them is answered.
        """
        if self.is_over or self._is_half_closed:
            return
        try:
            message, payloads = parse(data)
        except DecodeError:
            self._verdict = Failure(Code.INTERNAL, UNPARSABLE)
            self.on_half_close()
            return
        model = message.model_name
        exchange = Exchange(self, message.id, model, message.model_version)
        refusal = None
        try:
            config = self._gateway.model(model, message.model_version).config
            exchange.config = config
            received = decode(message, payloads, config, self._headers)
            exchange.received = received
            request = received.request
            key = _lane_key(model, request.sequence)
            if self._is_draining and key not in self._live:
                raise StreamGateError(Code.UNAVAILABLE, SHUTTING_DOWN)
            self._connection.submit(request, exchange.on_response)
            if request.start and config.sequences is not None:
                self._live.add(key)
        except StreamGateError as error:
            refusal = error.failure
            key = _lane_key(model, sequence_of(message.parameters))
        except Exception as error:  # noqa: BLE001, a defect of ours may not end the stream
            refusal = unexpected(error)
            key = _lane_key(model, sequence_of(message.parameters))
        self._take(exchange, key, refusal)

    def on_half_close(self) -> None:
        """The client has sent its last message: finish what is in flight, then end with OK."""
        self._is_half_closed = True
        self._end_if_done()

    def on_lost(self) -> None:
        """The call is gone: cancel everything and end the sequences that the stream owns."""
        if not self.is_over:
            self.is_over = True
            self._connection.close(abort=True)

    def on_sent(self, size_bytes: int) -> None:
        """A message of this size has left."""
        self._unsent_bytes -= size_bytes
        if self._is_paused:
            self._resume_if_room()

    def drain(self) -> None:
        """Serve only the sequences that are live here; end the stream once there are none."""
        self._is_draining = True
        self._end_if_done()

    def send(self, message: bytes | Failure) -> None:
        """Write a message; a failure ends the stream instead. For exchanges, in their order."""
        if self.is_over:
            return
        if isinstance(message, Failure):
            self._end(message)
            return
        waiting_bytes = self._unsent_bytes
        self._unsent_bytes = waiting_bytes + len(message)
        if self._unsent_bytes > self._limits.unsent_pause_bytes:
            self._is_paused = True
            if waiting_bytes and self._unsent_bytes > self._limits.unsent_bytes:
                self._end(
                    Failure(
                        Code.UNAVAILABLE,
                        f"the client reads too slowly: {self._unsent_bytes} bytes of responses "
                        f"wait to be sent, at most {self._limits.unsent_bytes} may",
                    )
                )
                return
        self._transport.send(message)

    def end_exchange(self, exchange: Exchange) -> None:
        """The exchange is over and all of its messages were sent."""
        self._in_flight -= 1
        if exchange.lane is not None and not exchange.lane:
            self._lanes.pop(exchange.lane_key, None)
        received = exchange.received
        if received is not None and received.request.end:
            self._live.discard((exchange.model, received.request.sequence))
        if self._is_paused:
            self._resume_if_room()
        if self._is_half_closed or self._is_draining:
            self._end_if_done()

    def _take(self, exchange: Exchange, key: LaneKey, refusal: Failure | None) -> None:
        """Count the exchange and queue it in its lane."""
        self._in_flight += 1
        if self._in_flight >= self._limits.in_flight:
            self._is_paused = True
        config = exchange.config
        if config is None or not config.decoupled:
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = deque()
            lane.append(exchange)
            exchange.lane = lane
            exchange.lane_key = key
        if refusal is not None:
            exchange.refuse(refusal)

    def _on_sequence_end(self, model: str, sequence: SequenceKey, _reason: EndReason) -> None:
        self._live.discard((model, sequence))
        if self._is_draining:
            self._end_if_done()

    def _resume_if_room(self) -> None:
        if (
            self._in_flight < self._limits.in_flight
            and self._unsent_bytes <= self._limits.unsent_pause_bytes
        ):
            self._is_paused = False
            self._transport.resume()

    def _end_if_done(self) -> None:
        if self.is_over or self._in_flight:
            return
        if self._is_half_closed:
            self._end(self._verdict)
        elif self._is_draining and not self._live:
            self._end(Failure(Code.UNAVAILABLE, SHUTTING_DOWN))

    def _end(self, failure: Failure | None) -> None:
        """End the call. With a failure, what is still under way is cancelled."""
        self.is_over = True
        self._connection.close(abort=failure is not None)
        self._transport.finish(failure)


def _lane_key(model: str, sequence: SequenceKey) -> LaneKey:
    return (model, sequence) if sequence else OUTSIDE_SEQUENCES
