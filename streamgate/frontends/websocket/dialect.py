"""The dialect on its wire: its path, its limits, one conversation for each connection."""

from collections.abc import Awaitable
from typing import Final, final

from streamgate.errors import Code, Failure
from streamgate.frontends.api_keys import API_KEY, key_of
from streamgate.frontends.sockets.contract import Accepted, Handshake, Outlet, Patience, Refusal
from streamgate.frontends.sockets.numbered import Numbered, PlainManners, granted
from streamgate.frontends.websocket.answers import error_message
from streamgate.frontends.websocket.stream import SequenceStream
from streamgate.session.gateway import Gateway

PATH = "/v1/sequence"

_STATUSES: Final = {
    Code.INVALID_ARG: 400,
    Code.UNSUPPORTED: 400,
    Code.NOT_FOUND: 404,
    Code.UNAVAILABLE: 503,
}


@final
class SequenceDialect:
    """One sequence on any model for each connection, at `/v1/sequence`.

    A connection's socket is not read beyond `in_flight` steps or `in_flight_bytes` of them that
    wait for their answer. A client that sends no `open` for `open_seconds` is given up.
    """

    name = "sequence"
    path = PATH
    offers_resume = True

    def __init__(
        self, gateway: Gateway, in_flight: int, in_flight_bytes: int, open_seconds: float
    ) -> None:
        self._gateway = gateway
        self._in_flight = in_flight
        self._in_flight_bytes = in_flight_bytes
        self._open_seconds = open_seconds

    def matches(self, handshake: Handshake) -> bool:
        return handshake.path == PATH

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        headers = handshake.headers
        # A browser can't send headers with a WebSocket.
        key = key_of(headers.get("authorization"), headers.get(API_KEY)) or handshake.value("key")
        outlet = Numbered.unless_cut(outlet)
        stream = SequenceStream(
            self._gateway.of(key), outlet.emit, outlet.close, outlet.room, granted(outlet.grant)
        )
        conversation = _Conversation(
            stream, outlet, self._in_flight, self._in_flight_bytes, self._open_seconds
        )
        return Accepted(conversation, manners=PlainManners())

    def bar(self, handshake: Handshake) -> None:
        """Nobody: this dialect has no keys."""

    def refuse(self, failure: Failure) -> Refusal:
        return Refusal(_STATUSES.get(failure.code, 500), f"{failure.message}\n")


@final
class _Conversation:
    def __init__(
        self,
        stream: SequenceStream,
        outlet: Outlet,
        in_flight: int,
        in_flight_bytes: int,
        open_seconds: float,
    ) -> None:
        self._stream = stream
        self._outlet = outlet
        self._in_flight = in_flight
        self._in_flight_bytes = in_flight_bytes
        self._open_seconds = open_seconds
        self._patience = Patience(open_seconds, self._on_no_open)

    @property
    def has_room(self) -> bool:
        stream = self._stream
        return (
            stream.in_flight < self._in_flight
            and stream.in_flight_bytes < self._in_flight_bytes
            and not stream.is_held_back
        )

    def on_text(self, text: str) -> Awaitable[None] | None:
        waiting = self._stream.on_text(text)
        if waiting is not None:
            return self._wait(waiting)
        self._heed_open()
        return None

    async def _wait(self, waiting: Awaitable[None]) -> None:
        await waiting
        self._heed_open()

    def _heed_open(self) -> None:
        if self._stream.is_open:
            self._patience.stop()

    def on_binary(self, data: bytes) -> Awaitable[None] | None:
        self._stream.on_binary(data)
        return None

    def state(self) -> bytes | None:
        return self._stream.state()

    def restore(self, state: bytes) -> None:
        self._stream.restore(state)
        self._heed_open()

    def pause(self) -> None:
        self._stream.pause()

    def resume(self) -> None:
        self._stream.resume()

    def keep(self) -> None:
        self._patience.renew()
        self._stream.keep()

    def on_gone(self) -> None:
        self._patience.stop()
        self._stream.on_gone()

    def _on_no_open(self) -> None:
        message = f"no 'open' within {self._open_seconds:g} s"
        self._outlet.emit(error_message(Code.INVALID_ARG, message))
        self._outlet.close(1008, "no open")
