"""Servers as processes over one Redis: what is killed or frozen goes on at another, bit for bit."""

import asyncio
import contextlib
import json
import random
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect

from streamgate._proto import grpc_service_pb2 as pb
from tests.durable.models import hashes, write_graph
from tests.frontends.grpc_client import SERVICE, Stub
from tests.model.settings import ONLY_LONG
from tests.snapshot.redis_server import RedisServer
from tests.system.server_process import ServerProcess, serving

VALUES = [(7 * number) % 1000 for number in range(24)]
LAST = len(VALUES) - 1
READY = grpc.ChannelConnectivity.READY
ELSEWHERE = "lives at another server"


class NotServedError(Exception):
    """What a server answered in place of a result."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    write_graph(folder, slots=64, parameters={"streamgate.snapshot_steps": "4"})
    return folder


@asynccontextmanager
async def server(redis: RedisServer, repository: Path) -> AsyncIterator[ServerProcess]:
    flags = ("--embedded", "--session-store", redis.url)
    async with serving(repository, *flags) as process:
        yield process


def ask_http(address: str, key: int, position: int) -> int:
    """The answer to a step over HTTP."""
    body = {
        "inputs": [
            {"name": "IN", "shape": [1, 1], "datatype": "INT64", "data": [VALUES[position]]}
        ],
        "parameters": {
            "sequence_id": key,
            "sequence_start": position == 0,
            "sequence_end": position == LAST,
            "streamgate_position": position,
        },
    }
    request = urllib.request.Request(
        f"http://{address}/v2/models/hash/infer", json.dumps(body).encode()
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(json.loads(answer.read())["outputs"][0]["data"][0])
    except urllib.error.HTTPError as error:
        raise NotServedError(error.read().decode()) from None


def grpc_request(key: int, position: int) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="hash", id=str(position))
    request.inputs.add(name="IN", datatype="INT64", shape=[1, 1])
    request.raw_input_contents.append(np.array([VALUES[position]], np.int64).tobytes())
    request.parameters["sequence_id"].int64_param = key
    request.parameters["sequence_start"].bool_param = position == 0
    request.parameters["sequence_end"].bool_param = position == LAST
    request.parameters["streamgate_position"].int64_param = position
    return request


def value_of(response: pb.ModelInferResponse) -> int:
    return int(np.frombuffer(response.raw_output_contents[0], np.int64)[0])


def ask_grpc(address: str, key: int, position: int) -> int:
    """The answer to a step over gRPC, as a call of its own."""
    with Stub(address) as stub:
        try:
            return value_of(stub.infer(grpc_request(key, position)))
        except grpc.RpcError as error:
            raise NotServedError(error.details()) from None


Ask = Callable[[str, int, int], int]
WAYS: dict[str, tuple[str, Ask]] = {
    "http": ("http", ask_http),
    "grpc": ("grpc", ask_grpc),
}


async def run(process: ServerProcess, way: str, key: int, steps: range) -> list[int]:
    """The answers to these steps. Tries again while their server seems to live elsewhere."""
    port, ask = WAYS[way]
    answers = []
    for position in steps:
        while True:
            try:
                answer = await asyncio.to_thread(ask, process.addresses[port], key, position)
            except NotServedError as error:
                if ELSEWHERE not in str(error):
                    raise
                await asyncio.sleep(0.1)
            else:
                break
        answers.append(answer)
    return answers


@ONLY_LONG
async def test_a_websockets_sequence_goes_on_at_another_server(
    redis: RedisServer, repository: Path
) -> None:
    answers: list[int] = []

    async def step(socket: ClientConnection, position: int) -> dict[str, Any]:
        tensor = {"name": "IN", "shape": [1, 1], "datatype": "INT64", "data": [VALUES[position]]}
        last = position == LAST
        await socket.send(json.dumps({"type": "step", "inputs": [tensor], "last": last}))
        message: dict[str, Any] = json.loads(await socket.recv())
        return message

    async def open_at(process: ServerProcess, position: int) -> ClientConnection:
        socket = await connect(f"ws://{process.addresses['websocket']}/v1/sequence")
        opening = {"type": "open", "model": "hash", "sequence_id": 1, "position": position}
        await socket.send(json.dumps(opening))
        assert json.loads(await socket.recv())["position"] == position
        return socket

    async with server(redis, repository) as one, server(redis, repository) as other:
        socket = await open_at(one, 0)
        for position in range(10):
            message = await step(socket, position)
            answers.append(int(message["outputs"][0]["data"][0]))
        one.process.send_signal(signal.SIGKILL)
        await one.process.wait()
        await socket.close()
        # It has not seen the last two, so to say.
        position = 8
        socket = await open_at(other, position)
        while position <= LAST:
            message = await step(socket, position)
            if message["type"] == "error" or "error" in message:
                assert ELSEWHERE in json.dumps(message)
                await asyncio.sleep(0.1)
                await socket.close()
                socket = await open_at(other, position)
                continue
            answers[position:] = [int(message["outputs"][0]["data"][0])]
            position += 1
        await socket.close()
        assert answers == hashes(VALUES)


@ONLY_LONG
async def test_a_killed_front_ends_sequences_go_on_at_its_successor(
    redis: RedisServer, repository: Path
) -> None:
    """Under a supervisor: the engine lives on, and so do the sequences."""
    flags = ("--front-ends", "2", "--session-store", redis.url)
    async with serving(repository, *flags) as process:
        answers = {way: await run(process, way, key, range(10)) for key, way in enumerate(WAYS, 1)}
        port = int(process.addresses["http"].rpartition(":")[2])
        for child in psutil.Process(process.process.pid).children():
            if any(each.laddr.port == port for each in child.net_connections()):
                child.kill()
        for key, way in enumerate(WAYS, 1):
            repeated: list[int] = []
            async with asyncio.timeout(30):
                while not repeated:
                    with contextlib.suppress(OSError, NotServedError):
                        repeated = await run(process, way, key, range(8, 10))
            assert repeated == answers[way][8:]
            answers[way] += await run(process, way, key, range(10, len(VALUES)))
            assert answers[way] == hashes(VALUES)


async def metric(process: ServerProcess, name: str) -> int:
    def read() -> str:
        url = f"http://{process.addresses['metrics']}/metrics"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return str(answer.read().decode())

    lines = (await asyncio.to_thread(read)).splitlines()
    return round(sum(float(line.split()[-1]) for line in lines if line.startswith(name)))


async def test_a_killed_servers_sequences_go_on_at_another(
    redis: RedisServer, repository: Path
) -> None:
    async with server(redis, repository) as one, server(redis, repository) as other:
        answers: dict[str, list[int]] = {}
        for key, way in enumerate(WAYS, 1):
            answers[way] = await run(one, way, key, range(10))
        one.process.send_signal(signal.SIGKILL)
        await one.process.wait()
        for key, way in enumerate(WAYS, 1):
            # Two of them come again: their client is not sure.
            repeated = await run(other, way, key, range(8, 10))
            assert repeated == answers[way][8:]
            answers[way] += await run(other, way, key, range(10, len(VALUES)))
            assert answers[way] == hashes(VALUES)
        assert await metric(other, "streamgate_session_store_sequences_resumed_total") == len(WAYS)
        assert await metric(other, "streamgate_session_store_repeated_total") == 2 * len(WAYS)
        assert await metric(other, "streamgate_session_store_up") == 1


async def live(addresses: list[str], key: int, chance: random.Random) -> list[int]:
    """A whole sequence at the first of the servers that serves it. Its requests leave up to three
    at a time, and are sent again where no answer came."""
    answers: list[int] = []
    for address in addresses:
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(f"{SERVICE}ModelInfer")
            while len(answers) < len(VALUES):
                first = len(answers)
                ahead = range(first, min(first + chance.randint(1, 3), len(VALUES)))
                asked = [
                    call(grpc_request(key, each).SerializeToString(), timeout=20) for each in ahead
                ]
                for each in asked:
                    try:
                        data = await each
                    except grpc.aio.AioRpcError as error:
                        # Calls that leave together may come in another order, and are refused.
                        overtaken = "send number" in str(error.details())
                        if error.code() is not grpc.StatusCode.UNAVAILABLE and not overtaken:
                            raise
                        break
                    answers.append(value_of(pb.ModelInferResponse.FromString(data)))
                await asyncio.gather(*asked, return_exceptions=True)
                if len(answers) == first:
                    await asyncio.sleep(0.1)
                    if address != addresses[-1] and channel.get_state() is not READY:
                        break
    return answers


@ONLY_LONG
@pytest.mark.parametrize("seed", range(3))
async def test_a_server_that_is_killed_while_forty_sequences_run(
    redis: RedisServer, repository: Path, seed: int
) -> None:
    chance = random.Random(seed)
    async with server(redis, repository) as one, server(redis, repository) as other:
        addresses = [process.addresses["grpc"] for process in (one, other)]
        running = [asyncio.create_task(live(addresses, key, chance)) for key in range(1, 41)]
        await asyncio.sleep(chance.uniform(0.05, 0.3))
        one.process.send_signal(signal.SIGKILL)
        async with asyncio.timeout(40):
            answers = await asyncio.gather(*running)
        assert answers == [hashes(VALUES)] * 40
        assert await metric(other, "streamgate_session_store_sequences_resumed_total") > 0


@ONLY_LONG
async def test_a_frozen_server_that_wakes_up_writes_nothing(
    redis: RedisServer, repository: Path
) -> None:
    async with server(redis, repository) as one, server(redis, repository) as other:
        answers = await run(one, "http", 1, range(10))
        one.process.send_signal(signal.SIGSTOP)
        answers += await run(other, "http", 1, range(10, 16))
        one.process.send_signal(signal.SIGCONT)
        with pytest.raises(NotServedError, match="has been taken over by another server"):
            # Wherever it thinks that its sequence is.
            await run(one, "http", 1, range(10, 11))
        assert await metric(one, "streamgate_session_store_refused_writes_total") >= 1
        assert await metric(one, "streamgate_session_store_sequences_fenced_total") == 1
        answers += await run(other, "http", 1, range(16, len(VALUES)))
        assert answers == hashes(VALUES)


@ONLY_LONG
async def test_a_lost_store_costs_the_takeover_and_nothing_else(
    redis: RedisServer, repository: Path
) -> None:
    """The store is gone with a server: what it had is lost, and said to be."""
    async with server(redis, repository) as one, server(redis, repository) as other:
        answers = await run(one, "grpc", 1, range(10))
        kept = await run(other, "grpc", 2, range(5))
        redis.kill()
        answers += await run(one, "grpc", 1, range(10, 14))
        redis.start()
        one.process.send_signal(signal.SIGKILL)
        await one.process.wait()
        with pytest.raises(NotServedError, match="state lost: nothing is kept of sequence 1"):
            await run(other, "grpc", 1, range(14, 15))
        assert answers == hashes(VALUES)[:14]
        # Who was there all the time has noticed nothing.
        kept += await run(other, "grpc", 2, range(5, len(VALUES)))
        assert kept == hashes(VALUES)
        assert await metric(other, "streamgate_session_store_sequences_unkept_total") == 1


@ONLY_LONG
async def test_a_stream_goes_on_at_another_server(redis: RedisServer, repository: Path) -> None:
    async with server(redis, repository) as one, server(redis, repository) as other:
        answers: list[int] = []
        with Stub(one.addresses["grpc"]) as stub:
            stream = stub.stream((("streamgate-resume-seconds", "30"),))
            for position in range(12):
                stream.send(grpc_request(1, position))
            for _ in range(9):
                message: Any = await asyncio.to_thread(stream.receive)
                answers.append(value_of(message.infer_response))
            one.process.send_signal(signal.SIGKILL)
            await one.process.wait()
            stream.call.cancel()
        with Stub(other.addresses["grpc"]) as stub:
            stream = stub.stream()
            position = len(answers)
            while len(answers) < len(VALUES):
                stream.send(grpc_request(1, len(answers)))
                message = await asyncio.to_thread(stream.receive)
                if ELSEWHERE in message.error_message:
                    await asyncio.sleep(0.1)
                    continue
                assert not message.error_message
                answers.append(value_of(message.infer_response))
            assert position == 9
        assert answers == hashes(VALUES)
