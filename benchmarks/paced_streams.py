"""Clients in real time: each has a step every so often, whether or not the last one is answered.

Over `/v1/sequence` with a slot reserved, so that who is let in is told at the handshake.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from websockets.asyncio.client import ClientConnection, connect

STEP: Final = b"\0\0\0\0"
RETRY_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Result:
    """One step's answer: when its time had come, and how long after that the answer was there."""

    at: float
    lag: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """A client that was not let in: when it came, and how long after that it knew."""

    at: float
    seconds: float


@dataclass(slots=True)
class Diary:
    """What became of all clients. Times are of `time.monotonic`."""

    results: list[Result] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    live: int = 0
    failures: int = 0


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share lies; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def keep_coming(
    url: str, model: str, pace_seconds: float, life_seconds: float, until: float, diary: Diary
) -> None:
    """One client after another, each for a while, until then. Who is refused comes again later."""
    while time.monotonic() < until:
        begin = time.monotonic()
        try:
            async with connect(url, compression=None, ping_interval=None) as socket:
                asked = {"type": "open", "model": model, "reserve": True}
                await socket.send(json.dumps(asked))
                async with asyncio.timeout(ANSWER_SECONDS):
                    told = json.loads(await socket.recv())
                if told["type"] != "opened":
                    diary.refusals.append(Refusal(begin, time.monotonic() - begin))
                    await socket.close()
                else:
                    await _live(socket, pace_seconds, min(until, begin + life_seconds), diary)
                    continue
        except (OSError, TimeoutError, EOFError, ConnectionError):
            diary.failures += 1
        await asyncio.sleep(RETRY_SECONDS)


async def _live(socket: ClientConnection, pace_seconds: float, until: float, diary: Diary) -> None:
    due: list[float] = []
    diary.live += 1
    listening = asyncio.create_task(_listen(socket, due, diary))
    try:
        at = time.monotonic()
        while at < until:
            due.append(at)
            await socket.send(STEP)
            at += pace_seconds
            await asyncio.sleep(max(0.0, at - time.monotonic()))
        await socket.send(json.dumps({"type": "end"}))
        async with asyncio.timeout(ANSWER_SECONDS):
            await listening
    finally:
        diary.live -= 1
        listening.cancel()


async def _listen(socket: ClientConnection, due: Sequence[float], diary: Diary) -> None:
    async for message in socket:
        told = json.loads(message)
        if told["type"] == "ended":
            return
        if told["type"] == "response" and told["final"]:
            at = due[told["position"]]
            diary.results.append(Result(at, time.monotonic() - at))
        elif told["type"] == "error":
            diary.failures += 1
