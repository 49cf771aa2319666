"""The numbers recogniser hears recordings, in every dialect over WebSocket that has it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import soxr

from streamgate.model.tensor import Array
from tests.durable.faults.speaker import MODEL, OF_THE_MOMENT
from tests.durable.resuming import Message, ResumingClient
from tests.speech.dialects.coming_back import PORTS, Dialect, cut_up, dialects_of, say
from tests.speech.tones import s16le
from tests.system.numbers_client import RATE, recording

RECORDINGS: Final = ("price_22k.wav", "phone_16k.wav", "call_8k.wav")
LATER_RATE: Final = 24_000
OWN: Final = "streamgate"
"""Our own dialect, of which everything is compared; of the others it is the words."""
APART: Final = ("riva-realtime", "openai-translations")
"""Dialects that want another server, or a translator."""

SPEECH_SECONDS: Final = 240.0
"""After so long, a client gives up."""
FLAGS: Final = (
    *("--speech-model", MODEL),
    *(word for name in PORTS for word in ("--dialect-port", f"{name}=0")),
)
"""What the server must be started with."""


@dataclass(frozen=True)
class Speech:
    """A dialect, and a recording that its client sends; `calm` is what is heard of it in peace."""

    dialect: Dialect
    port: int
    calm: str = ""

    @classmethod
    async def undisturbed(cls, dialect: Dialect, port: int) -> "Speech":
        client = cls(dialect, port).client(port, 0.001)
        calm = dialect.words(await client.run())
        assert calm, f"{dialect.name}: the recording has words"
        return cls(dialect, port, calm)

    def client(
        self, port: int, pause_seconds: float, silence_seconds: float = 20.0
    ) -> ResumingClient:
        """One that comes through this port, with this pause between its messages; it comes back
        after such a silence."""
        dialect = self.dialect
        return ResumingClient(
            f"ws://127.0.0.1:{port}{dialect.target}",
            dialect.frames,
            numbers=dialect.name == OWN,
            greets=dialect.greets,
            is_last=dialect.is_last,
            pause_seconds=pause_seconds,
            silence_seconds=silence_seconds,
            seconds=SPEECH_SECONDS,
        )

    def check(self, client: ResumingClient) -> None:
        """That it has heard what is heard in peace."""
        heard = self.dialect.words(client.heard)
        assert heard == self.calm, f"{self.dialect.name}: {heard} instead of {self.calm}"

    @property
    def size(self) -> int:
        return sum(len(frame) for frame in self.dialect.frames)


async def hear_all(addresses: Mapping[str, str], sounds: Sequence[Array]) -> list[Speech]:
    """These, FP32 `[n]` at 16 kHz, in all dialects, heard by a server that nothing happens to."""
    return await asyncio.gather(
        *(
            Speech.undisturbed(dialect, port_in(addresses, dialect.port or "http"))
            for samples in sounds
            for dialect in dialects_about(samples)
        )
    )


def recordings() -> list[Array]:
    return [recording(name) for name in RECORDINGS]


def dialects_about(samples: Array) -> list[Dialect]:
    """A recording in every dialect that may be."""
    later = soxr.resample(samples, RATE, LATER_RATE).astype(np.float32)
    own = Dialect(
        OWN,
        f"/v1/speech?model={MODEL}&encoding=s16le&sample_rate={RATE}",
        [*cut_up(s16le(samples), 2560), say(type="flush", id="x"), say(type="end")],
        everything,
        greets=True,
    )
    return [own, *(each for each in dialects_of(samples, later) if each.name not in APART)]


def everything(messages: list[Message]) -> str:
    """All that our own dialect says of a recording, but what is of the moment."""
    texts = [message for message in messages if message["type"] in ("text", "flushed", "ended")]
    for text in texts:
        for name in OF_THE_MOMENT:
            text.pop(name, None)
    return json.dumps(texts)


def port_in(addresses: Mapping[str, str], name: str) -> int:
    return int(addresses[name].rpartition(":")[2])
