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

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, final

from google.protobuf.message import DecodeError

from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.frontends.holding import Hold
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
    unsent_pause_bytes: responses not yet taken by the transport. Above, nothing more is read, no
        further step of the stream's sequences begins, and decoupled models are held up where they
        can be, until it is down to half. Nothing more is read either while responses above this
        limit are held back until it is their turn.
    unsent_bytes: above, the stream is ended with UNAVAILABLE. It takes a decoupled model that
        can't be held up, or very large responses to requests outside sequences.
    unread_seconds: a stream above `unsent_pause_bytes` whose client takes nothing for so long is
        ended with UNAVAILABLE, too: its sequences hold slots that others wait for.
    """

    in_flight: int = 1024
    unsent_pause_bytes: int = 16 * 1024 * 1024
    unsent_bytes: int = 512 * 1024 * 1024
    unread_seconds: float = 60.0


class StreamTransport(Protocol):
    """What carries a stream's messages. No method calls back before it returns."""

    def send(self, message: bytes) -> None:
        """Write this message after those before; `on_sent` is called once it has left."""

    def finish(self, failure: Failure | None, /) -> None:
        """End the call, OK or with this failure, after all messages were written."""

    def break_off(self, failure: Failure, /) -> None:
        """End the call now, with this failure if it can still be told. What was not written is
        dropped."""

    def resume(self) -> None:
        """`wants_message` has become true again."""


@final
class InferStream:
    """One stream and the requests that it has under way.

    `errors_end_stream` is Triton's `triton_grpc_error`: the first error of a model ends the call
    with its status, and whatever else is under way is cancelled. `headers` are forwarded to the
    model with each request. With `says_places`, messages of sequences say which result they are.
    """

    def __init__(
        self,
        gateway: Gateway,
        transport: StreamTransport,
        *,
        limits: StreamLimits,
        errors_end_stream: bool,
        headers: Mapping[str, ParameterValue],
        says_places: bool = False,
    ) -> None:
        self.errors_end_stream = errors_end_stream
        self.says_places = says_places
        self.is_over = False
        self._gateway = gateway
        self._transport = transport
        self._limits = limits
        self._headers = headers
        self._connection = gateway.connect(self._on_sequence_end)
        self._hold = Hold(gateway, self._on_hold_over)
        self._lanes: dict[LaneKey, deque[Exchange]] = {}
        self._live: set[LaneKey] = set()
        self._in_flight = 0
        self._unsent_bytes = 0
        self._held_bytes = 0
        self._is_congested = False
        self._unread_timer: asyncio.TimerHandle | None = None
        self._is_half_closed = False
        self._verdict: Failure | None = None  # what the stream ends with after a half-close
        self._is_draining = False

    @property
    def wants_message(self) -> bool:
        """Whether the transport may read on; `resume` tells when this turns true again."""
        limits = self._limits
        return (
            not self._is_congested
            and not self._hold.is_on
            and self._in_flight < limits.in_flight
            and self._held_bytes <= limits.unsent_pause_bytes
        )

    def on_message(self, data: bytes) -> None:
        """Take one `ModelInferRequest`.

        Bytes that are none end the stream, once what came before them is answered.
        """
        if self.is_over or self._is_half_closed:
            return
        self._hold.receive(len(data))
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
            received = decode(message, payloads, self._headers)
            exchange.received = received
            request = received.request
            key = _lane_key(model, request.sequence)
            if self._is_draining and key not in self._live:
                raise StreamGateError(Code.UNAVAILABLE, SHUTTING_DOWN)
            self._connection.submit(request, exchange.on_response)
            if request.start and config.stateful:
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
            self._close(abort=True)

    def on_sent(self, size_bytes: int) -> None:
        """A message of this size has left."""
        self._unsent_bytes -= size_bytes
        if self._is_congested and not self.is_over:
            self._on_progress()

    def keep(self) -> None:
        """The client is away, and may come back: nothing of it runs out for that."""
        if self._is_congested:
            self._watch()
        for model, sequence in self._live:
            self._connection.keep(model, "", sequence)

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
            if waiting_bytes and self._unsent_bytes > self._limits.unsent_bytes:
                self._break_off(f"at most {self._limits.unsent_bytes} may")
                return
            if not self._is_congested:
                self._is_congested = True
                self._watch()
                self._connection.pause()
        self._transport.send(message)

    def hold(self, size_bytes: int) -> None:
        """So many more bytes are held back by exchanges; fewer when negative."""
        is_full = self._held_bytes > self._limits.unsent_pause_bytes
        self._held_bytes += size_bytes
        if is_full and not self.is_over:
            self._transport.resume()

    def end_exchange(self, exchange: Exchange) -> None:
        """The exchange is over and all of its messages were sent."""
        self._in_flight -= 1
        if self._in_flight + 1 == self._limits.in_flight and not self._is_congested:
            self._transport.resume()
        if exchange.lane is not None and not exchange.lane:
            self._lanes.pop(exchange.lane_key, None)
        received = exchange.received
        if received is not None and received.request.end:
            self._live.discard((exchange.model, received.request.sequence))
        if self._is_half_closed or self._is_draining:
            self._end_if_done()

    def _take(self, exchange: Exchange, key: LaneKey, refusal: Failure | None) -> None:
        """Count the exchange and queue it in its lane."""
        self._in_flight += 1
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

    def _on_progress(self) -> None:
        """The client has taken something while too much waits for it."""
        if self._unsent_bytes * 2 > self._limits.unsent_pause_bytes:
            self._watch()
            return
        self._is_congested = False
        self._stop_watch()
        self._connection.resume()
        if self.wants_message:
            self._transport.resume()

    def _on_hold_over(self) -> None:
        if self.wants_message and not self.is_over:
            self._transport.resume()

    def _watch(self) -> None:
        """Wait for the client to take something, from now on."""
        self._stop_watch()
        seconds = self._limits.unread_seconds
        self._unread_timer = asyncio.get_running_loop().call_later(
            seconds, self._break_off, f"and it took nothing for {seconds:g} s"
        )

    def _stop_watch(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _break_off(self, why: str) -> None:
        """Give up a client that does not read."""
        text = f"the client reads too slowly: {self._unsent_bytes} bytes of responses wait to be "
        self._close(abort=True)
        self._transport.break_off(Failure(Code.UNAVAILABLE, f"{text}sent, {why}"))

    def _end_if_done(self) -> None:
        if self.is_over or self._in_flight:
            return
        if self._is_half_closed:
            self._end(self._verdict)
        elif self._is_draining and not self._live:
            self._end(Failure(Code.UNAVAILABLE, SHUTTING_DOWN))

    def _end(self, failure: Failure | None) -> None:
        """End the call. With a failure, what is still under way is cancelled."""
        self._close(abort=failure is not None)
        self._transport.finish(failure)

    def _close(self, *, abort: bool) -> None:
        self.is_over = True
        self._stop_watch()
        self._hold.stop()
        self._connection.close(abort=abort)


def _lane_key(model: str, sequence: SequenceKey) -> LaneKey:
    return (model, sequence) if sequence else OUTSIDE_SEQUENCES
