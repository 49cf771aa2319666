"""A conversation in StreamGate's own dialect that goes on when its connection is lost."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from streamgate.errors import Code, StreamGateError
from streamgate.transcribe.audio import Audio
from streamgate.transcribe.outbox import Outbox
from streamgate.transcribe.socket import (
    CONNECT_SECONDS,
    Conversation,
    dial,
    dialled,
    heard,
    hung_up,
    receive,
    refused,
    speak,
)

FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 2.0
COMING_CODES: Final = frozenset({1001, 1006, 1012})
"""Close codes after which it is worth while to come again."""
FULL_STATUSES: Final = frozenset({429, 502, 503, 504})
"""Answers of a server, or of what stands in front of one, that may be others soon."""


@final
class ResumingTalk:
    """Has a conversation to its end, over as many connections as it takes."""

    def __init__(self, url: str, key: str, conversation: Conversation, byte_rate: int) -> None:
        """`byte_rate`: the audio's bytes in a second."""
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._conversation = conversation
        self._byte_rate = byte_rate
        self._outbox = Outbox()
        self._failures: list[StreamGateError] = []
        self._token = ""
        self._seconds = 0.0
        self._last_event = 0
        self.resumes = 0

    async def run(self, audio: Audio) -> None:
        """Raises StreamGateError."""
        speaking = asyncio.create_task(
            speak(self._outbox, self._conversation, audio, self._failures)
        )
        try:
            async with dialled(self._url, self._headers) as socket:
                is_done = await self._converse(socket, speaking)
            while not is_done:
                socket = await self._come_back()
                async with socket:
                    is_done = await self._converse(socket, speaking)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)

    async def _converse(self, socket: ClientConnection, speaking: "asyncio.Task[None]") -> bool:
        """Over one connection. False when it was lost, and there is a token to come back with."""
        saying = asyncio.create_task(self._say(socket))
        failing = asyncio.create_task(self._watch(socket, speaking))
        try:
            while True:
                message = await receive(socket, speaking)
                is_last = heard(self._conversation, message)
                self._note(message)
                if is_last:
                    return True
        except ConnectionClosed as closed:
            if self._failures:
                raise self._failures[0] from None
            is_lost = closed.rcvd is None or closed.rcvd.code in COMING_CODES
            if is_lost and self._token:
                return False
            raise hung_up(closed) from None
        finally:
            for task in (saying, failing):
                task.cancel()
            await asyncio.gather(saying, failing, return_exceptions=True)

    async def _say(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):  # who listens sees it as well
            await self._outbox.empty_into(socket)

    async def _watch(self, socket: ClientConnection, speaking: "asyncio.Task[None]") -> None:
        """What goes wrong with the audio ends the conversation."""
        await asyncio.wait((speaking,))
        if self._failures:
            await socket.close()

    def _note(self, message: Mapping[str, Any]) -> None:
        """What it tells about how the conversation would go on."""
        resume = message.get("resume")
        if isinstance(resume, dict):
            self._token, self._seconds = str(resume["token"]), float(resume["seconds"])
        self._last_event = int(message.get("event", self._last_event))
        # A second less than that: times are rounded, and silence counts as nothing.
        audio_seconds = float(message.get("audio_seconds", 0.0)) - 1.0
        self._outbox.confirm(round(audio_seconds * self._byte_rate))

    async def _come_back(self) -> ClientConnection:
        """Another connection to the same session. Nothing is said over it before the server has
        told what has come. Raises StreamGateError."""
        sign = "&" if "?" in self._url else "?"
        url = f"{self._url}{sign}resume={self._token}&last_event={self._last_event}"
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._seconds
        delay = FIRST_DELAY_SECONDS
        while True:
            try:
                socket = await dial(url, self._headers)
                await self._greet(socket)
                return socket
            except InvalidStatus as error:
                if error.response.status_code not in FULL_STATUSES or clock() > deadline:
                    raise refused(url, error) from None
            except (OSError, TimeoutError, EOFError, InvalidHandshake, ConnectionClosed) as error:
                if clock() > deadline:
                    raise StreamGateError(
                        Code.UNAVAILABLE,
                        "the connection was lost, and the server could not be reached again "
                        f"within {self._seconds:g} s ({str(error) or type(error).__name__})",
                    ) from None
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    async def _greet(self, socket: ClientConnection) -> None:
        """Hear what has come, to go on behind it. Raises what the library raises."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                greeting = json.loads(await socket.recv())
            self._outbox.rewind(int(greeting["received"]["messages"]))
        except (LookupError, TypeError, ValueError):
            raise StreamGateError(
                Code.INTERNAL, "the server greets nobody who comes back, expected 'resumed'"
            ) from None
        except BaseException:
            socket.transport.abort()
            raise
        self.resumes += 1
