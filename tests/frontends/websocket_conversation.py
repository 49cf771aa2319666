"""A conversation with a stream, without sockets."""

import asyncio
import json
from typing import Any

from streamgate.errors import EndReason
from streamgate.frontends.websocket.stream import SequenceStream
from tests.frontends.fake_gateway import FakeCall, FakeConnection, FakeGateway
from tests.frontends.websocket_client import integers

Message = dict[str, Any]


class Conversation:
    """A stream on a gateway in memory, and everything that it said."""

    def __init__(self, gateway: FakeGateway | None = None) -> None:
        self.gateway = gateway or FakeGateway()
        self.said: list[Message] = []
        self.frames: list[bytes] = []
        self.closed: list[tuple[int, str]] = []
        self.rooms = 0
        self.stream = SequenceStream(
            self.gateway,
            self._keep,
            lambda code, reason: self.closed.append((code, reason)),
            self._on_room,
        )

    def _keep(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.frames.append(message)
        else:
            self.said.append(json.loads(message))

    def _on_room(self) -> None:
        self.rooms += 1

    @property
    def connection(self) -> FakeConnection:
        return self.gateway.connections[-1]

    def say(self, kind: str, **fields: Any) -> None:
        self.stream.on_text(json.dumps({"type": kind, **fields}))

    def open(self, model: str, **fields: Any) -> None:
        self.say("open", model=model, **fields)

    async def frame(self, *values: int) -> None:
        """A step of INT32 values, and time for the model to answer."""
        self.stream.on_binary(integers(*values))
        await settle()

    def waiting(self, place: int = 0) -> FakeCall:
        """A request that waits for the test's answer."""
        return self.gateway.waiting[place]

    def end_sequence(self, reason: EndReason) -> None:
        """As the engine tells it."""
        assert self.connection.on_sequence_end is not None
        request = self.connection.calls[-1].request
        self.connection.on_sequence_end(request.model, request.sequence, reason)

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.said]


async def settle() -> None:
    """Let the models of the gateway in memory answer."""
    for _ in range(4):
        await asyncio.sleep(0)


def values(message: Message) -> list[Any]:
    (output,) = message["outputs"]
    found: list[Any] = output["data"]
    return found


def error(code: str, message: str) -> Message:
    return {"type": "error", "code": code, "message": message}
