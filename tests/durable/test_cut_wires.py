"""The wire between a client and the server is cut at random bytes, again and again: what the client
hears in the end is what it would have heard over a good one."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate.server.ports import Ports
from streamgate.server.server import Server
from streamgate.server.settings import Settings
from tests.durable.models import decoupled_hashes, hashes, write_decoupled, write_graph
from tests.durable.proxy import Cut, Way, cutting
from tests.durable.resuming import Message, ResumingClient
from tests.model.settings import LONG
from tests.speech.tones import MELODY, REPOSITORY, s16le, tones, words_of

pytestmark = pytest.mark.timeout(600 if LONG else 60)

SESSIONS = 60 if LONG else 4
CUTS = 12 if LONG else 8
"""Of each session, one connection after the other."""
HANDSHAKE_BYTES = 500
STEPS = 150
SECONDS = 1.0 if LONG else 0.3
"""After so long without a word, a client believes that its wire is dead."""


@asynccontextmanager
async def serving(repository: Path, **changes: Any) -> AsyncIterator[tuple[Server, Ports]]:
    settings = Settings(
        [repository],
        host="127.0.0.1",
        http_port=0,
        metrics_port=0,
        websocket_port=0,
        allow_grpc=False,
        **changes,
    )
    server = Server(settings)
    ports = await server.start()
    try:
        yield server, ports
    finally:
        await server.stop()


def seeds(count: int) -> list[int]:
    """Others each time, where there is time for it."""
    start = random.SystemRandom().randrange(10**9) if LONG else 1
    sys.stdout.write(f"seeds from {start}\n")
    return list(range(start, start + count))


def random_cuts(seed: int, up_bytes: int, down_bytes: int, *, silent: bool = False) -> list[Cut]:
    """Each somewhere in a connection's share of the session's bytes, its handshake included."""
    chance = random.Random(seed)
    cuts = []
    for _ in range(CUTS):
        way = chance.choice(list(Way))
        size = up_bytes if way is Way.UP else down_bytes
        cuts.append(Cut(way, chance.randrange(HANDSHAKE_BYTES + 2 * size // CUTS), silent))
    return cuts


async def through_cuts(
    port: int | None, target: str, messages: Sequence[str | bytes], cuts: list[Cut]
) -> ResumingClient:
    """A client that has come to its end, over a proxy that has made all these cuts."""
    assert port is not None
    silent = any(cut.silent for cut in cuts)
    async with cutting(port, cuts) as proxy:
        client = ResumingClient(
            f"ws://127.0.0.1:{proxy.port}{target}",
            messages,
            silence_seconds=SECONDS if silent else 20.0,
            pause_seconds=0.002,
        )
        await client.run()
        assert client.close_code == 1000
        assert proxy.connections > 1
    return client


async def all_through_cuts(
    port: int | None,
    target: str,
    messages: Sequence[str | bytes],
    sizes: tuple[int, int],
    *,
    silent: bool = False,
    sessions: int = SESSIONS,
) -> list[ResumingClient]:
    """Several at once, each with cuts of its own within these sizes: bytes up, bytes down."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                through_cuts(port, target, messages, random_cuts(seed, *sizes, silent=silent))
            )
            for seed in seeds(sessions)
        ]
    clients = [task.result() for task in tasks]
    # A cut may be in a handshake, or behind all that is said.
    assert sum(client.resumes for client in clients) > 3 * sessions
    return clients


def sequence_of(model: str, values: Sequence[int]) -> list[str | bytes]:
    opening = f'{{"type":"open","model":"{model}"}}'
    frames = [np.array([value], "<i8").tobytes() for value in values]
    return [opening, *frames, '{"type":"flush","id":"all"}', '{"type":"end"}']


def outputs_of(messages: Sequence[Message]) -> dict[int, list[int]]:
    """By position; each answered to its end, exactly once."""
    outputs: dict[int, list[int]] = {}
    finals = []
    for message in messages:
        if message["type"] != "response":
            continue
        heard = outputs.setdefault(message["position"], [])
        assert message["index"] == len(heard) or not message["outputs"]
        heard += [value for output in message["outputs"] for value in output["data"]]
        if message["final"]:
            finals.append(message["position"])
    assert finals == list(range(len(finals)))
    return outputs


async def test_a_sequence_over_a_wire_that_is_cut_again_and_again(tmp_path: Path) -> None:
    write_graph(tmp_path)
    values = random.Random(7).choices(range(1000), k=STEPS)
    expected = {place: [each] for place, each in enumerate(hashes(values))}
    async with serving(tmp_path) as (_, ports):
        clients = await all_through_cuts(
            ports.websocket, "/v1/sequence", sequence_of("hash", values), (3_000, 16_000)
        )
    for client in clients:
        assert outputs_of(client.heard) == expected
        kinds = [message["type"] for message in client.heard if message["type"] != "response"]
        assert kinds == ["opened", "flushed", "ended"]
        assert client.heard[-1]["positions"] == STEPS


async def test_a_decoupled_model_over_such_a_wire(tmp_path: Path) -> None:
    write_decoupled(tmp_path)
    values = random.Random(8).choices(range(1000), k=60)
    expected = dict(enumerate(decoupled_hashes(values)))
    async with serving(tmp_path) as (_, ports):
        clients = await all_through_cuts(
            ports.websocket,
            "/v1/sequence",
            sequence_of("hash_decoupled", values),
            (2_000, 14_000),
            sessions=max(2, SESSIONS // 2),
        )
    for client in clients:
        assert outputs_of(client.heard) == expected


async def test_a_wire_that_goes_dead_without_a_word(tmp_path: Path) -> None:
    """The server still believes in the old connection when the client is back: it takes over."""
    write_graph(tmp_path)
    values = random.Random(9).choices(range(1000), k=STEPS)
    expected = {place: [each] for place, each in enumerate(hashes(values))}
    async with serving(tmp_path) as (_, ports):
        clients = await all_through_cuts(
            ports.websocket,
            "/v1/sequence",
            sequence_of("hash", values),
            (3_000, 16_000),
            silent=True,
            sessions=min(SESSIONS, 12),
        )
    for client in clients:
        assert outputs_of(client.heard) == expected


async def test_speech_over_such_a_wire_on_both_ports() -> None:
    audio = s16le(tones())
    messages: list[str | bytes] = [audio[at : at + 1600] for at in range(0, len(audio), 1600)]
    messages += ['{"type":"flush","id":"x"}', '{"type":"end"}']
    target = "/v1/speech?encoding=s16le&sample_rate=16000"
    async with serving(REPOSITORY) as (_, ports):
        good = ResumingClient(f"ws://127.0.0.1:{ports.websocket}{target}", messages)
        await good.run()
        sizes = (len(audio), 6_000)
        clients = await all_through_cuts(ports.websocket, target, messages, sizes, sessions=2)
        clients += await all_through_cuts(ports.http, target, messages, sizes, sessions=2)
    text = transcript(good.heard)
    assert text.split() == words_of(MELODY)
    for client in clients:
        assert transcript(client.heard) == text
        assert places(client.heard) == places(good.heard)


def transcript(messages: Sequence[Message]) -> str:
    return "".join(message["stable"] for message in messages if message["type"] == "text")


def places(messages: Sequence[Message]) -> list[tuple[int, int, bool]]:
    """Position, index and finality of all results."""
    texts = [message for message in messages if message["type"] == "text"]
    return [(each["position"], each["index"], each["final"]) for each in texts]
