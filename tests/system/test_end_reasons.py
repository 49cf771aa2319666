"""Why a sequence ended, as its client is told on each wire and as the metrics count it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as tritongrpc
from tritonclient.utils import InferenceServerException

from streamgate.server.settings import GrpcTransport
from tests.frontends.websocket_client import Client, connected, integers
from tests.system.running_server import RunningServer, running
from tests.system.tally import (
    TallyCalls,
    TallyHttp,
    TallyStream,
    setting,
    write_tally,
)
from tests.waiting import wait

_MORTAL = """
import os
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.totals = {}

    def execute(self, requests):
        return [self.step(request) for request in requests]

    def step(self, request):
        value = pb_utils.get_input_tensor_by_name(request, "VALUE").as_numpy()
        if value.max() == 13:
            os._exit(13)
        key = request.correlation_id()
        start = request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
        total = self.totals[key] = value if start else self.totals[key] + value
        return pb_utils.InferenceResponse([pb_utils.Tensor("TOTAL", total)])
"""
"""Keeps its sums itself: they are lost with its process, whereas implicit state is not."""

NO_START = "must specify the START flag on the first request of the sequence"
WIRES = [
    pytest.param((GrpcTransport.GRPCIO, TallyCalls), id="grpcio"),
    pytest.param((GrpcTransport.LEAN, TallyCalls), id="lean"),
    pytest.param((GrpcTransport.GRPCIO, TallyHttp), id="http"),
]


def write_model(directory: Path, name: str) -> None:
    """One that is named for the way in which its sequences end."""
    options: dict[str, dict[str, Any]] = {
        "tally": {},
        "impatient": {"idle_ms": 100, "rest": setting("idle_warning_seconds", "0.05")},
        "brief": {"rest": setting("max_sequence_lifetime_seconds", "0.3")},
        "strict": {"rest": setting("end_sequence_on_error", "true")},
        "mortal": {"state": "", "rest": setting("execution", "process"), "code": _MORTAL},
    }
    write_tally(directory, name, **options[name])


Wire = Callable[[str], tuple[RunningServer, Any]]
"""Serves a model: the server, and calls to it, one for each step, over any connection."""


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Wire]:
    transport, calls = request.param
    with ExitStack() as stack:

        def serve(model: str) -> tuple[RunningServer, Any]:
            write_model(tmp_path, model)
            # With a log in front, what an engine loses does not end.
            durable = model != "mortal"
            server = stack.enter_context(running(tmp_path, transport, durable=durable))
            address = server.http if calls is TallyHttp else server.grpc
            return server, stack.enter_context(closing(calls(address, model)))

        yield serve


@pytest.fixture(params=GrpcTransport)
def serve(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[str], RunningServer]]:
    """Serves a model on each gRPC transport."""
    with ExitStack() as stack:

        def start(model: str) -> RunningServer:
            write_model(tmp_path, model)
            return stack.enter_context(running(tmp_path, request.param))

        yield start


def refusal(calls: Any, key: int) -> str:
    """The text with which a step of a sequence that is over is refused."""
    with pytest.raises(InferenceServerException) as raised:
        calls.total(key, 1)
    return str(raised.value.message())


def test_client_end(wire: Wire) -> None:
    server, calls = wire("tally")
    assert calls.total(1, 1, "S") == 1
    assert calls.total(1, 1, "E") == 2
    assert server.ended("tally", "client_end") == 1
    assert refusal(calls, 1).endswith(NO_START)
    server.assert_at_rest("tally")


def test_idle(wire: Wire) -> None:
    server, calls = wire("impatient")
    assert calls.total(1, 1, "S") == 1
    wait(lambda: server.ended("impatient", "idle") == 1)
    assert refusal(calls, 1).endswith(f"{NO_START} (sequence 1 ended: idle)")
    server.assert_at_rest("impatient")


def test_lifetime(wire: Wire) -> None:
    server, calls = wire("brief")
    assert calls.total(1, 1, "S") == 1
    wait(lambda: server.ended("brief", "lifetime") == 1)
    assert refusal(calls, 1).endswith(f"{NO_START} (sequence 1 ended: lifetime)")
    server.assert_at_rest("brief")


def test_error(wire: Wire) -> None:
    server, calls = wire("strict")
    assert calls.total(1, 1, "S") == 1
    with pytest.raises(InferenceServerException, match="less than nothing"):
        calls.total(1, -1)
    assert server.ended("strict", "error") == 1
    assert refusal(calls, 1).endswith(f"{NO_START} (sequence 1 ended: error)")
    server.assert_at_rest("strict")


def test_superseded(wire: Wire) -> None:
    server, calls = wire("tally")
    assert calls.total(1, 1, "S") == 1
    assert calls.total(1, 100, "S") == 100
    assert server.ended("tally", "superseded") == 1
    assert calls.total(1, 1, "E") == 101
    server.assert_at_rest("tally")


def test_engine_lost(wire: Wire) -> None:
    server, calls = wire("mortal")
    assert calls.total(1, 1, "S") == 1
    assert calls.total(2, 1, "S") == 1
    with pytest.raises(InferenceServerException, match="Stub process 'mortal_0_0' is not healthy"):
        calls.total(1, 13)
    wait(lambda: server.ended("mortal", "engine_lost") == 2)
    assert refusal(calls, 2).endswith("(sequence 2 ended: engine_lost)")
    # The instance comes back, with nothing in it.
    assert calls.total(2, 5, "SE") == 5
    server.assert_at_rest("mortal")


@pytest.mark.parametrize(
    ("model", "value", "reason"), [("brief", 1, "lifetime"), ("strict", -1, "error")]
)
def test_a_stream_is_told_why_a_queued_step_will_not_run(
    serve: Callable[[str], RunningServer], model: str, value: int, reason: str
) -> None:
    server = serve(model)
    stream = TallyStream(server.grpc, model)
    server.gates.close("step 1")
    stream.ask(1, value, "S")
    assert server.gates.is_entered("step 1", 20)
    stream.ask(1, 1)
    wait(lambda: server.pending(model) == 1)
    # The time that the sequence has is over before its step is.
    wait(lambda: server.wake_at(model) is None)
    server.gates.open("step 1")
    if value > 0:
        assert stream.total() == value
    else:
        assert "less than nothing" in stream.error()
    text = f"sequence 1 of model '{model}' ended ({reason}) before this request ran"
    assert stream.error() == text
    wait(lambda: server.ended(model, reason) == 1)
    stream.leave()
    server.assert_at_rest(model)


def test_client_abort(serve: Callable[[str], RunningServer]) -> None:
    server = serve("tally")
    stream = TallyStream(server.grpc)
    stream.ask(1, 1, "S")
    assert stream.total() == 1
    stream.leave(cancel=True)
    wait(lambda: server.ended("tally", "client_abort") == 1)
    server.assert_at_rest("tally")


def test_drained(serve: Callable[[str], RunningServer]) -> None:
    """What is queued when its model is unloaded runs; what comes later is refused."""
    server = serve("tally")
    stream = TallyStream(server.grpc)
    server.gates.close("step 1")
    stream.ask(1, 1, "S")
    stream.ask(1, 10)
    assert server.gates.is_entered("step 1", 20)
    wait(lambda: server.pending("tally") == 1)
    with closing(tritongrpc.InferenceServerClient(server.grpc)) as client:
        client.unload_model("tally")
        wait(lambda: not client.is_model_ready("tally"))
    server.gates.open("step 1")
    assert [stream.total(), stream.total()] == [1, 11]
    stream.ask(1, 100)
    assert "'tally'" in stream.error()
    stream.leave()


async def begun(client: Client, model: str) -> None:
    """A sequence with one step answered."""
    await client.open(model, sequence_id=1)
    await client.frame(integers(1))
    assert (await client.hear())["outputs"][0]["data"] == [1]


@pytest.mark.parametrize(
    ("model", "reason", "code"),
    [
        ("impatient", "idle", 4001),
        ("brief", "lifetime", 4002),
        ("strict", "error", 1011),
        ("mortal", "engine_lost", 1011),
        ("tally", "superseded", 4003),
        ("tally", "drained", 1012),
        ("tally", "client_end", 1000),
    ],
)
async def test_a_websocket(tmp_path: Path, model: str, reason: str, code: int) -> None:
    write_model(tmp_path, model)
    with running(tmp_path, durable=reason != "engine_lost") as server:
        async with connected(server.websocket) as client:
            await begun(client, model)
            if reason == "idle":
                assert (await client.hear())["type"] == "idle_warning"
            elif reason in {"error", "engine_lost"}:
                await client.frame(integers(-1 if reason == "error" else 13))
                failed = await client.hear()
                assert (failed["type"], failed["position"]) == ("error", 1)
            elif reason == "superseded":
                with closing(TallyCalls(server.grpc)) as calls:
                    assert await asyncio.to_thread(calls.total, 1, 5, "SE") == 5
            elif reason == "drained":
                with closing(tritongrpc.InferenceServerClient(server.grpc)) as control:
                    await asyncio.to_thread(control.unload_model, model)
            elif reason == "client_end":
                await client.say("end")
            end = await client.hear_end()
            assert (end["reason"], end["closed"]) == (reason, code)
        if reason != "drained":
            await asyncio.to_thread(lambda: wait(lambda: server.ended(model, reason) == 1))
            server.assert_at_rest(model)


async def test_preempted(tmp_path: Path) -> None:
    """Two instances with a slot each become one, and the sequence on the other has to go."""
    write_tally(tmp_path, "pair", slots=1, state="", code=_MORTAL)
    path = tmp_path / "pair" / "config.pbtxt"
    one = path.read_text()
    path.write_text(one.replace("kind: KIND_CPU", "kind: KIND_CPU count: 2"))
    with running(tmp_path) as server:
        async with connected(server.websocket) as first, connected(server.websocket) as second:
            for client in (first, second):
                await client.open("pair")
                await client.frame(integers(1))
                assert (await client.hear())["outputs"][0]["data"] == [1]
            path.write_text(one)
            with closing(tritongrpc.InferenceServerClient(server.grpc)) as control:
                await asyncio.to_thread(control.load_model, "pair")
            end = await second.hear_end()
            assert (end["reason"], end["closed"]) == ("preempted", 1013)
            await first.frame(integers(1))
            assert (await first.hear())["outputs"][0]["data"] == [2]
        await asyncio.to_thread(lambda: wait(lambda: server.all_ended("pair") == 2))
        assert server.ended("pair", "preempted") == 1
