"""Every dialect over WebSocket: its server dies in the middle, and its client goes on at another
one over the same session store; it hears what it would have heard, each event once."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from streamgate.frontends.sockets.taped import tape
from streamgate.server.settings import SpeechSettings
from tests.durable.resuming import ResumingClient
from tests.frontends.mortal_houses import Houses, mortal_houses
from tests.model.settings import LONG
from tests.speech.dialects.coming_back import PORTS, Dialect, cut_up, dialects_of
from tests.speech.tones import REPOSITORY, s16le, tones, words_of

pytestmark = pytest.mark.timeout(1800 if LONG else 300)

DIALECTS = dialects_of(tones(), tones(rate_hz=24_000))
PCM = cut_up(s16le(tones()), 2560)


def text_of(message: Any) -> str:
    """What a message adds to the text, and the space between utterances."""
    return str(message["stable"] + " " * message["final"]) if message["type"] == "text" else ""


NATIVE = Dialect(
    "streamgate",
    "/v1/speech?encoding=s16le&sample_rate=16000&translate=de",
    [
        *PCM[:9],
        json.dumps({"type": "flush", "id": "one"}),
        json.dumps({"type": "flush", "id": "two"}),
        *PCM[9:],
        json.dumps({"type": "end"}),
    ],
    lambda heard: " ".join("".join(map(text_of, heard)).split()),
    greets=True,
)
DEATHS = 40 if LONG else 1
WRITES = range(4, 60)
"""There are more of them in each session."""


def of(heard: Sequence[Any], kind: str, name: str) -> list[Any]:
    return [message[name] for message in heard if message["type"] == kind]


async def heard_of(
    houses: Houses, dialect: Dialect, dies_after: Sequence[int] = ()
) -> tuple[int, ResumingClient]:
    """What is heard when the servers die at these writes; and how many the first one did."""
    life = houses.begin(dialect.port, dies_after)
    client = ResumingClient(
        f"ws://127.0.0.1:{houses.wire.port}{dialect.target}",
        dialect.frames,
        numbers=dialect is NATIVE,
        greets=dialect.greets,
        is_last=dialect.is_last,
        pause_seconds=0.001,
    )
    await client.run()
    assert client.restarts == 1
    return life.writes, client


@pytest.mark.parametrize("realtime", ["openai", "riva"])
async def test_their_clients_go_on_at_another_server(realtime: str) -> None:
    settings = SpeechSettings(ports=dict.fromkeys(PORTS, 0), realtime_dialect=realtime)
    mine = [each for each in DIALECTS if (each.realtime == "riva") == (realtime == "riva")]
    async with mortal_houses([REPOSITORY], settings) as houses:
        for dialect in mine:
            for number in random.Random(dialect.name).sample(WRITES, DEATHS):
                taken = houses.taken
                _, client = await heard_of(houses, dialect, [number])
                # Who had no token yet has begun anew.
                assert houses.taken == taken + 1 or not client.resumes
                assert client.close_code == 1000, (dialect.name, number)
                assert dialect.words(client.heard) == " ".join(words_of()), (dialect.name, number)


def cut_often(monkeypatch: pytest.MonkeyPatch, size_bytes: int) -> None:
    """After so much, what was told before is forgotten as soon as that is possible."""
    monkeypatch.setattr(tape, "CUT_BYTES", size_bytes)
    monkeypatch.setattr(tape, "CUT_AGAIN_BYTES", 1)


async def test_openai_realtime_goes_on_without_its_past(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_often(monkeypatch, 20_000)
    (dialect,) = (each for each in DIALECTS if each.name == "openai-realtime")
    async with mortal_houses([REPOSITORY], count=3) as houses:
        for number in random.Random(3).sample(range(50, 90), 2 * DEATHS):
            _, client = await heard_of(houses, dialect, [number, 20])
            assert dialect.words(client.heard) == " ".join(words_of()), number
        assert houses.taken > 0


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
async def test_our_own_says_the_same_event_for_event(
    monkeypatch: pytest.MonkeyPatch, *, is_cut: bool
) -> None:
    if is_cut:
        cut_often(monkeypatch, 3_000)
    async with mortal_houses([REPOSITORY], count=3) as houses:
        writes, client = await heard_of(houses, NATIVE)
        undisturbed = texts(client.heard)
        assert NATIVE.words(client.heard) == " ".join(words_of())
        for number in random.Random(2).sample(range(1, writes), 3 * DEATHS):
            _, client = await heard_of(houses, NATIVE, [number, 20])
            assert texts(client.heard) == undisturbed, number


def texts(heard: Sequence[Any]) -> list[Any]:
    """What was heard, but for what is another in each session, or depends on how it was batched."""
    said = []
    for message in heard:
        kept = {
            name: each for name, each in message.items() if name not in {"event", "lag_seconds"}
        }
        if message["type"] == "ready":
            kept = {"type": "ready"}
        if message["type"] == "translation":
            continue
        said.append(kept)
    translated = "".join(of(heard, "translation", "stable"))
    return [*said, translated]
