"""How two ends of a connection come to know each other.

The side that was connected to begins: a challenge; the other says who it is and proves that it
knows the secret, and is told the same of this side. Both speak the same messages, or part. What
comes behind that is not protected: where others can reach the wire, it belongs into a tunnel.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from streamgate.errors import Code, Failure, StreamGateError
from streamgate.link.addresses import Address, TcpAddress, connect, listen_tcp, listen_unix
from streamgate.link.channel import Channel, Heartbeat
from streamgate.link.messages import SHAPE, Challenge, Hello, Refused, Welcome

log = logging.getLogger(__name__)

NONCE_BYTES: Final = 32

GREETING_SECONDS: Final = 5.0
"""How long either side may take to introduce itself."""

OnLost = Callable[[str], None]
Handlers = dict[type, Callable[[Any], None]]

Admit = Callable[[Channel, Hello, bytes], tuple[Handlers, OnLost]]
"""Takes in who introduced itself: sends it a Welcome with this proof and says what is done about
its messages and its loss."""

Adopt = Callable[[Channel, Welcome], Handlers]
"""Takes note of who is at the other end, and says what is done about its messages."""


class Doorkeeper:
    """Lets in who knows the secret, on any number of addresses."""

    def __init__(self, secret: bytes, heartbeat: Heartbeat, admit: Admit) -> None:
        self._secret = secret
        self._heartbeat = heartbeat
        self._admit = admit
        self._greeting: set[_Guest] = set()
        self._accepting: list[asyncio.Task[None]] = []
        self._listeners: list[socket.socket] = []
        self._paths: list[Path] = []

    def listen_unix(self, path: Path) -> None:
        """Raises StreamGateError."""
        self._listen(listen_unix(path))
        self._paths.append(path)

    def listen_tcp(self, address: TcpAddress) -> int:
        """Listen on a port, which is returned. Raises StreamGateError, also without a secret."""
        if not self._secret:
            raise StreamGateError(
                Code.INVALID_ARG, "a link over TCP needs a secret: whoever connects may do anything"
            )
        listener = listen_tcp(address)
        self._listen(listener)
        port: int = listener.getsockname()[1]
        return port

    async def stop(self) -> None:
        """Let nobody in any more. Idempotent."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        for path in self._paths:
            path.unlink(missing_ok=True)
        for guest in list(self._greeting):
            guest.close()
        self._accepting, self._listeners, self._paths = [], [], []

    def _listen(self, listener: socket.socket) -> None:
        self._listeners.append(listener)
        self._accepting.append(asyncio.create_task(self._accept(listener)))

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                # Out of descriptors, or who connected is gone already.
                log.warning("a connection could not be accepted: %s", error)
                await asyncio.sleep(0.1)
                continue
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._greeting.add(
                _Guest(
                    connection, self._secret, self._heartbeat, self._admit, self._greeting.discard
                )
            )


class _Guest:
    """A connection until it is known who made it."""

    def __init__(
        self,
        connection: socket.socket,
        secret: bytes,
        heartbeat: Heartbeat,
        admit: Admit,
        on_over: Callable[["_Guest"], None],
    ) -> None:
        self._secret = secret
        self._admit = admit
        self._on_over = on_over
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._handlers: Handlers = {Hello: self._hear}
        self._on_lost: OnLost | None = None
        self._channel = Channel(connection, self._handlers, self._lost, heartbeat)
        self._timer = asyncio.get_running_loop().call_later(
            GREETING_SECONDS, self._refuse, f"no greeting came within {GREETING_SECONDS:g} s"
        )
        self._channel.send(Challenge(SHAPE, self._nonce))

    def close(self) -> None:
        self._timer.cancel()
        self._channel.close()

    def _hear(self, hello: Hello) -> None:
        if hello.shape != SHAPE:
            self._refuse(
                f"both ends are of different versions: messages {hello.shape} there, {SHAPE} here"
            )
        elif not _is_proof(hello.proof, self._secret, _CALLER, hello.nonce, self._nonce):
            self._refuse("the link's secret is another one there")
        else:
            self._timer.cancel()
            self._on_over(self)
            proof = _proof(self._secret, _CALLED, self._nonce, hello.nonce)
            self._channel.sharing.take(hello.arena_bytes)
            handlers, self._on_lost = self._admit(self._channel, hello, proof)
            del self._handlers[Hello]
            self._handlers.update(handlers)

    def _refuse(self, why: str) -> None:
        log.warning("a connection over a link was refused: %s", why)
        self._channel.send(Refused(0, Failure(Code.UNAVAILABLE, why)))
        self.close()
        self._on_over(self)

    def _lost(self, why: str) -> None:
        if self._on_lost is not None:
            self._on_lost(why)
        else:
            self._timer.cancel()
            self._on_over(self)


