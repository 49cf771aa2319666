"""What a WebSocket dialect sees of its wire, and what the wire asks of a dialect."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable
from urllib.parse import parse_qs

from streamgate.errors import Failure
from streamgate.frontends.world import world

Message = str | bytes


@final
class SocketClosed(Exception):  # noqa: N818 - not an error
    """The connection is over."""


class Socket(Protocol):
    """A WebSocket that was accepted."""

    async def recv(self) -> Message:
        """The next frame. Raises SocketClosed."""

    async def send(self, message: Message) -> None:
        """Returns when there is room for the next one. Raises SocketClosed."""

    async def ping(self) -> None:
        """Returns when the client's pong was read. Raises SocketClosed."""

    async def close(self, code: int, reason: str) -> None: ...

    def abort(self) -> None:
        """End it without a word."""

    @property
    def is_closing(self) -> bool: ...

    @property
    def farewell(self) -> int | None:
        """The code with which the client closed, or answered our close; None for a connection that
        was lost. Of one that broke the protocol, what it broke."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a client's request to upgrade says. Header names are in lower case."""

    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    subprotocols: Sequence[str] = ()

    @classmethod
    def of(cls, target: str, headers: Mapping[str, str]) -> "Handshake":
        """From the request's target (path and query) and its headers, in lower case."""
        path, _, query = target.partition("?")
        if not path.startswith("/"):
            # RFC 9112, 3.2.2: a server takes the whole address, too.
            path = path.partition("://")[2]
            path = path[path.find("/") :] if "/" in path else "/"
        offered = headers.get("sec-websocket-protocol", "")
        return cls(
            path,
            parse_qs(query, keep_blank_values=True),
            headers,
            [word.strip() for word in offered.split(",") if word.strip()],
        )

    def value(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        values = self.query.get(name)
        return values[-1] if values else default


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a handshake that is not upgraded."""

    status: int
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, status: int, body: object, **headers: str) -> "Refusal":
        """With a JSON body; underscores in header names become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, json.dumps(body), "application/json", named)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client is given that may resume its session: within `seconds` from the loss of its
    connection on, `token` opens it again."""

    token: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Received:
    """What of a client's has come, over all connections of its session: messages, and the bytes of
    those among them that were binary frames."""

    messages: int
    bytes: int


class Outlet(Protocol):
    """What a conversation says goes here. Usable before the handshake is answered: it waits."""

    @property
    def grant(self) -> Grant | None:
        """Of a session that can be resumed, to be told to the client where the dialect has a place
        for it."""

    @property
    def next_event(self) -> int:
        """The number of the message that is emitted next. The first one's is 1."""

    def emit(self, message: Message) -> None:
        """Queue a message."""

    def close(self, code: int, reason: str) -> None:
        """End the connection behind what is queued. The first call counts."""

    def room(self) -> None:
        """`has_room` may have become true."""


class Conversation(Protocol):
    """One connection's state, without the socket. Called on the event loop's thread.

    `on_text` and `on_binary` may return something to wait for, during which nothing else is read.
    """

    @property
    def has_room(self) -> bool:
        """Whether more may be read from the client."""

    def on_text(self, text: str) -> Awaitable[None] | None: ...

    def on_binary(self, data: bytes) -> Awaitable[None] | None: ...

    def pause(self) -> None:
        """The client reads more slowly than it is written to."""

    def resume(self) -> None:
        """It has caught up."""

    def keep(self) -> None:
        """The client is away and may come back: whatever runs out when nothing comes from it starts
        anew. Called every now and then."""

    def on_gone(self) -> None:
        """The connection is over, by whoever's wish. The last call."""


@runtime_checkable
class Portable(Protocol):
    """A conversation that can be gone on with elsewhere without being told all that it was told."""

    def state(self) -> bytes | None:
        """All that matters of its past; None while something is under way. Raises CodecError."""

    def restore(self, state: bytes) -> None:
        """Its handshake has just been accepted again: go on from there. Raises CodecError and
        StreamGateError for what can't be gone on from."""


class Manners(Protocol):
    """What a dialect has to say when a session is resumed."""

    def resumed(self, grant: Grant, received: Received, last_event: int) -> Message | None:
        """To whom comes back: it has no number of its own, and goes before what follows
        `last_event`."""

    def superseded(self) -> Message | None:
        """To whom is still there while another connection takes its session over."""


@final
class Silence:
    """The manners of dialects that have no words for it."""

    def resumed(self, grant: Grant, received: Received, last_event: int) -> None:
        """The response's headers say it."""

    def superseded(self) -> None:
        """The close code says it."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A handshake that is to be upgraded. `headers` go into the answer."""

    conversation: Conversation
    subprotocol: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    manners: Manners = field(default_factory=Silence)


class Dialect(Protocol):
    """One language over WebSocket. `path` is shown to those who ask for another one.

    `offers_resume`: its messages have a place for the token, so that every client may come back;
    else only those that ask for it at their handshake.
    """

    name: str
    path: str
    offers_resume: bool

    def matches(self, handshake: Handshake) -> bool:
        """Whether this is its path."""

    async def admit(self, handshake: Handshake, outlet: Outlet) -> Accepted | Refusal:
        """Decide. What was promised is taken back by `on_gone` if the upgrade fails."""

    def bar(self, handshake: Handshake) -> Refusal | None:
        """The refusal of a client whose key does not open; None for one that may come in."""

    def refuse(self, failure: Failure) -> Refusal:
        """A refusal in the dialect's words."""


@final
class Patience:
    """A countdown that can be renewed: how long a client may say nothing."""

    def __init__(self, seconds: float, on_due: Callable[[], None]) -> None:
        self._seconds = seconds
        self._trigger = world().moment(on_due)
        self._loop = asyncio.get_running_loop()
        self._renewed_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(seconds, self._check)

    def renew(self) -> None:
        """Start again. Costs next to nothing: it is called with each frame."""
        self._renewed_at = self._loop.time()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        left = self._renewed_at + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check)
        else:
            self._timer = None
            if not self._trigger():
                self._timer = self._loop.call_later(self._seconds, self._check)
