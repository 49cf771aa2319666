"""A client's end of a dialect, for conversations over a real socket."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamgate.frontends.sockets.contract import Dialect
from streamgate.frontends.sockets.server import WebSocketServer
from tests.speech.tones import REPOSITORY

SECONDS = 20
_FULL = (429, 503)


class Peer:
    """Sends, reads, and keeps what it read."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[Any] = []

    async def say(self, *messages: Mapping[str, Any] | str | bytes) -> None:
        for message in messages:
            await self.socket.send(
                message if isinstance(message, str | bytes) else json.dumps(message)
            )

    async def hear(self) -> Any:
        """The next message: an object, the text of one that is no JSON, or bytes."""
        async with asyncio.timeout(SECONDS):
            message = await self.socket.recv()
        if isinstance(message, str):
            with suppress(ValueError):
                message = json.loads(message)
        self.heard.append(message)
        return message

    async def hear_until(self, **values: Any) -> Any:
        """Read up to the message with these values."""
        while True:
            message = await self.hear()
            if all(message.get(name) == value for name, value in values.items()):
                return message

    async def hear_all(self) -> tuple[int, str]:
        """Read to the end; the close code and its reason."""
        with suppress(ConnectionClosed):
            while True:
                await self.hear()
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""


@asynccontextmanager
async def dialled(port: int, path: str = "/", **options: Any) -> AsyncIterator[Peer]:
    async with connect(f"ws://127.0.0.1:{port}{path}", compression=None, **options) as socket:
        yield Peer(socket)


async def refusal(port: int, path: str = "/", **options: Any) -> tuple[int, Any]:
    """Status and body of the answer to a handshake that must be refused. One that is refused for
    want of a slot must say when to come again."""
    try:
        async with connect(f"ws://127.0.0.1:{port}{path}", compression=None, **options):
            raise AssertionError("the handshake was accepted")
    except InvalidStatus as error:
        response = error.response
    body: Any = response.body
    with suppress(ValueError):
        body = json.loads(response.body or b"")
    assert ("Retry-After" in response.headers) is (response.status_code in _FULL)
    return response.status_code, body


@asynccontextmanager
async def mounted(dialect: Dialect) -> AsyncIterator[int]:
    """The port of a server of this dialect alone."""
    server = WebSocketServer([dialect], lambda: True)
    port = await server.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await server.stop(1)


def small_repository(place: Path, slots: int = 2, changes: Mapping[str, str] | None = None) -> Path:
    """The tone transcriber with few slots, and other changes of its configuration."""
    shutil.copytree(REPOSITORY, place / "models")
    path = place / "models/tone_transcriber/config.pbtxt"
    text = path.read_text()
    for old, new in {
        "max_candidate_sequences: 32": f"max_candidate_sequences: {slots}",
        **(changes or {}),
    }.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return place / "models"


def pieces(audio: bytes, size: int) -> list[bytes]:
    return [audio[at : at + size] for at in range(0, len(audio), size)]
