"""A client of our own WebSocket dialects that comes back, as `docs/resume.md` says, and checks all
that it hears: each event once, in order, none missing."""

import asyncio
import json
from collections.abc import Sequence
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
    heard: list[Message] = field(default_factory=list)
    token: str = ""
    resumes: int = 0
    restarts: int = 0
    close_code: int = 0
    refusals: list[tuple[int, str]] = field(default_factory=list)

    async def run(self) -> list[Message]:
        """All that it heard, numbered from 1 without a gap."""
        async with asyncio.timeout(SECONDS):
            while not self.close_code:
                await self._once()
        return self.heard

    async def _once(self) -> None:
        """One connection, up to its end."""
        sign = "&" if "?" in self.url else "?"
        resume = f"{sign}resume={self.token}&last_event={len(self.heard)}" if self.token else ""
        try:
            socket = await connect(self.url + resume, open_timeout=self.silence_seconds)
        except InvalidStatus as refusal:
            self.refusals.append((refusal.response.status_code, str(refusal.response.body)))
            raise
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
        if self.token:
            self.resumes += 1
            resumed = await self._hear(socket)
            assert (resumed["type"], resumed["event"]) == ("resumed", len(self.heard))
            said = resumed["received"]["messages"]
        else:
            self.restarts += 1
            assert socket.response is not None
            self.token = socket.response.headers["StreamGate-Resume"]
        saying = asyncio.create_task(self._say(socket, said))
        try:
            while True:
                message = await self._hear(socket)
                assert message["event"] == len(self.heard) + 1, (message, len(self.heard))
                self.heard.append(message)
        except ConnectionClosed as closed:
            if closed.rcvd is not None:
                self.close_code = closed.rcvd.code
            raise
        finally:
            saying.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await saying

    async def _hear(self, socket: ClientConnection) -> Message:
        async with asyncio.timeout(self.silence_seconds):
            message: Message = json.loads(await socket.recv())
        return message

    async def _say(self, socket: ClientConnection, said: int) -> None:
        for message in self.messages[said:]:
            await socket.send(message)
            await asyncio.sleep(self.pause_seconds)
