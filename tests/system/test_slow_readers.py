"""Clients that stop reading, over real sockets: what they are sent is bounded, their model is held
up, others go on, and once they read again nothing is missing."""

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamgate.server.settings import GrpcTransport
from tests.frontends.grpc_client import Stub, infer_request
from tests.frontends.websocket_client import connected
from tests.system.running_server import WAIT_SECONDS, RunningServer, running
from tests.system.talker import IN_A_THREAD, IN_EXECUTE, Reader, write_talkers

KIB, MIB = 1024, 1024 * 1024
SIZE = 64 * KIB
COUNT = 3000
MOST_BYTES = 96 * MIB
"""Half of what the model would send: the gateway's bounds and what sockets and clients keep."""


@pytest.fixture(params=GrpcTransport)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    write_talkers(tmp_path)
    with running(tmp_path, request.param) as server:
        yield server


@pytest.fixture
def grpcio_server(tmp_path: Path) -> Iterator[RunningServer]:
    write_talkers(tmp_path)
    with running(tmp_path) as server:
        yield server


def once_still(server: RunningServer, gate: str) -> int:
    """How often models have come by, once they do so no more for a while."""
    until = time.monotonic() + WAIT_SECONDS
    count, before = server.gates.count(gate), -1
    while count != before or not count:
        assert time.monotonic() < until, f"{gate}: {count} and no end"
        time.sleep(0.3)
        count, before = server.gates.count(gate), count
    return count


def others_go_on(server: RunningServer) -> None:
    """Another client's sequence on the same instance, on a stream of its own."""
    other = Reader(server.grpc)
    for step in range(20):
        other.ask(2, 2, 16, step % 2, start=step == 0, end=step == 19)
        assert [other.answer() for _ in range(3)] == [0, 1, None]
    other.leave()


@pytest.fixture
def server_of_processes(tmp_path: Path) -> Iterator[RunningServer]:
    process = 'parameters { key: "streamgate.execution" value { string_value: "process" } }'
    write_talkers(tmp_path, process)
    with running(tmp_path) as server:
        yield server


def test_a_models_own_thread_is_held_up_for_a_grpc_stream(server: RunningServer) -> None:
    a_thread_is_held_up(server)


def test_so_is_one_in_a_worker_process(server_of_processes: RunningServer) -> None:
    a_thread_is_held_up(server_of_processes)


def a_thread_is_held_up(server: RunningServer) -> None:
    slow = Reader(server.grpc)
    slow.stop_reading()
    slow.ask(1, COUNT, SIZE, IN_A_THREAD, start=True, end=True)
    sent = once_still(server, "sent 1")
    assert sent * SIZE < MOST_BYTES
    others_go_on(server)
    assert server.gates.count("sent 1") == sent
    slow.go_on()
    assert [slow.answer() for _ in range(COUNT)] == list(range(COUNT))
    assert slow.answer() is None
    slow.leave()
    server.assert_at_rest("talker")


def test_no_further_step_begins_for_a_grpc_stream(server: RunningServer) -> None:
    steps = 200
    slow = Reader(server.grpc)
    slow.stop_reading()
    for step in range(steps):
        slow.ask(1, 16, SIZE, IN_EXECUTE, start=step == 0, end=step == steps - 1)
    begun = once_still(server, "step 1")
    assert begun * 16 * SIZE < MOST_BYTES
    others_go_on(server)
    assert server.gates.count("step 1") == begun
    slow.go_on()
    for _ in range(steps):
        assert [slow.answer() for _ in range(17)] == [*range(16), None]
    slow.leave()
    server.assert_at_rest("talker")


def test_a_lost_stream_lets_its_models_thread_go(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Stub(server.grpc) as stub:
        slow = stub.stream()
        program = infer_request(
            "talker", *(COUNT, SIZE, IN_A_THREAD), dtype="INT32", tensor="PROGRAM"
        )
        program.inputs[0].shape[:] = [1, 3]
        program.parameters["sequence_id"].int64_param = 1
        program.parameters["sequence_start"].bool_param = True
        slow.send(program)
        once_still(server, "sent 1")
        slow.call.cancel()
        server.until(lambda: server.gates.count("done 1") == 1)
    assert server.gates.count("cancelled 1") == 1
    assert server.ended("talker", "client_abort") == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    server.assert_at_rest("talker")


@pytest.mark.parametrize("where", [IN_A_THREAD, IN_EXECUTE])
async def test_a_websocket(grpcio_server: RunningServer, where: int) -> None:
    server = grpcio_server
    async with connected(server.websocket, max_queue=1, max_size=None) as slow:
        await slow.open("talker", sequence_id=1, output_format="binary")
        steps = [(COUNT, SIZE, where)] if where == IN_A_THREAD else [(16, SIZE, where)] * 200
        for program in steps:
            await slow.say("step", inputs=[program_of(*program)])
        gate = "sent 1" if where == IN_A_THREAD else "step 1"
        count = await asyncio.to_thread(once_still, server, gate)
        assert count * (SIZE if where == IN_A_THREAD else 16 * SIZE) < MOST_BYTES
        await asyncio.to_thread(others_go_on, server)
        for position, (responses, _, _) in enumerate(steps):
            for index in range(responses + 1):
                head, _ = await slow.hear_binary()
                assert (head["position"], head["index"]) == (position, index)
        await slow.say("end")
        assert (await slow.hear_end())["reason"] == "client_end"
    server.assert_at_rest("talker")


def program_of(*program: int) -> dict[str, Any]:
    return {"name": "PROGRAM", "datatype": "INT32", "shape": [1, 3], "data": [list(program)]}


def test_a_stream_of_events(grpcio_server: RunningServer) -> None:
    server, size = grpcio_server, 16 * KIB
    with closing(http.client.HTTPConnection(server.http, timeout=WAIT_SECONDS)) as slow:
        body = json.dumps({"PROGRAM": [COUNT, size, IN_A_THREAD]})
        slow.request("POST", "/v2/models/stateless_talker/generate_stream", body)
        # Each zero is "0, " in JSON.
        assert once_still(server, "sent 0") * size * 3 < MOST_BYTES
        others_go_on(server)
        answer = slow.getresponse()
        indices = []
        while line := answer.readline():
            if line.startswith(b"data: "):
                indices.append(json.loads(line[6:])["INDEX"])
        assert indices == list(range(COUNT))
