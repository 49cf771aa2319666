"""Spoken numbers: heard and translated as they are spoken, then as files by other dialects."""

import asyncio
import json
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from gateway import Addresses
from streams import PATIENCE_SECONDS, DemoError

MODEL = "numbers"
TARGETS = ("de", "fr", "es")
PIECE_SECONDS = 0.1
RECORDINGS = Path(__file__).resolve().parent / "audio/numbers"

SAID = {
    "phone_16k": "five five five zero one four two nine six eight",
    "price_22k": "one hundred and twenty four dollars and ninety nine cents",
    "pause_22k": "minus twelve point five / seven hundred and six thousand",
    "call_8k": "plus four four double oh seven triple nine",
}
"""What is said in each recording; a stroke parts its utterances."""


@dataclass
class Spoken:
    """One recording on its way: its utterances, and the translations of each."""

    name: str
    utterances: list[str] = field(default_factory=lambda: [""])
    tail: str = ""
    translated: dict[str, list[str]] = field(
        default_factory=lambda: {target: [""] for target in TARGETS}
    )
    tails: dict[str, str] = field(default_factory=lambda: dict.fromkeys(TARGETS, ""))

    @property
    def text(self) -> str:
        return _joined(self.utterances)

    def translation(self, target: str) -> str:
        return _joined(self.translated[target])


OnChange = Callable[[Spoken, str, float], None]
"""Told of each change of a recording: of its `text` or of a translation's language, and when,
counted from its start."""


async def live(addresses: Addresses, on_change: OnChange) -> list[Spoken]:
    """Sends each recording at the pace at which it was spoken, all of them at once."""
    async with aiohttp.ClientSession() as session:
        work = (_live_one(session, addresses, name, on_change) for name in SAID)
        return list(await asyncio.gather(*work))


async def by_openai(addresses: Addresses, path: Path, model: str) -> str:
    """The text of a file, by `POST /v1/audio/transcriptions`."""
    form = aiohttp.FormData()
    form.add_field("model", model)
    form.add_field("file", _bytes(path), filename=path.name)
    url = f"http://{addresses.http}/v1/audio/transcriptions"
    async with aiohttp.ClientSession() as session, session.post(url, data=form) as answer:
        body = await answer.json()
        if answer.status != 200:
            raise DemoError(f"transcription of {path.name}: {body}")
        text: str = body["text"]
        return text


async def by_deepgram(addresses: Addresses, path: Path, model: str) -> str:
    """The text of a file, by Deepgram's WebSocket."""
    url = f"http://{addresses.websocket}/v1/listen?model={model}"
    texts = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_bytes(_bytes(path))
        await socket.send_json({"type": "CloseStream"})
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for message in socket:
                body = json.loads(message.data)
                if body["type"] == "Results" and body["is_final"]:
                    texts.append(body["channel"]["alternatives"][0]["transcript"])
    return " ".join(text for text in texts if text)


def check(spoken: list[Spoken]) -> None:
    """Raises DemoError unless every recording was understood, and translated to the end."""
    for each in spoken:
        if each.text != SAID[each.name]:
            raise DemoError(f"{each.name}: heard '{each.text}', said was '{SAID[each.name]}'")
        for target in TARGETS:
            if not each.translation(target):
                raise DemoError(f"{each.name}: nothing came of its translation into '{target}'")


async def _live_one(
    session: aiohttp.ClientSession, addresses: Addresses, name: str, on_change: OnChange
) -> Spoken:
    spoken = Spoken(name)
    query = f"model={MODEL}&translate={','.join(TARGETS)}"
    async with session.ws_connect(f"http://{addresses.websocket}/v1/speech?{query}") as socket:
        ready = await socket.receive_json(timeout=PATIENCE_SECONDS)
        if ready["type"] != "ready":
            raise DemoError(f"{name}: expected 'ready', got {ready}")
        began = time.monotonic()
        sender = asyncio.create_task(_send(socket, RECORDINGS / f"{name}.wav", began))
        try:
            while True:
                message = await socket.receive_json(timeout=PATIENCE_SECONDS)
                if message["type"] == "ended":
                    break
                if message["type"] == "error":
                    raise DemoError(f"{name}: {message['message']}")
                if _take(spoken, message):
                    on_change(spoken, message.get("language", "text"), time.monotonic() - began)
        finally:
            sender.cancel()
    return spoken


async def _send(socket: aiohttp.ClientWebSocketResponse, path: Path, began: float) -> None:
    """The file as it is, header and all, no faster than it was spoken."""
    audio, bytes_per_second = _read(path)
    piece = int(bytes_per_second * PIECE_SECONDS)
    for number, at in enumerate(range(0, len(audio), piece)):
        await asyncio.sleep(max(0.0, began + (number + 1) * PIECE_SECONDS - time.monotonic()))
        await socket.send_bytes(audio[at : at + piece])
    await socket.send_json({"type": "end"})


def _read(path: Path) -> tuple[bytes, int]:
    """A WAV file as it is, and how many of its bytes are a second."""
    with wave.open(str(path)) as file:
        bytes_per_second = file.getframerate() * file.getsampwidth() * file.getnchannels()
    return _bytes(path), bytes_per_second


def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _take(spoken: Spoken, message: dict[str, object]) -> bool:
    """Add a message to what is known; whether anything changed that can be seen."""
    stable, tail, final = str(message["stable"]), str(message["tail"]), bool(message["final"])
    if message["type"] == "text":
        changed = bool(stable) or tail != spoken.tail
        texts, spoken.tail = spoken.utterances, tail
    else:
        target = str(message["language"])
        changed = bool(stable) or tail != spoken.tails[target]
        texts, spoken.tails[target] = spoken.translated[target], tail
    texts[-1] += stable
    if final:
        texts.append("")
    return changed


def _joined(texts: list[str]) -> str:
    return " / ".join(text.strip() for text in texts if text.strip())
