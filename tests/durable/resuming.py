"""A client of WebSocket dialects that comes back, as `docs/resume.md` says, and checks all that it
hears: each event once, in order, none missing."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

Message = dict[str, Any]

SECONDS = 60.0
BACKOFF_SECONDS = 0.02


@dataclass
class ResumingClient:
    """Says `messages`, through whatever fails. `silence_seconds` is how long it hears nothing
    before it believes that its wire is dead; `pause_seconds` is between its messages."""

    url: str
    messages: Sequence[str | bytes]
    silence_seconds: float = 20.0
    pause_seconds: float = 0.0
    seconds: float = SECONDS
    """It gives up then."""
    headers: Mapping[str, str] = field(default_factory=dict)
    numbers: bool = True
    """Our own dialects say the number of each message."""
    greets: bool = True
    """The first message to who comes back is none of those that are counted."""
    comes_again: frozenset[int] = frozenset()
    """After a refusal with one of these statuses."""
    is_last: Callable[[Any], bool] = lambda _: False
    """Of a dialect in which the server does not end it: the message with which the client does."""
    heard: list[Any] = field(default_factory=list)
    token: str = ""
    resumes: int = 0
    restarts: int = 0
    close_code: int = 0

    async def run(self) -> list[Any]:
        """All that it heard, numbered from 1 without a gap."""
        async with asyncio.timeout(self.seconds):
            while not self.close_code:
                await self._once()
        return self.heard

    async def _once(self) -> None:
        """One connection, up to its end."""
        sign = "&" if "?" in self.url else "?"
        resume = f"{sign}resume={self.token}&last_event={len(self.heard)}" if self.token else ""
        try:
            socket = await connect(
                self.url + resume,
                open_timeout=self.silence_seconds,
                additional_headers=self.headers,
            )
        except InvalidStatus as refusal:
            if refusal.response.status_code in self.comes_again:
                await asyncio.sleep(BACKOFF_SECONDS)
                return
            told = (refusal.response.status_code, refusal.response.body)
            raise AssertionError(f"refused: {told}, {len(self.heard)} heard") from None
        except (OSError, InvalidHandshake, TimeoutError, EOFError):
            await asyncio.sleep(BACKOFF_SECONDS)
            return
        try:
            await self._converse(socket)
        except (ConnectionClosed, TimeoutError):
            await asyncio.sleep(BACKOFF_SECONDS)
        finally:
            socket.transport.abort()
            with suppress(ConnectionClosed):
                await socket.wait_closed()

    async def _converse(self, socket: ClientConnection) -> None:
        """Say what has not been received yet, and hear all that comes."""
        said = 0
        assert socket.response is not None
        headers = socket.response.headers
        if self.token:
            self.resumes += 1
            said = int(headers["StreamGate-Received"].split(",")[0].removeprefix("messages="))
            if self.greets:
                greeting = await self._hear(socket)
                resumed = greeting if self.numbers else greeting["session"]["resume"]
                assert resumed["event" if self.numbers else "last_event"] == len(self.heard)
                assert resumed["received"]["messages"] == said
        else:
            self.restarts += 1
            self.token = headers["StreamGate-Resume"]
        saying = asyncio.create_task(self._say(socket, said))
        try:
            while True:
                message = await self._hear(socket)
                if self.numbers:
                    assert message["event"] == len(self.heard) + 1, (message, len(self.heard))
                self.heard.append(message)
                if self.is_last(message):
                    self.close_code = 1000
                    await socket.close()
                    return
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                self.close_code = closed.rcvd.code
            raise
        finally:
            saying.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await saying

    async def _hear(self, socket: ClientConnection) -> Any:
        """The next message, from JSON where it is that."""
        async with asyncio.timeout(self.silence_seconds):
            message = await socket.recv()
        if isinstance(message, bytes) or not message.startswith("{"):
            return message
        return json.loads(message)

    async def _say(self, socket: ClientConnection, said: int) -> None:
        for message in self.messages[said:]:
            await socket.send(message)
            await asyncio.sleep(self.pause_seconds)
