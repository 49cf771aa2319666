"""What the WebSocket dialects have in common: the dialling, the refusals, the two directions."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from streamgate.errors import Code, StreamGateError
from streamgate.transcribe.audio import Audio
from streamgate.transcribe.transcript import Listener, Transcript

CONNECT_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 60.0
"""How long a server may say nothing after all audio was sent."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whom to ask, and for what. `url` "" is the dialect's usual place on this machine."""

    url: str = ""
    model: str = ""
    language: str = ""
    key: str = ""


class Mouth(Protocol):
    """Where messages go: a WebSocket, or what stands for one connection after the other."""

    async def send(self, message: str | bytes) -> None: ...


class Conversation(Protocol):
    """One dialect's words, without its socket."""

    async def speak(self, socket: Mouth, audio: Audio) -> None:
        """Send all the audio, and that it is over."""

    def hear(self, message: Mapping[str, Any]) -> bool:
        """Take a message; returns whether it was the last. Raises StreamGateError for an error."""


def address(url: str, usual: str, path: str, query: Mapping[str, str]) -> str:
    """The dialect's own address on the server at `url`: http becomes ws, and a path is added
    where there is none."""
    parts = urlsplit(url or usual)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.netloc:
        raise StreamGateError(
            Code.INVALID_ARG, f"'{url}' is no address, expected one such as {usual}"
        )
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    text = urlencode({name: value for name, value in query.items() if value})
    asked = "&".join(part for part in (parts.query, text) if part)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") or path, asked, ""))


async def converse(
    url: str, key: str, scheme: str, conversation: Conversation, audio: Audio
) -> None:
    """Have the conversation to its end. Raises StreamGateError."""
    headers = {"Authorization": f"{scheme} {key}"} if key else {}
    async with dialled(url, headers) as socket:
        failures: list[StreamGateError] = []
        speaking = asyncio.create_task(_speak(socket, conversation, audio, failures))
        try:
            while not heard(conversation, await receive(socket, speaking)):
                pass
        except ConnectionClosed as closed:
            if failures:
                raise failures[0] from None
            raise hung_up(closed) from None
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)


def heard(conversation: Conversation, message: Mapping[str, Any]) -> bool:
    """Whether that was the last message. Raises StreamGateError."""
    try:
        return conversation.hear(message)
    except (LookupError, TypeError, ValueError):
        text = json.dumps(message)[:200]
        raise StreamGateError(
            Code.INTERNAL, f"the server does not speak this dialect: it said {text}"
        ) from None


def hung_up(closed: ConnectionClosed) -> StreamGateError:
    frame = closed.rcvd
    reason = f"{frame.reason or 'no reason given'} ({frame.code})" if frame else "it is gone"
    return StreamGateError(Code.UNAVAILABLE, f"the server hung up: {reason}")


async def speak(
    mouth: Mouth, conversation: Conversation, audio: Audio, failures: list[StreamGateError]
) -> None:
    """Send all. What goes wrong with the audio is put in `failures`: it ends the conversation."""
    try:
        await conversation.speak(mouth, audio)
    except ConnectionClosed:
        pass  # who listens sees it as well, and why
    except StreamGateError as error:
        failures.append(error)


async def _speak(
    socket: ClientConnection,
    conversation: Conversation,
    audio: Audio,
    failures: list[StreamGateError],
) -> None:
    await speak(socket, conversation, audio, failures)
    if failures:
        await socket.close()


async def receive(socket: ClientConnection, speaking: asyncio.Task[None]) -> Mapping[str, Any]:
    """The next message. While audio is being sent there may be none for long."""
    while True:
        was_speaking = not speaking.done()
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                data = await socket.recv()
            break
        except TimeoutError:
            if not was_speaking:
                raise StreamGateError(
                    Code.UNAVAILABLE, f"the server has said nothing for {SILENCE_SECONDS:g} s"
                ) from None
    try:
        message = json.loads(data)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise StreamGateError(Code.INTERNAL, f"the server said {data[:80]!r}, expected an object")
    return message


async def dial(url: str, headers: Mapping[str, str]) -> ClientConnection:
    """A connection. Raises what the library raises."""
    return await connect(
        url,
        additional_headers=headers,
        compression=None,
        open_timeout=CONNECT_SECONDS,
        proxy=None,
    )


def refused(url: str, error: InvalidStatus) -> StreamGateError:
    """Who refused, and why."""
    status, body = error.response.status_code, bytes(error.response.body or b"")
    why = "it is no WebSocket" if status == 200 else said(body)
    place = url.partition("?")[0]
    return StreamGateError(Code.UNAVAILABLE, f"{place} refused ({status}): {why}")


@asynccontextmanager
async def dialled(url: str, headers: Mapping[str, str]) -> AsyncIterator[ClientConnection]:
    """A connection. Raises StreamGateError that says who refused, and why."""
    try:
        socket = await dial(url, headers)
    except InvalidStatus as error:
        raise refused(url, error) from None
    except (InvalidURI, InvalidHandshake) as error:
        raise StreamGateError(Code.INVALID_ARG, f"{url} is no WebSocket: {error}") from None
    except (OSError, TimeoutError) as error:
        raise unreachable(url, error) from None
    async with socket:
        yield socket


def unreachable(url: str, error: BaseException) -> StreamGateError:
    return StreamGateError(
        Code.UNAVAILABLE,
        f"no answer at {url.partition('?')[0]}: is `streamgate serve` running there? "
        f"({str(error) or type(error).__name__})",
    )


def said(body: bytes) -> str:
    """The message in a refusal's body, in whichever shape."""
    text = body.decode("utf-8", "replace").strip()
    try:
        fields = json.loads(text)
    except ValueError:
        return text[:300] if text and not text.startswith("<") else "no reason given"
    while isinstance(fields, dict):
        names = ("message", "err_msg", "error", "detail", "reason")
        fields = next((fields[name] for name in names if name in fields), text)
    return str(fields)[:300]


class Dialect(Protocol):
    """A dialect's client: audio out, a transcript back."""

    async def transcribe(self, audio: Audio, wanted: Wanted, listener: Listener) -> Transcript:
        """Raises StreamGateError for whatever goes wrong, naming where."""
