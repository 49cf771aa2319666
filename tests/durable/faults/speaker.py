"""A client of the numbers recogniser over /v1/speech: a recording in, events out."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from websockets.asyncio.client import connect

from tests.system.numbers_client import CHUNK, RATE, recording

MODEL: Final = "numbers"
PARTS: Final = ("numbers", "numbers_graph", "numbers_text")
DEMOS: Final = Path(__file__).resolve().parents[3] / "demos" / "models"
ANSWER_SECONDS: Final = 60.0

EXACT: Final = (
    'parameters { key: "streamgate.determinism" value { string_value: "fixed_bucket" } }\n'
    'parameters { key: "streamgate.snapshot_steps" value { string_value: "8" } }\n'
)
"""Its results depend on nothing but the sound, bit by bit, whoever else is in the batch."""

OF_THE_MOMENT: Final = ("lag_seconds", "sequence_id", "resume")

Message = dict[str, Any]


def write_numbers(repository: Path) -> None:
    """The recogniser, such that a replay gives the same bits."""
    for name in PARTS:
        shutil.copytree(DEMOS / name, repository / name)
    with (repository / "numbers_graph" / "config.pbtxt").open("a") as config:
        config.write(EXACT)


def pieces_of(name: str) -> list[bytes]:
    """A recording in steps of the model."""
    samples = (recording(name) * 32767).astype(np.int16)
    padded = np.pad(samples, (0, -len(samples) % CHUNK))
    return [piece.tobytes() for piece in padded.reshape(-1, CHUNK)]


async def nothing(_: int) -> None:
    """Before a step."""


async def hear(
    address: str,
    pieces: list[bytes],
    before: Callable[[int], Awaitable[None]] = nothing,
    pause_seconds: float = 0.0,
) -> list[Message]:
    """All that is said about a recording, but what is of the moment. `before` is awaited before
    each piece."""
    query = f"model={MODEL}&encoding=s16le&sample_rate={RATE}&resume=off"
    async with connect(f"ws://{address}/v1/speech?{query}", ping_timeout=None) as socket:

        async def say() -> None:
            for index, piece in enumerate(pieces):
                await before(index)
                await socket.send(piece)
                await asyncio.sleep(pause_seconds)
            await socket.send('{"type":"end"}')

        async with asyncio.TaskGroup() as group:
            group.create_task(say())
            heard: list[Message] = []
            while not heard or heard[-1]["type"] != "ended":
                async with asyncio.timeout(ANSWER_SECONDS):
                    heard.append(json.loads(await socket.recv()))
    assert heard[-1]["reason"] == "client_end", heard[-1]
    for message in heard:
        for name in OF_THE_MOMENT:
            message.pop(name, None)
    return heard
