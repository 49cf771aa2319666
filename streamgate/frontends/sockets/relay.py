"""The front side of a relay: a client came to this process, its session lives in another one."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.sockets.connection import SocketConnection
from streamgate.frontends.sockets.contract import Accepted, Dialect, Handshake, Message, Refusal
from streamgate.frontends.sockets.relay_wire import (
    HANDSHAKE_BYTES_MAX,
    Kind,
    RelayStream,
    acceptance_of,
    farewell_bytes,
    farewell_of,
    handshake_bytes,
    message_of,
    refusal_of,
)

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 5.0
"""How long the other process may take to answer a handshake."""
GONE: Final = (1012, "the process that had the session is gone")


def socket_path(directory: Path, owner: str) -> Path:
    """Where a process of this name can be found."""
    return directory / f"{owner}-ws.sock"


async def relayed(
    path: Path, dialect: Dialect, handshake: Handshake, connection: SocketConnection
) -> Accepted | Refusal:
    """Ask the process behind this socket, and attach its session to the connection.

    Raises StreamGateError: NOT_FOUND when there is nobody, UNAVAILABLE when there is no answer.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            stream = RelayStream(*await asyncio.open_unix_connection(path))
    except (OSError, TimeoutError):
        raise StreamGateError(
            Code.NOT_FOUND,
            "the session of the resume token is over: the process that had it is gone; begin a new "
            "one",
        ) from None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            stream.write(Kind.HANDSHAKE, handshake_bytes(dialect.name, handshake))
            kind, payload = await stream.read(HANDSHAKE_BYTES_MAX)
    except (ConnectionError, TimeoutError):
        stream.abort()
        raise StreamGateError(
            Code.UNAVAILABLE, "the process that has the session does not answer; try again"
        ) from None
    except BaseException:
        stream.abort()
        raise
    if kind is not Kind.ACCEPTED:
        stream.abort()
        return refusal_of(payload)
    answer = acceptance_of(payload)
    relay = _Relay(stream, connection)
    connection.attach(relay, relay.on_heard)
    return Accepted(relay, answer["subprotocol"], answer["headers"])


@final
class _Relay:
    """A `Conversation` that another process leads."""

    def __init__(self, stream: RelayStream, connection: SocketConnection) -> None:
        self._stream = stream
        self._connection = connection
        self._told = 0
        # Pings of the other process, each with how many messages had been told before it.
        self._pings: deque[tuple[int, bytes]] = deque()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._is_closed = False
        self._listening = asyncio.create_task(self._listen())

    @property
    def has_room(self) -> bool:
        return True

    def on_text(self, text: str) -> Awaitable[None] | None:
        return self._pass_on(text)

    def on_binary(self, data: bytes) -> Awaitable[None] | None:
        return self._pass_on(data)

    def pause(self) -> None:
        self._may_read.clear()

    def resume(self) -> None:
        self._may_read.set()

    def keep(self) -> None:
        """The other process does."""

    def on_heard(self, count: int) -> None:
        while self._pings and self._pings[0][0] <= count:
            self._stream.write(Kind.PONG, self._pings.popleft()[1])

    def on_gone(self) -> None:
        """Say how: a client that is lost may come back, one that said goodbye will not."""
        self._listening.cancel()
        code = self._connection.farewell
        if self._connection.is_lost or code is None:
            self._stream.abort()
        else:
            self._stream.write(Kind.CLOSED, farewell_bytes(code))
            self._stream.finish()

    def _pass_on(self, message: Message) -> Awaitable[None] | None:
        self._stream.write_message(message)
        return None if self._stream.has_room else self._drain()

    async def _drain(self) -> None:
        with suppress(ConnectionError):
            await self._stream.drain()

    async def _listen(self) -> None:
        try:
            while True:
                await self._may_read.wait()
                self._hear(*await self._stream.read())
        except ConnectionError:
            if not self._is_closed:
                log.info("the process that had a relayed session is gone")
                self._connection.close(*GONE)

    def _hear(self, kind: Kind, payload: bytes) -> None:
        if kind in (Kind.TEXT, Kind.BINARY):
            self._told += 1
            self._connection.emit(message_of(kind, payload))
        elif kind is Kind.PING:
            self._pings.append((self._told, payload))
            self._connection.ask()
        elif kind is Kind.CLOSE:
            self._is_closed = True
            self._connection.close(*farewell_of(payload))
