"""A client of JSON dialects for tests: real sockets, every wait with a timeout."""

import asyncio
import base64
import json
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.speech.tones import REPOSITORY

SECONDS = 20.0


class Talk:
    """One connection. Keeps all that it was told."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[dict[str, Any]] = []

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def append(
        self, audio: bytes, kind: str = "input_audio_buffer.append", **fields: Any
    ) -> None:
        await self.say(kind, audio=base64.b64encode(audio).decode(), **fields)

    async def hear(self, *kinds: str) -> dict[str, Any]:
        """The next message, or the next of these kinds."""
        async with asyncio.timeout(SECONDS):
            while True:
                message: dict[str, Any] = json.loads(await self.socket.recv())
                self.heard.append(message)
                if not kinds or message["type"] in kinds:
                    return message

    async def hear_end(self) -> tuple[int, str]:
        """All up to the end of the connection, and its close code and reason."""
        with pytest.raises(ConnectionClosed) as closing:
            await self.hear("no such kind")
        received = closing.value.rcvd
        assert received is not None
        return received.code, received.reason

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.heard]

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.heard if message["type"] == kind]


@asynccontextmanager
async def talk(
    port: int | None,
    target: str,
    headers: dict[str, str] | None = None,
    subprotocols: Sequence[Any] | None = None,
) -> AsyncIterator[Talk]:
    url = f"ws://127.0.0.1:{port}{target}"
    async with connect(
        url, additional_headers=headers, subprotocols=subprotocols, max_size=None
    ) as socket:
        yield Talk(socket)


async def refused(
    port: int | None, target: str, headers: dict[str, str] | None = None, **options: Any
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """The status, the JSON body and the headers of a handshake that is not upgraded."""
    try:
        async with talk(port, target, headers, **options):
            raise AssertionError("it was upgraded")
    except InvalidStatus as refusal:
        response = refusal.response
        assert response.body is not None
        named = {name.lower(): value for name, value in response.headers.raw_items()}
        return response.status_code, json.loads(response.body), named


def repository_with(folder: Path, name: str = "tone_transcriber", **changes: str) -> Path:
    """A copy of the test models in which one's `config.pbtxt` has other values."""
    copy = folder / "models"
    shutil.copytree(REPOSITORY, copy)
    config = copy / name / "config.pbtxt"
    text = config.read_text()
    for field, value in changes.items():
        text, count = re.subn(rf"\b{field}: \S+", f"{field}: {value}", text)
        assert count == 1
    config.write_text(text)
    return copy


def failing_repository(folder: Path) -> Path:
    """A copy of the test models in which the transcriber fails when it hears 0.98 or more."""
    copy = repository_with(folder)
    code = copy / "tone_transcriber/1/model.py"
    text = code.read_text()
    place = "        words, change, final ="
    assert text.count(place) == 1
    loud = '        if samples.max() > 0.98:\n            raise ValueError("too loud")\n'
    code.write_text(text.replace(place, loud + place))
    return copy
