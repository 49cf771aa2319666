"""The process: its ready line, its ports, its signals, its exit status."""

import asyncio
import re
import signal
import sys
from pathlib import Path

import aiohttp
import grpc
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.frontends.websocket_client import Client, connected
from tests.system.server_process import (
    ROOT,
    WAIT_SECONDS,
    ServerProcess,
    serving,
    started,
    write_fake_model,
    write_python_model,
)

ADDRESS = r"127\.0\.0\.1:[1-9]\d*"
SLOW = """
import time

class TritonPythonModel:
    def initialize(self, args):
        print("begun", flush=True)
        time.sleep(60)

    def execute(self, requests):
        return []
"""

LEAVES_A_THREAD = """
import threading

class TritonPythonModel:
    def initialize(self, args):
        wait = threading.Event().wait
        threading.Thread(target=wait, args=(60,), name="forgotten", daemon=False).start()

    def execute(self, requests):
        return []
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    directory.mkdir()
    write_fake_model(directory)
    return directory


def sequence_url(server: ServerProcess) -> str:
    return f"ws://{server.addresses['websocket']}/v1/sequence"


async def begin(client: Client) -> None:
    """Open a sequence and have its first step answered."""
    await client.open("fake")
    await client.frame(b"\1\0")
    assert (await client.hear())["type"] == "response"


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


async def until_status(status: int, url: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if await status_of(url) == status:
                return
            await asyncio.sleep(0.01)


async def test_it_serves_on_four_ports_and_lets_a_sequence_end_before_it_exits(
    models: Path,
) -> None:
    async with serving(models) as server:
        assert re.fullmatch(
            rf"streamgate ready http={ADDRESS} grpc={ADDRESS} metrics={ADDRESS} "
            rf"websocket={ADDRESS}",
            server.out[0],
        )
        http, metrics = server.addresses["http"], server.addresses["metrics"]
        assert await status_of(f"http://{http}/v2/health/ready") == 200
        assert await status_of(f"http://{metrics}/metrics") == 200
        async with grpc.aio.insecure_channel(server.addresses["grpc"]) as channel:
            ready = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")
            assert await ready(b"") == b"\x08\x01"
        async with connected(sequence_url(server)) as client:
            await begin(client)
            server.terminate()
            await server.read_error("SIGTERM: draining, once more to exit at once")
            await until_status(400, f"http://{http}/v2/health/ready")
            with pytest.raises(InvalidStatus, match="503"):
                await connect(sequence_url(server))
            assert await client.hear_drain() == ("stop", 30.0)
            for _ in range(3):
                await client.frame(b"\1\0")
                assert (await client.hear())["type"] == "response"
            await client.say("end")
            assert (await client.hear_end())["closed"] == 1000
        assert await server.exit_status() == 0
        await server.read_error("stopped")
        assert not [line for line in server.errors if "Traceback" in line]


async def test_what_does_not_end_in_time_is_drained(models: Path) -> None:
    async with serving(models, "--exit-timeout-secs", "0.2") as server:
        async with connected(sequence_url(server)) as client:
            await begin(client)
            server.process.send_signal(signal.SIGINT)
            assert await client.hear_drain() == ("stop", 0.2)
            end = await client.hear_end()
            assert (end["reason"], end["closed"]) == ("drained", 1012)
        assert await server.exit_status() == 0
        await server.read_error("model 'fake' is not idle after 0.2 s: closing it")


async def test_a_second_signal_exits_at_once(models: Path) -> None:
    async with serving(models) as server, connected(sequence_url(server)) as client:
        await begin(client)
        server.terminate()
        await server.read_error("SIGTERM: draining")
        server.terminate()
        assert await server.exit_status() == 1
        await server.read_error("SIGTERM again: exiting at once")


async def test_a_signal_while_models_load_exits(models: Path) -> None:
    write_python_model(models, "slow", SLOW)
    async with started(models) as server:
        assert server.process.stdout is not None
        while b"begun" not in await server.process.stdout.readline():
            pass
        server.terminate()
        assert await server.exit_status() == 0
        await server.read_error("stopped while starting")


async def test_threads_that_models_forget_do_not_keep_it(models: Path) -> None:
    write_python_model(models, "forgetful", LEAVES_A_THREAD)
    async with serving(models) as server:
        server.terminate()
        assert await server.exit_status() == 0
        await server.read_error("exiting without waiting for threads of models: forgotten")


async def test_the_module_and_the_version() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamgate", "--version"), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert re.fullmatch(rb"streamgate \d+\.\d+\.\d+\n", out)