async def introduce(
    address: Address,
    me: tuple[str, str],
    secret: bytes,
    heartbeat: Heartbeat,
    adopt: Adopt,
    on_lost: OnLost,
    *,
    arena_bytes: int = 0,
) -> None:
    """Connect, and say who this is: an incarnation, and where front ends reach it. Where that is
    possible, an arena is offered of so many bytes. `on_lost` is told of the end of a connection
    that was adopted. Raises OSError, TimeoutError, or
    StreamGateError for another version or secret there."""
    connection = await connect(address, GREETING_SECONDS)
    caller = _Caller(me, secret, adopt, on_lost, arena_bytes)
    channel = Channel(connection, caller.handlers, caller.lost, heartbeat)
    try:
        async with asyncio.timeout(GREETING_SECONDS):
            await caller.adopted(channel)
    except BaseException:
        channel.close()
        raise


class _Caller:
    """The side that connects, until it knows whom to."""

    def __init__(
        self,
        me: tuple[str, str],
        secret: bytes,
        adopt: Adopt,
        on_lost: OnLost,
        arena_bytes: int,
    ) -> None:
        self._me = me
        self._arena_bytes = arena_bytes
        self._secret = secret
        self._adopt = adopt
        self._on_lost = on_lost
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._their_nonce = b""
        self._channel: Channel | None = None
        self._adopted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.handlers: Handlers = {
            Challenge: self._challenged,
            Welcome: self._welcomed,
            Refused: self._refused,
        }

    async def adopted(self, channel: Channel) -> None:
        self._channel = channel
        await self._adopted

    def lost(self, why: str) -> None:
        if not self._adopted.done():
            self._fail(why)
        elif not self._adopted.cancelled() and self._adopted.exception() is None:
            self._on_lost(why)

    def _challenged(self, challenge: Challenge) -> None:
        self._their_nonce = challenge.nonce
        if challenge.shape != SHAPE:
            self._fail(
                f"both ends are of different versions: messages {challenge.shape} there, "
                f"{SHAPE} here"
            )
            return
        assert self._channel is not None
        proof = _proof(self._secret, _CALLER, self._nonce, challenge.nonce)
        offered = self._channel.sharing.offer(self._arena_bytes)
        self._channel.send(Hello(SHAPE, self._nonce, proof, *self._me, offered))

    def _welcomed(self, welcome: Welcome) -> None:
        if not _is_proof(welcome.proof, self._secret, _CALLED, self._their_nonce, self._nonce):
            self._fail("the link's secret is another one there")
        elif not self._adopted.done():
            assert self._channel is not None
            self._channel.sharing.take(welcome.arena_bytes)
            self._adopted.set_result(None)
            handlers = self._adopt(self._channel, welcome)
            self.handlers.clear()
            self.handlers.update(handlers)
            self._channel.begin()

    def _refused(self, refused: Refused) -> None:
        self._fail(refused.failure.message)

    def _fail(self, why: str) -> None:
        if not self._adopted.done():
            self._adopted.set_exception(StreamGateError(Code.UNAVAILABLE, why))


_CALLER: Final = b"caller\0"
_CALLED: Final = b"called\0"


def _proof(secret: bytes, role: bytes, ours: bytes, theirs: bytes) -> bytes:
    """That whoever plays this role knows the secret, for these two nonces only; b"" without one."""
    return hmac.digest(secret, role + ours + theirs, hashlib.sha256) if secret else b""


def _is_proof(proof: bytes, secret: bytes, role: bytes, ours: bytes, theirs: bytes) -> bool:
    return hmac.compare_digest(proof, _proof(secret, role, ours, theirs))
