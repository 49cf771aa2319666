"""What the processes of a server tell and ask each other: small messages over a stream socket.

Either end tells, asks and answers. A message is its length (four bytes) and a msgpack list:

    ["tell", what, value]             heard, not answered
    ["ask", number, what, value]      answered once, by one of the next two
    ["answer", number, value]
    ["refuse", number, code, message]
"""

import asyncio
import itertools
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import msgpack

from streamgate.errors import Code, StreamGateError

log = logging.getLogger(__name__)

MESSAGE_BYTES_MAX: Final = 64 * 2**20
"""The metrics of many models are the largest that there is."""

_LENGTH: Final = struct.Struct("<I")

Answer = Callable[[str, Any], Awaitable[Any]]
"""Answers a question: what, value. A StreamGateError is a refusal."""

Hear = Callable[[str, Any], None]


class PeerLostError(Exception):
    """The other process is gone, or says what is no message."""


@final
class Peer(asyncio.Protocol):
    """One end of a connection. `on_lost` is called once, when the other end is gone.

    `answer` may take its time: several questions may be under way at once.
    """

    def __init__(
        self,
        answer: Answer | None = None,
        hear: Hear | None = None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._answer = answer
        self._hear = hear
        self._on_lost = on_lost
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._is_lost = False

    @property
    def unsent_bytes(self) -> int:
        """What the other end has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def tell(self, what: str, value: Any = None) -> None:
        """Say something; lost if the other end is gone."""
        self._send(["tell", what, value])

    async def ask(self, what: str, value: Any = None, *, seconds: float | None = None) -> Any:
        """Ask something and wait for the answer.

        Raises StreamGateError when it is refused, TimeoutError after `seconds` and PeerLostError
        when the other end is gone.
        """
        if self._is_lost:
            raise PeerLostError(f"'{what}' can't be asked: the process is gone")
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(["ask", number, what, value])
            async with asyncio.timeout(seconds):
                return await answer
        finally:
            del self._asked[number]

    def close(self) -> None:
        """Hang up. Safe to call twice."""
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            while (message := self._next()) is not None:
                self._take(message)
        except (ValueError, TypeError, msgpack.UnpackException):
            self.close()  # what can't be read can't be trusted: as if it were gone

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(PeerLostError("the process went away without an answer"))
        for task in self._answering:
            task.cancel()
        self._on_lost()

    # -- the messages

    def _next(self) -> list[Any] | None:
        if len(self._received) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._received)
        if length > MESSAGE_BYTES_MAX:
            raise ValueError(f"a message of {length} bytes")
        end = _LENGTH.size + length
        if len(self._received) < end:
            return None
        message = msgpack.unpackb(bytes(self._received[_LENGTH.size : end]))
        del self._received[:end]
        if not isinstance(message, list):
            raise TypeError("a message is a list")
        return message

    def _take(self, message: list[Any]) -> None:
        match message:
            case ["tell", str(what), value]:
                if self._hear is not None:
                    self._hear(what, value)
            case ["ask", int(number), str(what), value]:
                task = asyncio.ensure_future(self._reply(number, what, value))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            case ["answer", int(number), value]:
                if (answer := self._asked.get(number)) is not None and not answer.done():
                    answer.set_result(value)
            case ["refuse", int(number), str(code), str(text)]:
                if (answer := self._asked.get(number)) is not None and not answer.done():
                    answer.set_exception(StreamGateError(Code(code), text))
            case _:
                raise ValueError("no such message")

    async def _reply(self, number: int, what: str, value: Any) -> None:
        try:
            if self._answer is None:
                raise StreamGateError(Code.UNSUPPORTED, f"'{what}' can't be asked here")
            answer = await self._answer(what, value)
        except StreamGateError as error:
            self._send(["refuse", number, error.code.value, error.message])
        except Exception as error:
            # Whoever asks waits for an answer, whatever is broken here.
            log.exception("'%s' could not be answered", what)
            self._send(["refuse", number, Code.INTERNAL.value, f"{type(error).__name__}: {error}"])
        else:
            self._send(["answer", number, answer])

    def _send(self, message: list[Any]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            packed = msgpack.packb(message)
            self._transport.write(_LENGTH.pack(len(packed)) + packed)


async def attach(end: socket.socket, peer: Peer) -> Peer:
    """Let the peer speak over a connected stream socket."""
    end.setblocking(False)
    await asyncio.get_running_loop().create_unix_connection(lambda: peer, sock=end)
    return peer
