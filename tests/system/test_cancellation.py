"""Cancelled calls and lost connections on every wire: what is cancelled, what goes on, and that
each slot comes back once. Facts 4.8 and 12.3, with defect 7 put right."""

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streamgate.server.settings import GrpcTransport
from tests.frontends.websocket_client import connected
from tests.system.cable import cable
from tests.system.running_server import WAIT_SECONDS, RunningServer, running
from tests.system.talker import IN_A_THREAD, IN_EXECUTE, Reader, write_talkers
from tests.system.tally import TallyCalls, TallyHttp, TallyStream, write_tally
from tests.waiting import wait


@pytest.fixture(params=GrpcTransport)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    write_tally(tmp_path)
    write_talkers(tmp_path)
    with running(tmp_path, request.param) as server:
        yield server


@pytest.fixture
def http_server(tmp_path: Path) -> Iterator[RunningServer]:
    write_tally(tmp_path)
    write_talkers(tmp_path)
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def calls(server: RunningServer) -> Iterator[TallyCalls]:
    with closing(TallyCalls(server.grpc)) as calls:
        yield calls


def stepping(server: RunningServer, key: int) -> None:
    """Wait until a step of this sequence stands at its closed gate."""
    assert server.gates.is_entered(f"step {key}", WAIT_SECONDS)


def test_a_queued_call_goes_at_once_and_alone(server: RunningServer, calls: TallyCalls) -> None:
    server.gates.close("step 1")
    first = calls.begin(1, 1, "S")
    stepping(server, 1)
    second = calls.begin(1, 10)
    wait(lambda: server.pending("tally") == 1)
    third = calls.begin(1, 100)
    wait(lambda: server.pending("tally") == 2)
    second.cancel()
    # It has left the queue before the first is done.
    wait(lambda: server.pending("tally") == 1)
    server.gates.open("step 1")
    assert (first.total(), third.total()) == (1, 101)
    assert second.error()[0] == "StatusCode.CANCELLED"
    assert calls.total(1, 1000, "E") == 1101
    assert server.metric("nv_inference_request_failure", "tally", reason="CANCELED") == 1
    server.assert_at_rest("tally")


def test_a_call_that_runs_is_cancelled_and_its_sequence_goes_on(
    server: RunningServer, calls: TallyCalls
) -> None:
    server.gates.close("step 1")
    first = calls.begin(1, 1, "S")
    stepping(server, 1)
    first.cancel()
    assert first.error()[0] == "StatusCode.CANCELLED"
    wait(lambda: server.metric("nv_inference_request_failure", "tally", reason="CANCELED") == 1)
    second = calls.begin(1, 10, "E")
    wait(lambda: server.pending("tally") == 1)
    server.gates.open("step 1")
    # The model has run the first step: only its answer was dropped.
    assert second.total() == 11
    server.assert_at_rest("tally")


def test_a_deadline_that_passes_while_the_model_runs(
    server: RunningServer, calls: TallyCalls
) -> None:
    server.gates.close("step 1")
    first = calls.begin(1, 1, "S", client_timeout=0.3)
    stepping(server, 1)
    assert first.error()[0] == "StatusCode.DEADLINE_EXCEEDED"
    server.gates.open("step 1")
    assert calls.total(1, 10, "E") == 11
    server.assert_at_rest("tally")


def test_a_deadline_that_passes_in_the_queue(server: RunningServer, calls: TallyCalls) -> None:
    server.gates.close("step 1")
    first = calls.begin(1, 1, "S")
    stepping(server, 1)
    late = calls.begin(1, 10, client_timeout=0.3)
    assert late.error()[0] == "StatusCode.DEADLINE_EXCEEDED"
    wait(lambda: server.pending("tally") == 0)
    server.gates.open("step 1")
    assert first.total() == 1
    assert calls.total(1, 100, "E") == 101
    server.assert_at_rest("tally")


def test_a_start_that_waits_for_a_slot_is_cancelled(
    server: RunningServer, calls: TallyCalls
) -> None:
    for key in range(1, 5):
        assert calls.total(key, 1, "S") == 1
    waiting, next_one = calls.begin(5, 1, "S"), calls.begin(6, 1, "S")
    wait(lambda: server.metric("streamgate_sequences_backlog", "tally") == 2)
    waiting.cancel()
    wait(lambda: server.metric("streamgate_sequences_backlog", "tally") == 1)
    assert calls.total(1, 1, "E") == 2
    assert next_one.total() == 1
    for key in (2, 3, 4, 6):
        assert calls.total(key, 1, "E") == 2
    assert server.ended("tally", "client_abort") == 1
    server.assert_at_rest("tally", never_started=1)


def test_a_stream_with_one_step_running_and_two_queued(server: RunningServer) -> None:
    lost, other = TallyStream(server.grpc), TallyStream(server.grpc)
    server.gates.close("step 1")
    for flags in ("S", "", ""):
        lost.ask(1, 1, flags)
    stepping(server, 1)
    other.ask(2, 5, "S")
    wait(lambda: server.pending("tally") == 3)
    lost.leave(cancel=True)
    wait(lambda: server.pending("tally") == 1)
    server.gates.open("step 1")
    assert other.total() == 5
    other.ask(2, 5, "E")
    assert other.total() == 10
    # The queued ones have not run, and the sequence is over.
    assert server.gates.count("step 1") == 1
    assert server.ended("tally", "client_abort") == 1
    other.ask(1, 1)
    assert "must specify the START flag" in other.error()
    other.leave()
    server.assert_at_rest("tally")


