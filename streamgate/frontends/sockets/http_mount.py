"""WebSocket dialects on the HTTP front end's port, carried by aiohttp."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, final

import aiohttp
from aiohttp import web

from streamgate.frontends.sockets.connection import ConnectionLimits, SocketConnection
from streamgate.frontends.sockets.contract import (
    Accepted,
    Dialect,
    Handshake,
    Message,
    Refusal,
    SocketClosed,
)
from streamgate.frontends.sockets.reception import Reception
from streamgate.frontends.sockets.resumption import Resumption

NO_CODE: Final = 1005
"""RFC 6455, 7.1.5: that of a close frame which holds none."""
CLOSE_SECONDS: Final = 10.0
"""How long a client may take to answer our goodbye."""


@final
class WebSocketMount:
    """Answers the upgrades among HTTP requests. The first dialect that matches gets one."""

    def __init__(
        self,
        dialects: Sequence[Dialect],
        is_accepting: Callable[[], bool],
        limits: ConnectionLimits | None = None,
        resumption: Resumption | None = None,
    ) -> None:
        self._dialects = dialects
        self._reception = Reception(is_accepting, resumption)
        self._limits = limits or ConnectionLimits()
        self._connections: set[SocketConnection] = set()
        self._is_stopping = False

    def dialect_for(self, request: web.BaseRequest) -> Dialect | None:
        """The dialect of a request that wants to be upgraded; None for any other request."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return None
        handshake = _handshake(request)
        return next((each for each in self._dialects if each.matches(handshake)), None)

    async def serve(self, request: web.BaseRequest, dialect: Dialect) -> web.StreamResponse:
        """Refuse the upgrade, or serve the connection to its end."""
        if self._is_stopping:
            return _refused(Refusal(503, "the server is not accepting connections\n"))
        if len(self._connections) >= self._limits.connections:
            return _refused(Refusal(503, "there are too many connections, come again later\n"))
        if not web.WebSocketResponse().can_prepare(request):
            return _refused(Refusal(400, "the request is no handshake as RFC 6455 wants it\n"))
        connection = SocketConnection(self._limits)
        self._connections.add(connection)
        try:
            answer = await self._reception.receive(dialect, _handshake(request), connection)
            if isinstance(answer, Refusal):
                return _refused(answer)
            return await self._upgrade(request, answer, connection)
        finally:
            self._connections.discard(connection)

    def stop(self) -> None:
        """Close each connection behind what is queued for it, with 1001 (going away)."""
        self._is_stopping = True
        for connection in self._connections:
            connection.close(1001, "the server is going away")

    async def _upgrade(
        self, request: web.BaseRequest, answer: Accepted, connection: SocketConnection
    ) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            timeout=CLOSE_SECONDS,
            autoping=False,
            max_msg_size=self._limits.frame_bytes,
            compress=False,
            protocols=(answer.subprotocol,) if answer.subprotocol else (),
        )
        socket.headers.update(answer.headers)
        try:
            await socket.prepare(request)
        except BaseException:
            answer.conversation.on_gone()
            raise
        await connection.run(_Carried(socket, request))
        return socket


@final
class _Carried:
    """A `Socket` over aiohttp."""

    def __init__(self, socket: web.WebSocketResponse, request: web.BaseRequest) -> None:
        self._socket = socket
        self._transport = request.transport
        self._pings = 0
        self._pongs = asyncio.Event()
        self._farewell: int | None = None
        self._receiving: asyncio.Task[object] | None = None
        self._parting = asyncio.Event()
        self._parted = asyncio.Event()

    async def recv(self) -> Message:
        while True:
            message = await self._receive()
            if message.type is aiohttp.WSMsgType.TEXT or message.type is aiohttp.WSMsgType.BINARY:
                data: Message = message.data
                return data
            if message.type is aiohttp.WSMsgType.PING:
                await self._socket.pong(message.data)
            elif message.type is aiohttp.WSMsgType.PONG:
                if message.data == self._ping:
                    self._pongs.set()
            else:
                if message.type is aiohttp.WSMsgType.CLOSE:
                    self._farewell = message.data or NO_CODE
                elif isinstance(message.data, aiohttp.WebSocketError):
                    self._farewell = message.data.code
                raise SocketClosed

    async def _receive(self) -> aiohttp.WSMessage:
        """The next message of any type. Raises SocketClosed once we have said goodbye and the
        client has answered it."""
        if not self._parting.is_set():
            self._receiving = task = asyncio.current_task()
            assert task is not None
            try:
                return await self._socket.receive()
            except asyncio.CancelledError:
                if not self._parting.is_set():
                    raise
                task.uncancel()
            finally:
                self._receiving = None
        await self._parted.wait()
        raise SocketClosed

    async def send(self, message: Message) -> None:
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except ConnectionError:
            raise SocketClosed from None

    async def ping(self) -> None:
        self._pings += 1
        self._pongs.clear()
        try:
            await self._socket.ping(self._ping)
        except ConnectionError:
            raise SocketClosed from None
        await self._pongs.wait()

    async def close(self, code: int, reason: str) -> None:
        self._parting.set()
        if self._receiving is not None:
            # With somebody in its `receive`, the library would not wait for the client's answer.
            self._receiving.cancel()
            await asyncio.sleep(0)
        # The library's code is 1000 for a connection that ended without any.
        was_over = self._socket.close_code is not None
        try:
            await self._socket.close(code=code, message=reason.encode())
        finally:
            self._parted.set()
        if not was_over and self._socket.close_code != aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
            self._farewell = self._socket.close_code

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    @property
    def farewell(self) -> int | None:
        return self._farewell

    @property
    def _ping(self) -> bytes:
        """What the newest ping says, and its pong after it."""
        return str(self._pings).encode()


def _handshake(request: web.BaseRequest) -> Handshake:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Handshake.of(request.raw_path, headers)


def _refused(refusal: Refusal) -> web.Response:
    return web.Response(
        status=refusal.status,
        body=refusal.body.encode(),
        headers={"Content-Type": refusal.content_type, **refusal.headers},
    )
