"""One WebSocket connection's tasks: a reader, a writer, and watches."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, final

from streamgate.frontends.sockets.contract import (
    Conversation,
    Grant,
    Message,
    Socket,
    SocketClosed,
)

log = logging.getLogger(__name__)

GONE_SECONDS = 1.0
"""How often it is asked whether a client is gone that is not being read."""
LOST_CODES: Final = frozenset({1001, 1006, 1011, 1012, 1013, 1014, 1015})
"""Close codes of clients that did not mean to end anything: they go away, or something failed."""
UNHEARD_BYTES: Final = 16 * 2**10
UNHEARD_MESSAGES: Final = 64
"""After so much was sent, whoever asks what the client has got (`on_heard`) is told early."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections there may be, what one may hold, and how long its client may take.

    Beyond `unsent_pause_bytes` of messages that wait for a slow reader, its socket is not read and
    its conversation is paused, until they are down to half; beyond `unsent_bytes` the client is
    given up. A client that takes no message for `send_seconds`, or does not answer a ping within
    `ping_seconds` (one is sent that often), is given up.
    """

    connections: int = 10_000
    unsent_pause_bytes: int = 8 * 2**20
    unsent_bytes: int = 64 * 2**20
    frame_bytes: int = 64 * 2**20
    send_seconds: float = 60.0
    ping_seconds: float = 20.0


@final
class SocketConnection:
    """One client: a reader that feeds the conversation, a writer that empties its queue, and a
    watch that finds out when the client is gone without a word. An `Outlet`, too."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._socket: Socket | None = None
        self._conversation: Conversation | None = None
        self._outgoing: deque[Message] = deque()
        self._unsent_bytes = 0
        self._is_congested = False
        self._closing: tuple[int, str] | None = None
        self._to_write = asyncio.Event()
        self._room = asyncio.Event()
        self._heard = False
        self._sending_since: float | None = None
        self._emitted = 0
        self._sent = 0
        self._sent_bytes = 0
        self._on_heard: Callable[[int], None] | None = None
        self._to_ping = asyncio.Event()

    def attach(
        self, conversation: Conversation, on_heard: Callable[[int], None] | None = None
    ) -> None:
        """The handshake led to this conversation. `on_heard` is told now and then how many
        messages the client has certainly got: those that went before a ping which it answered."""
        self._conversation = conversation
        self._on_heard = on_heard

    @property
    def grant(self) -> Grant | None:
        """None: what depends on one connection can't be resumed."""
        return None

    @property
    def next_event(self) -> int:
        return self._emitted + 1

    @property
    def was_upgraded(self) -> bool:
        return self._socket is not None

    def ask(self) -> None:
        """Find out soon what the client has got: `on_heard` follows."""
        self._to_ping.set()

    @property
    def farewell(self) -> int | None:
        """The code with which the client closed, or answered our close; None for neither."""
        return self._socket.farewell if self._socket is not None else None

    @property
    def is_lost(self) -> bool:
        """Once it is over: whether the client is gone without meaning to end anything."""
        farewell = self.farewell
        if farewell is None:
            return True
        return self._closing is None and farewell in LOST_CODES

    async def run(self, socket: Socket) -> None:
        """Serve the client until either side ends the connection."""
        self._socket = socket
        assert self._conversation is not None
        works = (
            self._read(socket),
            self._write(socket),
            self._watch(socket),
            self._watch_sending(),
        )
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._conversation.on_gone()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, SocketClosed):
                raise result

    def close(self, code: int, reason: str) -> None:
        """End the connection after what is queued. The first call counts."""
        if self._closing is None:
            self._closing = (code, reason)
            self._to_write.set()
            self._room.set()

    def room(self) -> None:
        self._room.set()

    def abort(self) -> None:
        """End the connection without a word."""
        if self._socket is not None:
            self._socket.abort()

    def emit(self, message: Message) -> None:
        if self._socket is not None and self._socket.is_closing:
            return
        limits = self._limits
        waits_already = bool(self._outgoing)
        self._emitted += 1
        self._outgoing.append(message)
        self._unsent_bytes += len(message)
        self._to_write.set()
        if self._unsent_bytes < limits.unsent_pause_bytes:
            return
        if waits_already and self._unsent_bytes > limits.unsent_bytes:
            log.info("a client has %d bytes of answers unread: given up", self._unsent_bytes)
            self._outgoing.clear()
            self.abort()
        elif not self._is_congested and self._conversation is not None:
            self._is_congested = True
            self._conversation.pause()

    async def _read(self, socket: Socket) -> None:
        """Feed the conversation with each frame once there is room for what may come of it."""
        conversation = self._conversation
        assert conversation is not None
        while True:
            while not self._has_room():
                await self._wait_for_room(socket)
                self._heard = True
            frame = await socket.recv()
            self._heard = True
            if self._closing is not None:
                continue
            if isinstance(frame, str):
                wait = conversation.on_text(frame)
            else:
                wait = conversation.on_binary(frame)
            if wait is not None:
                await wait

    async def _wait_for_room(self, socket: Socket) -> None:
        """Returns now and then. Raises SocketClosed when the client is gone, which reading would
        else find out."""
        self._room.clear()
        try:
            async with asyncio.timeout(GONE_SECONDS):
                await self._room.wait()
        except TimeoutError:
            if socket.is_closing:
                raise SocketClosed from None

    def _has_room(self) -> bool:
        if self._closing is not None:
            # Nothing comes of what is read now, but the client's goodbye is behind it.
            return True
        assert self._conversation is not None
        return self._conversation.has_room and not self._is_congested

    async def _write(self, socket: Socket) -> None:
        assert self._conversation is not None
        clock = asyncio.get_running_loop().time
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            while self._outgoing:
                message = self._outgoing.popleft()
                self._sending_since = clock()
                await socket.send(message)
                self._sending_since = None
                self._unsent_bytes -= len(message)
                self._count(message)
                if self._is_congested and self._unsent_bytes * 2 <= self._limits.unsent_pause_bytes:
                    self._is_congested = False
                    self._conversation.resume()
                    self._room.set()
            if self._has_room():
                self._room.set()
            if self._closing is not None:
                await socket.close(*self._closing)
                return

    def _count(self, message: Message) -> None:
        """A message was sent. When there are many that may not have arrived, ask."""
        self._sent += 1
        self._sent_bytes += len(message)
        if self._on_heard is not None and (
            self._sent_bytes >= UNHEARD_BYTES or self._sent % UNHEARD_MESSAGES == 0
        ):
            self._sent_bytes = 0
            self._to_ping.set()

    async def _watch_sending(self) -> None:
        """Give up a client that takes no message for too long. A timeout for each message would
        cost as much as sending it."""
        limit = self._limits.send_seconds
        clock = asyncio.get_running_loop().time
        while True:
            since = self._sending_since
            await asyncio.sleep(limit if since is None else since + limit - clock())
            if since is not None and self._sending_since == since:
                log.info("a client has not read for %g s: given up", limit)
                self.abort()
                return

    async def _watch(self, socket: Socket) -> None:
        """Ping the client. One that neither answers nor sends is gone, unless we don't listen:
        its answer may stand in line behind frames that we have no room for. But for the pings,
        nobody would then find out that the connection is lost."""
        while True:
            await self._wait_to_ping()
            self._heard = not self._has_room()
            sent = self._sent
            ping = asyncio.create_task(socket.ping())
            try:
                await asyncio.wait((ping,), timeout=self._limits.ping_seconds)
                if ping.done():
                    ping.result()
                    if self._on_heard is not None:
                        self._on_heard(sent)
                elif not self._heard and self._has_room():
                    log.info("a client does not answer: given up")
                    self.abort()
                    return
            finally:
                ping.cancel()

    async def _wait_to_ping(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.ping_seconds):
                await self._to_ping.wait()
        self._to_ping.clear()