def test_a_cancelled_stream_ends_its_idle_sequences_at_once(server: RunningServer) -> None:
    """In Triton they stay until the idle limit; one that is closed in good order keeps them."""
    lost, closed = TallyStream(server.grpc), TallyStream(server.grpc)
    lost.ask(1, 1, "S")
    assert lost.total() == 1
    closed.ask(2, 1, "S")
    assert closed.total() == 1
    closed.leave()
    lost.leave(cancel=True)
    wait(lambda: server.ended("tally", "client_abort") == 1)
    with closing(TallyCalls(server.grpc)) as calls:
        assert calls.total(2, 1, "E") == 2
    server.assert_at_rest("tally")


@pytest.mark.parametrize("steps", [1, 3])
def test_a_connection_that_is_cut(server: RunningServer, steps: int) -> None:
    """While its sequence is idle, and while a step runs and another waits."""
    with cable(server.grpc) as line:
        lost = TallyStream(line.address)
        lost.ask(1, 1, "S")
        assert lost.total() == 1
        server.gates.close("step 1")
        for _ in range(steps - 1):
            lost.ask(1, 1)
        if steps > 1:
            stepping(server, 1)
            wait(lambda: server.pending("tally") == 1)
        line.cut()
        wait(lambda: server.pending("tally") == 0)
        server.gates.open("step 1")
        wait(lambda: server.ended("tally", "client_abort") == 1)
        lost.leave()
    server.assert_at_rest("tally")


@pytest.mark.parametrize("where", [IN_EXECUTE, IN_A_THREAD])
def test_a_decoupled_model_is_told(server: RunningServer, where: int) -> None:
    lost = Reader(server.grpc)
    server.gates.close("sent 1")
    lost.ask(1, 1000, 16, where, start=True)
    assert lost.answer() == 0
    lost.client.stop_stream(cancel_requests=True)
    wait(lambda: server.metric("nv_inference_request_failure", "talker", reason="CANCELED") == 1)
    server.gates.open("sent 1")
    server.until(lambda: server.gates.count("done 1"))
    assert server.gates.count("cancelled 1") == 1
    assert server.gates.count("sent 1") == 1
    wait(lambda: server.ended("talker", "client_abort") == 1)
    server.assert_at_rest("talker")


def http_step(server: RunningServer, key: int, value: int, *, start: bool) -> socket.socket:
    """A step over HTTP whose answer is not read; closing the socket is up to the test."""
    body = json.dumps(
        {
            "parameters": {"sequence_id": key, "sequence_start": start},
            "inputs": [{"name": "VALUE", "datatype": "INT32", "shape": [1, 1], "data": [value]}],
        }
    )
    connection = http.client.HTTPConnection(server.http, timeout=WAIT_SECONDS)
    connection.request("POST", "/v2/models/tally/infer", body)
    assert connection.sock is not None
    return connection.sock


def test_an_http_socket_that_is_closed(http_server: RunningServer) -> None:
    server = http_server
    server.gates.close("step 1")
    running_step = http_step(server, 1, 1, start=True)
    stepping(server, 1)
    queued = http_step(server, 1, 10, start=False)
    wait(lambda: server.pending("tally") == 1)
    queued.close()
    wait(lambda: server.pending("tally") == 0)
    running_step.close()
    wait(lambda: server.metric("nv_inference_request_failure", "tally", reason="CANCELED") == 2)
    server.gates.open("step 1")
    with closing(TallyHttp(server.http)) as calls:
        assert calls.total(1, 100, "E") == 101
    server.assert_at_rest("tally")


def test_a_stream_of_events_that_is_closed(http_server: RunningServer) -> None:
    server = http_server
    server.gates.close("sent 0")
    connection = http.client.HTTPConnection(server.http, timeout=WAIT_SECONDS)
    body = json.dumps({"PROGRAM": [1000, 16, IN_A_THREAD]})
    connection.request("POST", "/v2/models/stateless_talker/generate_stream", body)
    answer = connection.getresponse()
    assert answer.readline().startswith(b"data: ")
    answer.close()
    connection.close()
    failures = "nv_inference_request_failure"
    wait(lambda: server.metric(failures, "stateless_talker", reason="CANCELED") == 1)
    server.gates.open("sent 0")
    server.until(lambda: server.gates.count("done 0"))
    assert (server.gates.count("cancelled 0"), server.gates.count("sent 0")) == (1, 1)


@pytest.mark.parametrize("resume_seconds", [0, 0.5])
async def test_a_websocket_that_is_lost(tmp_path: Path, resume_seconds: float) -> None:
    """Its sequence ends once its client can't come back any more."""
    write_tally(tmp_path)
    with running(tmp_path, resume_seconds=resume_seconds) as server:
        server.gates.close("step 1")
        async with connected(server.websocket) as lost:
            await lost.open("tally", sequence_id=1)
            for value in (1, 10, 100):
                await lost.frame(value.to_bytes(4, "little"))
            await asyncio.to_thread(stepping, server, 1)
            await asyncio.to_thread(wait, lambda: server.pending("tally") == 2)
            lost.socket.transport.abort()
            await asyncio.to_thread(wait, lambda: server.pending("tally") == 0)
        server.gates.open("step 1")
        wait(lambda: server.ended("tally", "client_abort") == 1)
        assert server.gates.count("step 1") == 1
        server.assert_at_rest("tally")
