"""The unmodified `websockets` client, with the messages of the dialect in short."""

import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streamgate.frontends.websocket import WebSocketFrontEnd, WebSocketLimits
from streamgate.session.gateway import Gateway

Message = dict[str, Any]


@dataclass
class Client:
    """One connection."""

    socket: ClientConnection

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def open(self, model: str, **fields: Any) -> Message:
        await self.say("open", model=model, **fields)
        return await self.hear()

    async def frame(self, data: bytes) -> None:
        await self.socket.send(data)

    async def hear(self) -> Message:
        """The next text message."""
        text = await self.socket.recv(decode=True)
        assert isinstance(text, str)
        message: Message = json.loads(text)
        return message

    async def hear_binary(self) -> tuple[Message, bytes]:
        """The next binary message: its JSON and its data."""
        data = await self.socket.recv(decode=False)
        assert isinstance(data, bytes)
        (size,) = struct.unpack_from("<I", data)
        head: Message = json.loads(data[4 : 4 + size])
        return head, data[4 + size :]

    async def hear_close(self) -> tuple[int | None, str | None]:
        """The code and the reason with which the gateway closes, after nothing else."""
        try:
            message = await self.socket.recv()
        except ConnectionClosed:
            return self.socket.close_code, self.socket.close_reason
        raise AssertionError(f"expected a close, got {message!r}")

    async def hear_drain(self) -> tuple[str, float]:
        """The next message is a warning that the sequence will be drained: why, and in how long."""
        message = await self.hear()
        assert message["type"] == "drain_warning", message
        return message["reason"], message["seconds_left"]

    async def hear_end(self) -> Message:
        """`ended`, and the close that belongs to it, with the code under `closed`."""
        message = await self.hear()
        assert message["type"] == "ended", message
        code, reason = await self.hear_close()
        assert reason == message["reason"]
        return {**message, "closed": code}


@asynccontextmanager
async def served(
    gateway: Gateway, limits: WebSocketLimits | None = None
) -> AsyncIterator[tuple[str, WebSocketFrontEnd]]:
    """A front end on a free port: its URL and itself."""
    front_end = WebSocketFrontEnd(gateway, limits)
    port = await front_end.start("127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{port}/v1/sequence", front_end
    finally:
        await front_end.stop(5)


@asynccontextmanager
async def connected(url: str, **settings: Any) -> AsyncIterator[Client]:
    async with connect(url, **settings) as socket:
        yield Client(socket)


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def integers(*values: int) -> bytes:
    return np.array(values, "<i4").tobytes()
