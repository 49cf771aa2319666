"""What a client says, kept until it is known to have come: after a lost connection it is said again
from there on."""

import asyncio
from collections import deque
from typing import Final, final

from streamgate.errors import Code, StreamGateError
from streamgate.transcribe.socket import Mouth

UNSENT_MAX: Final = 8
"""Messages that may wait to be sent before whoever has more waits, too."""

Message = str | bytes


@final
class Outbox:
    """Messages in order, numbered from 0. A `Mouth` to who has something to say."""

    def __init__(self) -> None:
        # Each with where the audio ends that it holds, in bytes from the beginning.
        self._messages: deque[tuple[Message, int]] = deque()
        self._first = 0
        self._next = 0
        self._audio_bytes = 0
        self._changed = asyncio.Event()

    async def send(self, message: Message) -> None:
        if isinstance(message, bytes):
            self._audio_bytes += len(message)
        self._messages.append((message, self._audio_bytes))
        self._changed.set()
        while self._end - self._next > UNSENT_MAX:
            self._changed.clear()
            await self._changed.wait()

    def confirm(self, audio_bytes: int) -> None:
        """So much of the audio has come for certain."""
        while self._first < self._next:
            message, end = self._messages[0]
            if isinstance(message, str) or end > audio_bytes:
                return
            self._messages.popleft()
            self._first += 1

    def rewind(self, count: int) -> None:
        """So many messages have come, and no more. Raises StreamGateError for a server that has
        forgotten some."""
        if not self._first <= count <= self._end:
            raise StreamGateError(
                Code.INTERNAL,
                f"the server says that {count} messages have come, expected {self._first} to "
                f"{self._end}",
            )
        self._next = count
        self._changed.set()

    async def empty_into(self, mouth: Mouth) -> None:
        """Say all that has not been said, and what comes, until cancelled."""
        while True:
            while self._next < self._end:
                message, _ = self._messages[self._next - self._first]
                self._next += 1
                self._changed.set()
                await mouth.send(message)
            self._changed.clear()
            await self._changed.wait()

    @property
    def kept(self) -> int:
        """Messages that may have to be said again, or have not been said."""
        return len(self._messages)

    @property
    def _end(self) -> int:
        return self._first + len(self._messages)
