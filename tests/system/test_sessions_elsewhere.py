"""Speech over WebSocket, servers as processes over one Redis: the one that is killed or frozen in
the middle of an utterance is gone on from at another."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.durable.resuming import ResumingClient
from tests.durable.test_cut_wires import transcript
from tests.model.settings import ONLY_LONG
from tests.snapshot.redis_server import RedisServer
from tests.speech.tones import MELODY, REPOSITORY, s16le, tones, words_of
from tests.system.server_process import ServerProcess, serving
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

AUDIO = s16le(tones())
FRAMES = [AUDIO[at : at + 1600] for at in range(0, len(AUDIO), 1600)]
MESSAGES: list[str | bytes] = [*FRAMES, '{"type":"end"}']
TARGET = "/v1/speech?encoding=s16le&sample_rate=16000"
SECONDS = 60.0


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("a secret that both servers have")
    return path


@asynccontextmanager
async def server(redis: RedisServer, secret: Path, *flags: str) -> AsyncIterator[ServerProcess]:
    shared = ("--session-store", redis.url, "--resume-secret-file", str(secret))
    async with serving(REPOSITORY, *(flags or ("--embedded",)), *shared) as process:
        yield process


def url_of(process: ServerProcess) -> str:
    return f"ws://{process.addresses['websocket']}{TARGET}"


def client_of(process: ServerProcess) -> ResumingClient:
    """It tries again while its server seems to live."""
    return ResumingClient(
        url_of(process), MESSAGES, pause_seconds=0.02, comes_again=frozenset({503})
    )


def check(client: ResumingClient) -> None:
    assert client.close_code == 1000
    assert client.restarts == 1
    assert client.resumes >= 1
    assert transcript(client.heard).split() == words_of(MELODY)


async def test_speech_goes_on_when_its_server_is_killed(redis: RedisServer, secret: Path) -> None:
    async with server(redis, secret) as one, server(redis, secret) as other:
        client = client_of(one)
        speaking = asyncio.create_task(client.run())
        await until(lambda: len(client.heard) > 8)
        one.process.kill()
        client.url = url_of(other)
        await speaking
    check(client)


@ONLY_LONG
async def test_so_it_does_when_one_of_two_front_ends_is(redis: RedisServer, secret: Path) -> None:
    """Under a supervisor, which starts another; the engine lives."""
    async with server(redis, secret, "--front-ends", "2") as process:
        client = client_of(process)
        speaking = asyncio.create_task(client.run())
        await until(lambda: len(client.heard) > 8)
        port = int(process.addresses["websocket"].rpartition(":")[2])
        for child in psutil.Process(process.process.pid).children():
            if any(each.laddr.port == port and each.raddr for each in child.net_connections()):
                child.kill()
        await speaking
    check(client)


async def all_of(socket: ClientConnection) -> AsyncIterator[str | bytes]:
    """What comes up to the end of a connection."""
    with suppress(ConnectionClosed):
        while True:
            yield await socket.recv()


@ONLY_LONG
async def test_who_was_frozen_and_wakes_up_has_lost_it(redis: RedisServer, secret: Path) -> None:
    async with server(redis, secret) as one, server(redis, secret) as other:
        async with asyncio.timeout(SECONDS):
            old = await connect(url_of(one))
            token = json.loads(await old.recv())["resume"]["token"]
            for frame in FRAMES[:20]:
                await old.send(frame)
            first = [json.loads(await old.recv()) for _ in range(4)]
            one.process.send_signal(signal.SIGSTOP)
            client = client_of(other)
            client.token = token
            client.heard = [{"type": "ready"}, *first]
            client.restarts = 1
            await client.run()
            check(client)
            one.process.send_signal(signal.SIGCONT)
            await old.send(FRAMES[20])
            told = [json.loads(message) async for message in all_of(old)]
            assert old.close_code == 4409
            # What it had told before it froze may have been on the wire.
            said = [each for each in client.heard if each["type"] == "text"]
            for message in told:
                assert message["type"] == "error" or message in said


@ONLY_LONG
async def test_one_whose_store_was_lost_says_so(redis: RedisServer, secret: Path) -> None:
    async with server(redis, secret) as one, server(redis, secret) as other:
        async with asyncio.timeout(SECONDS):
            socket = await connect(url_of(one))
            token = json.loads(await socket.recv())["resume"]["token"]
            redis.kill()
            # It goes on without a store.
            for frame in FRAMES[:20]:
                await socket.send(frame)
            assert json.loads(await socket.recv())["event"] == 2
            one.process.kill()
            redis.start()
            while True:
                with pytest.raises(InvalidStatus) as refusal:
                    await connect(f"{url_of(other)}&resume={token}&last_event=2")
                if refusal.value.response.status_code == 404:
                    break
                await asyncio.sleep(0.1)
            await socket.close()
